"""`scrfd-nas search`: one command from images to a detector."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.shared import common, leaderboards, trial_output
from nas.cli.shared.flags import build, declared
from nas.cli.shared.run_flags import RunFlags
from nas.cli.shared.stage_input import read_input, stage_flags
from nas.search.options import stage_option
from search_spaces.errors import counted
from trials.options import OptionField, option_field, option_fields

if TYPE_CHECKING:
    from nas.planning.search_rules import SearchPlan
    from nas.search.directory import SearchDir
    from nas.whole_search import WholeSearch

_STAGE_FLAGS = ("flops", "data", "image_size", "recipe", "seed", "max_latency", "latency_on")


@dataclass(frozen=True, kw_only=True)
class SearchFlags:
    """Options of `search` itself."""

    max_gpu_hours: float = field(
        metadata=stage_option(
            "Budget of all steps in GPU-hours; without GPUs, in hours of trials.", minimum=0
        )
    )
    out: Path | None = field(
        default=None,
        metadata=stage_option(
            "Folder of the detector.", default_text="final in the search directory"
        ),
    )
    dry_run: bool = field(default=False, metadata=stage_option("Print the plan, and exit."))


def _offered() -> list[OptionField]:
    """Return all options of the command."""
    stage = [item for item in stage_flags(1) if item.name in _STAGE_FLAGS]
    run = [option_field(RunFlags, name) for name in ("search_dir", "as_json")]
    offered = (*option_fields(SearchFlags), *stage, *run)
    changes = {"recipe": {"default_text": "by the number of images"}}
    return [
        replace(item, option=replace(item.option, panel="", **changes.get(item.name, {})))
        for item in offered
    ]


def _search(given: dict[str, Any]) -> None:
    """Search and train a detector within a budget.

    Run the command again to resume.

    Candidates, epochs, rungs, seeds and selection images follow from the budget and from what an
    epoch costs on this machine. A larger --max-gpu-hours lets a search continue that has
    reached its limit; its plan stays.
    """
    own, asked = build(SearchFlags, given), read_input(1, given)
    directory, as_json = asked.directory(), asked.run.as_json
    from nas.whole_search import WholeSearch, check_data, plan_here, store_plan, stored_plan

    options = {name: value for name, value in asked.options.items() if name in _STAGE_FLAGS}
    stored = stored_plan(directory)
    if (plan := stored) is None:
        with common.progress_bar("images") as progress:
            check_data(options.get("data"), progress)
        with common.console().status("proposing candidates and timing some steps"):
            plan = plan_here(directory, options, own.max_gpu_hours)
    if own.dry_run or (stored is None and not as_json):
        _print_plan(directory, plan, as_json=as_json)
    if own.dry_run:
        return
    if stored is None:
        store_plan(directory, plan)
    run_and_print(
        WholeSearch(
            directory=directory,
            plan=plan,
            options=options,
            out=own.out or directory.root / "final",
            max_gpu_hours=own.max_gpu_hours,
        ),
        as_json=as_json,
    )


def _print_plan(directory: "SearchDir", plan: "SearchPlan", *, as_json: bool) -> None:
    if as_json:
        common.print_json({"search_dir": str(directory), "plan": asdict(plan)})
        return
    from nas.planning.search_rules import FINAL

    total, rows = sum(plan.hours.values()), []
    for step, hours in plan.hours.items():
        trainings = plan.trainings.get(step, "")
        epochs = plan.final_epochs if step == FINAL else plan.epochs if trainings else ""
        rows.append((step, trainings, epochs, f"{hours:.3g}", f"{100 * hours / total:.0f} %"))
    columns = ("step", "trainings", "epochs of each", "GPU-hours", "share")
    title = f"Plan of {total:.3g} GPU-hours, about {plan.wall_hours:.3g} hours long"
    common.print_table(title, columns, rows, text_columns=("step",))
    for choice, reason in plan.reasons.items():
        common.print_words(f"- {choice}: {reason}")
    common.print_rich("")


def run_and_print(search: "WholeSearch", *, as_json: bool) -> None:
    """Run or resume a whole search; print its leaderboards, its verdict and its detector."""
    directory = search.directory
    with common.resumable(f"the search in {directory}") as display:
        from nas.cli.searches.report import write_page
        from nas.stage import RunOptions
        from nas.whole_search import copy_report, run_stages, train_winner, winner

        tables = run_stages(search, RunOptions(), display)
        stage, number = winner(directory)
        epochs = counted(search.plan.final_epochs, "epoch")
        display.log(f"candidate {number} of stage {stage}: {epochs} in {search.out}")
    with trial_output.stoppable_training() as callbacks:
        result = train_winner(search, callbacks)
    page, verdict = write_page(directory)
    copy_report(page, search.out)
    directory.publish()
    architecture = directory.architecture(stage, number)
    final = trial_output.result_content(architecture, result, search.out)
    final |= {"stage": stage, "candidate": number}
    leaderboards.print_leaderboards(
        directory, tables, as_json=as_json, report=page, verdict=verdict, more={"final": final}
    )
    if not as_json:
        common.print_rich("")
        trial_output.print_result(final, as_json=False)


COMMANDS = {"search": declared(_search, _offered())}
