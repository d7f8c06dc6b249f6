"""Latency of a detector on one image.

The tables of SCRFD (arXiv 2105.04714) time one VGA image at a time. Here the clock is read
only after the device has finished, the first runs do not count, and the number of threads
is part of the result.

Other processes only add time. A candidate is therefore timed in `REPEATS` sessions, of which the
one with the least median counts, and where a single CPU thread computes, the time is that of the
thread: it excludes the time in which other processes had the core.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import torch

from search_spaces.architecture import Architecture
from search_spaces.errors import counted
from search_spaces.network.detector import Detector, build_detector
from trials.device import cpu_name, device_name, limited_threads, resolve_device, synchronize
from trials.onnx.export import onnx_bytes
from trials.onnx.runtime import OnnxSession
from trials.settings import MULTIPLE, LatencyOptions

WARM_UP = 10
REPEATS = 5
LEAST_RUNS = 10
BUDGET_S = 20.0
VGA = LatencyOptions()

Clock = Callable[[], float]  # seconds


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Statistics of single runs.

    Attributes:
        runtime: `onnxruntime` or `torch`.
        device: `cpu`, or the GPU's name.
        threads: CPU threads of the computation.
        height, width: size of the input in pixels.
        runs: number of timed runs, after the warm-up.
        median_ms, p95_ms: median and 95th percentile of the runs in milliseconds.
        slowest_ms: greatest median of several sessions, of which this is the fastest; equal to
            `median_ms` if there was one.
    """

    runtime: str
    device: str
    threads: int
    height: int
    width: int
    runs: int
    median_ms: float
    p95_ms: float
    slowest_ms: float


def onnxruntime_latency(
    model: Detector | str | os.PathLike[str] | bytes,
    options: LatencyOptions = VGA,
    clock: Clock | None = None,
) -> Latency:
    """Time a detector or an ONNX file in onnxruntime on the CPU.

    Args:
        model: a detector (exported for this size), or the path or content of an ONNX file.
        options: size, threads and runs; fewer runs are timed if they take longer than 20
            seconds (but at least 10).
        clock: clock of the runs; None: wall time.

    Raises:
        DataError: the file cannot be opened, or does not take this size.
    """
    content = _exported(model, options.size) if isinstance(model, Detector) else model
    session, images_13HW = OnnxSession(content, options.threads), _noise(options.size)
    times = time_runs(lambda: session.run(images_13HW), options.runs, clock)
    return _result("onnxruntime", "cpu", options, times)


def torch_latency(
    detector: Detector,
    device: torch.device,
    options: LatencyOptions = VGA,
    clock: Clock | None = None,
) -> Latency:
    """Time a detector in torch, in float32; options and clock as for `onnxruntime_latency`."""
    detector = detector.to(device).eval()
    images_13HW = torch.from_numpy(_noise(options.size)).to(device)

    def run() -> None:
        detector(images_13HW)
        synchronize(device)

    with limited_threads(options.threads), torch.inference_mode():
        times = time_runs(run, options.runs, clock)
    return _result("torch", device_name(device), options, times)


def candidate_latency(architecture: Architecture, options: LatencyOptions) -> Latency:
    """Return the fastest of `REPEATS` measurements of an architecture, which share its runs."""
    detector = build_detector(architecture, torch.Generator().manual_seed(0)).eval()
    each = replace(options, runs=-(-options.runs // REPEATS))
    device = _device(options)
    clock = time.thread_time if device.type == "cpu" and options.threads == 1 else None
    if options.runtime == "torch":
        found = [torch_latency(detector, device, each, clock) for _ in range(REPEATS)]
    else:
        content = _exported(detector, options.size)
        found = [onnxruntime_latency(content, each, clock) for _ in range(REPEATS)]
    fastest = min(found, key=lambda latency: latency.median_ms)
    return replace(fastest, slowest_ms=max(latency.median_ms for latency in found))


def describe_conditions(options: LatencyOptions) -> str:
    """Return in a line what latencies must share to be compared: machine, runtime, options."""
    device = _device(options)
    machine = cpu_name() if device.type == "cpu" else device_name(device)
    runtime = f"{options.runtime} {import_module(options.runtime).__version__}"
    height, width = options.size
    return f"{runtime} on {machine}, {counted(options.threads, 'thread')}, {height}x{width}"


def time_runs(run: Callable[[], Any], runs: int, clock: Clock | None = None) -> list[float]:
    """Return the seconds of each of up to `runs` calls, after `WARM_UP` calls.

    `clock` None is wall time. It ends after `BUDGET_S` seconds, but not before ten calls were
    timed (or `runs`, if that is less). A warm-up of more than half of that time is cut short.
    """
    start = time.perf_counter()
    for _ in range(WARM_UP):
        run()
        if time.perf_counter() - start > BUDGET_S / 2:
            break
    times: list[float] = []
    clock, start = clock or time.perf_counter, time.perf_counter()
    while len(times) < runs:
        before = clock()
        run()
        times.append(clock() - before)
        if time.perf_counter() - start > BUDGET_S and len(times) >= LEAST_RUNS:
            break
    return times


def _result(runtime: str, device: str, options: LatencyOptions, times: Sequence[float]) -> Latency:
    median, p95 = np.percentile(np.array(times) * 1000, [50, 95])
    return Latency(
        runtime=runtime,
        device=device,
        threads=options.threads,
        height=options.size[0],
        width=options.size[1],
        runs=len(times),
        median_ms=float(median),
        p95_ms=float(p95),
        slowest_ms=float(median),
    )


def _device(options: LatencyOptions) -> torch.device:
    return resolve_device("auto" if options.runtime == "torch" else "cpu")


def _exported(detector: Detector, size: tuple[int, int]) -> bytes:
    fixed = all(side % MULTIPLE == 0 for side in size)
    return onnx_bytes(detector, size if fixed else None)


def _noise(size: tuple[int, int]) -> np.typing.NDArray[np.float32]:
    generator = np.random.default_rng(0)
    return generator.standard_normal((1, 3, *size), dtype=np.float32)
