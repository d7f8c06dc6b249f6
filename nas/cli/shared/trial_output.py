"""Output of `trial` and `train`: progress on standard error, then the result."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.shared import common

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture
    from trials.result import EpochReport, TrialResult
    from trials.trial import OnEpoch, OnStep, ShouldStop

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


def print_result(candidate: "Architecture", content: dict[str, Any]) -> None:
    """Print the content of `result_content` as a table."""
    row = [f"{content[name]:.4f}" for name in ("easy", "medium", "hard")]
    row += [common.format_flops(content["flops"]), f"{content['params']:,}"]
    row.append(str(content["epochs"]))
    row.append(f"{content['duration_s'] / 60:.1f}")
    common.print_table(candidate.name or candidate.content_hash, _COLUMNS, [row])
    common.print_rich(f"in {content['folder']}")


@contextmanager
def training_progress() -> "Iterator[tuple[OnEpoch, OnStep]]":
    """Show progress on standard error: a bar on a terminal, a line per epoch elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = common.console
    if not console.is_terminal:
        yield lambda report: console.print(_line(report), soft_wrap=True), lambda done, total: None
        return
    text = TextColumn("{task.description}")
    with Progress(text, BarColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("starting", total=None)

        def on_step(done: int, total: int) -> None:
            if bar.tasks[0].total is None:  # a continued trial starts where it stopped
                bar.reset(task, total=total, completed=done)
            bar.update(task, completed=done)

        def on_epoch(report: "EpochReport") -> None:
            bar.update(task, description=_line(report))

        yield on_epoch, on_step


@contextmanager
def stoppable() -> "Iterator[ShouldStop]":
    """Yield a function that returns whether Ctrl-C or SIGTERM has asked the training to stop.

    Raises:
        KeyboardInterrupt, Terminated: the training has stopped, and its state is on disk.
    """
    from nas.running.signals import recording_signals
    from trials.result import TrialInterrupted

    with recording_signals() as stop:
        try:
            yield lambda: stop.number is not None
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
