"""Shared functions of the benchmarks: arguments, interleaved timing, output.

The default clock is `time.process_time`, the CPU time of all threads of this process, which
other programs on the machine affect only through caches and memory bandwidth. `WALL` is for
work that waits for other processes or a disk.
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
    """Return a parser with `--quick`, `--threads`, `--rounds` and the flags of the script."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="run in seconds, as a test")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (1)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (3)")
    for name, options in flags:
        parser.add_argument(name, **options)
    return parser


def set_threads(threads: int) -> None:
    """Set the CPU threads of torch."""
    import torch

    torch.set_num_threads(threads)


def seconds(run: Run, clock: Clock = CPU) -> float:
    """Return the seconds of one call."""
    start = clock()
    run()
    return clock() - start


def best_of(run: Run, rounds: int, clock: Clock = CPU) -> float:
    """Return the median seconds of `rounds` calls, after a warm-up call."""
    return medians([run], rounds, clock)[0]


def medians(runs: Sequence[Run], rounds: int, clock: Clock = CPU) -> list[float]:
    """Return the median seconds of each of `runs`, called in turn, after a warm-up round."""
    times: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, measured in zip(runs, times, strict=True):
            taken = seconds(run, clock)
            if number:
                measured.append(taken)
    return [statistics.median(measured) for measured in times]


def show(text: str, value: float, unit: str = "s") -> None:
    """Print one measurement."""
    scale, name = next(
        (scale, name)
        for scale, name in ((1, "s"), (1e3, "ms"), (1e6, "us"), (1e9, "ns"))
        if unit != "s" or value * scale >= 1 or name == "ns"
    )
    print(f"  {text:<58} {value * scale:12,.4g} {name if unit == 's' else unit}")


def verdict(text: str, ratio: float, goal: float | None = None) -> float:
    """Print and return a ratio."""
    against = "" if goal is None else f" (goal {goal:,g}: {'met' if ratio >= goal else 'missed'})"
    print(f"{text}: {ratio:,.4g} times{against}")
    return ratio
