"""Output of `trial` and `train`: progress on standard error, then the result."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.shared import common
from nas.running.signals import recording_signals
from reports.page.text import format_flops
from search_spaces.architecture import Architecture

if TYPE_CHECKING:
    from trials.result import EpochReport, TrialResult
    from trials.trial import Callbacks

_COLUMNS = ("easy", "medium", "hard", "FLOPs", "params", "epochs", "minutes")


def result_content(
    candidate: "Architecture", result: "TrialResult", folder: Path
) -> dict[str, Any]:
    """Return the document that `--json` prints."""
    from search_spaces.cost.detector import flops_by_part, total

    names = ("easy", "medium", "hard", "params", "epochs", "best_epoch", "best_hard", "loss")
    return {
        "architecture": candidate.name or None,
        "hash": candidate.content_hash,
        **{name: getattr(result, name) for name in names},
        "flops": int(total(flops_by_part(candidate))),
        "duration_s": result.duration_s,
        "images_per_second": result.images_per_second,
        "folder": str(folder),
    }


def print_result(content: dict[str, Any], *, as_json: bool) -> None:
    """Print the content of `result_content` as JSON or as a table."""
    if as_json:
        common.print_json(content)
        return
    row = [f"{content[name]:.4f}" for name in ("easy", "medium", "hard")]
    row += [format_flops(content["flops"]), f"{content['params']:,}"]
    row.append(str(content["epochs"]))
    row.append(f"{content['duration_s'] / 60:.1f}")
    common.print_table(content["architecture"] or content["hash"], _COLUMNS, [row])
    common.print_rich(f"in {content['folder']}")


@contextmanager
def _training_progress() -> "Iterator[Callbacks]":
    """Show progress on standard error: a bar on a terminal, a line per epoch elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from trials.trial import Callbacks

    if not common.console().is_terminal:
        yield Callbacks(on_epoch=lambda report: common.print_note(_line(report)))
        return
    text = TextColumn("{task.description}")
    with Progress(text, BarColumn(), TimeRemainingColumn(), console=common.console()) as bar:
        task = bar.add_task("starting", total=None)

        def on_step(done: int, total: int) -> None:
            if bar.tasks[0].total is None:  # a continued trial starts where it stopped
                bar.reset(task, total=total, completed=done)
            bar.update(task, completed=done)

        def on_epoch(report: "EpochReport") -> None:
            bar.update(task, description=_line(report))

        yield Callbacks(on_epoch=on_epoch, on_step=on_step)


@contextmanager
def stoppable_training() -> "Iterator[Callbacks]":
    """Show progress, and let the training stop between two steps after a signal.

    Raises:
        KeyboardInterrupt, Terminated: the training has stopped, and its state is on disk.
    """
    from trials.result import TrialInterrupted

    with recording_signals() as stop, _training_progress() as callbacks:
        try:
            yield replace(callbacks, should_stop=lambda: stop.number is not None)
        except TrialInterrupted as interrupted:
            common.print_note(f"{interrupted}; the same command continues there")
        except Exception:  # such as that of a loader process that got the signal too
            stop.check()
            raise
        stop.check()


def _line(report: "EpochReport") -> str:
    text = f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.3f}"
    text += f"  {report.images_per_second:.0f} images/s"
    return text + (f"  hard AP {report.aps.hard:.4f}" if report.aps else "")
