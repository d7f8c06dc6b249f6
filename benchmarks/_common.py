"""What the benchmarks share: interleaved timing in CPU seconds, and how a ratio is printed.

Timed by `time.process_time`, the CPU time of all threads of this process, so that other
programs on the machine disturb a figure little (they still take caches and memory
bandwidth). `WALL` times what waits for other processes or a disk.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run without installation

CPU, WALL = time.process_time, time.perf_counter

Run = Callable[[], Any]
Clock = Callable[[], float]


def arguments(
    description: str | None, *flags: tuple[str, dict[str, Any]]
) -> argparse.ArgumentParser:
    """A parser with `--quick`, `--threads` and the script's own flags."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="seconds, only to see that it runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (1)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side is run (3)")
    for name, options in flags:
        parser.add_argument(name, **options)
    return parser


def set_threads(threads: int) -> None:
    """CPU threads of torch."""
    import torch

    torch.set_num_threads(threads)


def seconds(run: Run, clock: Clock = CPU) -> float:
    """What one call takes."""
    start = clock()
    run()
    return clock() - start


def best_of(run: Run, rounds: int, clock: Clock = CPU) -> float:
    """The median over `rounds` calls, after one that does not count."""
    return medians([run], rounds, clock)[0]


def medians(runs: Sequence[Run], rounds: int, clock: Clock = CPU) -> list[float]:
    """Median seconds of each of `runs`, called in turn, after a round that does not count."""
    times: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, measured in zip(runs, times, strict=True):
            taken = seconds(run, clock)
            if number:
                measured.append(taken)
    return [statistics.median(measured) for measured in times]


def show(text: str, value: float, unit: str = "s") -> None:
    """One measured figure."""
    scale, name = next(
        (scale, name)
        for scale, name in ((1, "s"), (1e3, "ms"), (1e6, "us"), (1e9, "ns"))
        if unit != "s" or value * scale >= 1 or name == "ns"
    )
    print(f"  {text:<58} {value * scale:12,.4g} {name if unit == 's' else unit}")


def verdict(text: str, ratio: float, goal: float | None = None) -> float:
    """Print and return the ratio that the script is about."""
    against = "" if goal is None else f" (goal {goal:,g}: {'met' if ratio >= goal else 'missed'})"
    print(f"{text}: {ratio:,.4g} times{against}")
    return ratio
