"""`scrfd-nas plan`: estimate of the cost of a stage before it is run."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nas.cli.shared import common
from nas.cli.shared.flags import build, declared
from nas.cli.shared.run_flags import RunFlags
from nas.cli.shared.stage_input import network_flags, read_input, refuse_other_stage
from nas.search.options import stage_option
from search_spaces.errors import ConfigError, counted
from trials.options import OptionField, option_field, option_fields

if TYPE_CHECKING:
    from nas.planning.plan import Plan

_PANEL = "Plan"
_COLUMNS = ("what", "figure", "basis")
_RUN_FLAGS = ("screen_audit", "screen_force", "search_dir", "config", "as_json")


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of `plan` itself."""

    stage: int = field(
        default=1,
        metadata=stage_option(
            "Stage that the other flags belong to: 1 or 2.", minimum=1, panel=_PANEL
        ),
    )
    images_per_second: float | None = field(
        default=None,
        metadata=stage_option(
            "Training images a second of one trial, instead of a measurement.",
            minimum=0,
            panel=_PANEL,
        ),
    )
    gpus: int | None = field(
        default=None,
        metadata=stage_option(
            "Number of GPUs, like those of this machine, to plan for.",
            default_text="those of this machine",
            minimum=0,
            panel=_PANEL,
        ),
    )


def _offered() -> list[OptionField]:
    """Return all options of the command."""
    own = [option_field(RunFlags, name) for name in _RUN_FLAGS]
    return [*option_fields(PlanOptions), *network_flags(), *own]


def _plan(given: dict[str, Any]) -> None:
    """Estimate the cost of a stage from its flags.

    A few training steps are timed on this machine, unless --images-per-second is given. The
    epochs that a search directory has done already are subtracted.
    """
    own = build(PlanOptions, given)
    if own.stage not in (1, 2):
        raise ConfigError(f"--stage must be 1 or 2, got {own.stage}")
    refuse_other_stage(own.stage, given, network_flags())
    from nas.resolve_request import resolve_request

    asked = read_input(own.stage, given)
    directory = asked.directory()
    request, template = resolve_request(directory, own.stage, asked.options)
    from nas.planning.plan_measuring import estimate_stage
    from nas.search.report_limits import report_limits

    with common.console().status("proposing candidates and timing some steps"):
        plan = estimate_stage(
            directory,
            request,
            template,
            gpus=own.gpus,
            images_per_second=own.images_per_second,
        )
    if asked.run.as_json:
        content = {"search_dir": str(directory), "stage": own.stage, **plan.to_dict()}
        common.print_json(content | {"report_limits": report_limits(request)})
        return
    _print(own.stage, plan)
    for line in report_limits(request):
        common.print_note(line)


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
            describe_seconds(work.evaluations * plan.evaluation_s),
            f"a whole trial: {work.evaluations} x {work.validation_images:,} images, "
            f"{1000 * pace.evaluation_s:.1f} ms each; all but the last: "
            f"{100 * plan.evaluation_share:.1f} % of a trial",
        ),
        ("whole trial", describe_seconds(plan.trial_s), "without the start of its process"),
        ("wall-clock", describe_seconds(plan.wall_s), f"{counted(plan.slots, 'trial')} at a time"),
    ]
    if plan.latency is not None:
        cost = describe_seconds(plan.latency.seconds)
        basis = f"before the trials, about {plan.latency.measurements:,.0f}: {plan.latency.basis}"
        rows.append(("latencies", cost, basis))
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
    return (
        f"{counted(done, 'other is', 'others are')} done already"
        if done
        else "every trial to the end"
    )


def _bytes(size: int) -> str:
    for unit, step in (("GB", 10**9), ("MB", 10**6)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size / 1000:.0f} kB"


COMMANDS = {"plan": declared(_plan, _offered())}
