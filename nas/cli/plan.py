"""`scrfd-nas plan`: what a stage would cost, before anything is spent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from nas.cli import common
from nas.cli.search import read_options, search_directory
from nas.cli.stage_options import (
    StageOption,
    declared,
    options_of,
    request_options,
)
from search_spaces.errors import ConfigError

if TYPE_CHECKING:
    from nas.planning.plan import Pace, Plan
    from nas.running.tasks import Resources
    from nas.search.request import AnyRequest
    from search_spaces.architecture import Architecture

_HELP = """Show what a stage would cost, with the flags of stage1 or stage2, before it is run.

A few training steps are timed on this machine, unless --images-per-second is given.
What a search directory has done already is taken off.
"""
_PANEL = "Plan"
_OWN = (
    StageOption(
        name="stage",
        type=int,
        help="1 or 2: whose flags the others are.",
        default="1",
        panel=_PANEL,
        minimum=1,
    ),
    StageOption(
        name="images_per_second",
        type=float,
        help="Training images that one trial does, instead of a measurement.",
        panel=_PANEL,
        flags=("--images-per-second",),
        minimum=0,
    ),
    StageOption(
        name="gpus",
        type=int,
        help="Plan for so many GPUs like the ones here.",
        default="those of this machine",
        panel=_PANEL,
        minimum=0,
    ),
)
_COLUMNS = ("what", "figure", "basis")
# About a run that a plan is not.
_LEFT_OUT = ("ray_address", "retry_failed", "on_event", "track", "dry_run")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    options = [option for stage in (1, 2) for option in options_of(stage)]
    by_name = {option.name: option for option in reversed(options)}  # stage 1's help is kept
    shared = [option for name, option in reversed(by_name.items()) if name not in _LEFT_OUT]
    app.command()(declared(_plan, (*_OWN, *shared), "plan", _HELP))


def _plan(**flags: Any) -> None:
    stage = _stage(flags)
    from nas.resolve_request import resolve_request

    options = read_options(stage, request_options(stage, flags), flags["config"])
    directory = search_directory(flags["search_dir"], options.get("flops"))
    request, template = resolve_request(directory, stage, options)
    from nas.candidates.pool import sample_pool
    from nas.planning.plan import make_plan
    from nas.planning.plan_measuring import Machine, count_work

    with common.console.status("proposing candidates") as status:
        pool = sample_pool(request, template)
        work = count_work(request, pool, directory)
        machine = Machine.here(flags["gpus"])
        resources = machine.resources(request, work.candidates)
        slots = min(machine.slots(resources), max(1, work.trials))
        status.update("timing some steps")
        pace = _pace(flags["images_per_second"], pool.architectures, request, resources, slots)
    plan = make_plan(work, pace, resources, slots)
    if flags["as_json"]:
        common.print_json({"search_dir": str(directory), "stage": stage, **plan.to_dict()})
    else:
        _print(stage, plan)


def _stage(flags: dict[str, Any]) -> int:
    """The stage; refuses flags of the other one."""
    stage = flags["stage"] or 1
    if stage not in (1, 2):
        raise ConfigError(f"--stage must be 1 or 2, got {stage}")
    own = {option.name for option in options_of(stage)}
    for option in options_of(3 - stage):
        if option.name not in own and flags.get(option.name) is not None:
            flag = option.name.replace("_", "-")
            raise ConfigError(f"--{flag} belongs to --stage {3 - stage}, got --stage {stage}")
    return int(stage)


def _pace(
    given: float | None,
    architectures: "Sequence[Architecture]",
    request: "AnyRequest",
    resources: "Resources",
    slots: int,
) -> "Pace":
    from nas.planning.plan_measuring import given_pace, measure_pace

    if given is not None:
        return given_pace(given, architectures, request)
    return measure_pace(architectures, request, resources, slots)


def _print(stage: int, plan: "Plan") -> None:
    common.print_table(f"Plan of stage {stage}", _COLUMNS, _rows(plan), text_columns=_COLUMNS)


def _rows(plan: "Plan") -> list[tuple[str, str, str]]:
    from nas.monitoring.status import describe_seconds

    work, pace = plan.work, plan.pace
    schedule = work.schedule
    feasible = "uncounted" if work.feasible is None else f"{work.feasible:,}"
    rows = [
        ("candidates", f"{work.candidates}", f"of {feasible} that satisfy the constraints"),
        ("sampler's acceptance", *_acceptance(plan)),
        ("trials to run", f"{work.trials}", f"of {schedule.epochs} epochs, {schedule.scheduler}"),
        ("epochs", f"{plan.epochs:,.0f}", plan.epochs_basis or _epochs_basis(plan)),
        ("images", f"{plan.images:,.0f}", f"{work.training_images:,} an epoch"),
        ("training images a second", f"{pace.images_per_second:.1f}", f"of a trial; {pace.basis}"),
        (
            "evaluation",
            describe_seconds(work.evaluations * work.validation_images * pace.evaluation_s),
            f"a whole trial: {work.evaluations} x {work.validation_images:,} images, "
            f"{1000 * pace.evaluation_s:.1f} ms each",
        ),
        ("whole trial", describe_seconds(plan.trial_s), "without the start of its process"),
        ("wall-clock", describe_seconds(plan.wall_s), f"{plan.slots} trials at a time"),
    ]
    if plan.uses_gpus:
        basis = f"{plan.resources.gpus_per_trial:g} GPUs a trial"
        rows.append(("GPU-hours", f"{plan.device_hours:.3g}", f"{basis}; see --max-gpu-hours"))
    else:
        basis = "no GPU is used: --max-gpu-hours counts trials' hours"
        rows.append(("trial-hours", f"{plan.device_hours:.3g}", basis))
    basis = f"{plan.resources.cpus_per_trial:g} cores a trial"
    rows.append(("core-hours", f"{plan.cpu_hours:.3g}", basis))
    rows.append(("disk", _bytes(plan.disk_bytes), "last.pt and best.pt of every candidate"))
    return rows


def _acceptance(plan: "Plan") -> tuple[str, str]:
    if plan.work.acceptance is None:
        return "1", "the space is enumerated, nothing is rejected"
    return f"{plan.work.acceptance:.5f}", f"of {plan.work.draws:,} draws"


def _epochs_basis(plan: "Plan") -> str:
    done = sum(plan.work.done.values())
    return f"{done} others are done already" if done else "every trial to the end"


def _bytes(size: int) -> str:
    for unit, step in (("GB", 10**9), ("MB", 10**6)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size / 1000:.0f} kB"
