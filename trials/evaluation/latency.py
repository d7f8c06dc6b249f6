"""Latency of a detector on one image.

The tables of SCRFD (arXiv 2105.04714) time one VGA image at a time. Here the clock is read
only after the device has finished, the first runs do not count, and the number of threads
is part of the result.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from search_spaces.errors import ConfigError
from search_spaces.network.detector import Detector
from trials.device import device_name, limited_threads, synchronize
from trials.onnx.export import onnx_bytes
from trials.onnx.runtime import OnnxSession
from trials.settings import LARGEST, MULTIPLE

WARM_UP = 10
RUNS = 100
LEAST_RUNS = 10
BUDGET_S = 20.0


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
    """

    runtime: str
    device: str
    threads: int
    height: int
    width: int
    runs: int
    median_ms: float
    p95_ms: float


def onnxruntime_latency(
    model: Detector | str | os.PathLike[str],
    *,
    size: tuple[int, int] = (480, 640),
    threads: int = 1,
    runs: int = RUNS,
) -> Latency:
    """Time a detector or an ONNX file in onnxruntime on the CPU.

    Args:
        model: a detector (exported for this size) or the path of an ONNX file.
        size: height and width in pixels.
        threads: at least 1.
        runs: runs to time, fewer if they take longer than 20 seconds (but at least 10).

    Raises:
        ConfigError: a number is out of range.
        DataError: the file cannot be opened, or does not take this size.
    """
    _check(size, threads, runs)
    content: bytes | str | os.PathLike[str]
    if isinstance(model, Detector):
        fixed = all(side % MULTIPLE == 0 for side in size)
        content = onnx_bytes(model, size if fixed else None)
    else:
        content = model
    session, images_13HW = OnnxSession(content, threads), _noise(size)
    times = time_runs(lambda: session.run(images_13HW), runs)
    return _result("onnxruntime", "cpu", size, threads, times)


def torch_latency(
    detector: Detector,
    *,
    device: torch.device,
    size: tuple[int, int] = (480, 640),
    threads: int = 1,
    runs: int = RUNS,
) -> Latency:
    """Time a detector in torch, in float32; arguments as for `onnxruntime_latency`."""
    _check(size, threads, runs)
    detector = detector.to(device).eval()
    images_13HW = torch.from_numpy(_noise(size)).to(device)

    def run() -> None:
        detector(images_13HW)
        synchronize(device)

    with limited_threads(threads), torch.inference_mode():
        times = time_runs(run, runs)
    return _result("torch", device_name(device), size, threads, times)


def time_runs(run: Callable[[], Any], runs: int) -> list[float]:
    """Return the seconds of each of up to `runs` calls, after `WARM_UP` calls.

    It ends after `BUDGET_S` seconds, but not before ten calls were timed (or `runs`, if
    that is less). A warm-up that takes longer than half of that is cut short.
    """
    start = time.perf_counter()
    for _ in range(WARM_UP):
        run()
        if time.perf_counter() - start > BUDGET_S / 2:
            break
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < runs:
        before = time.perf_counter()
        run()
        now = time.perf_counter()
        times.append(now - before)
        if now - start > BUDGET_S and len(times) >= LEAST_RUNS:
            break
    return times


def _result(
    runtime: str, device: str, size: tuple[int, int], threads: int, times: Sequence[float]
) -> Latency:
    median, p95 = np.percentile(np.array(times) * 1000, [50, 95])
    return Latency(
        runtime=runtime,
        device=device,
        threads=threads,
        height=size[0],
        width=size[1],
        runs=len(times),
        median_ms=float(median),
        p95_ms=float(p95),
    )


def _check(size: tuple[int, int], threads: int, runs: int) -> None:
    if not all(1 <= side <= LARGEST for side in size):
        raise ConfigError(f"the size must be 1 to {LARGEST} pixels, got {size[0]} x {size[1]}")
    if threads < 1 or runs < 1:
        raise ConfigError(f"threads and runs must be at least 1, got {threads} and {runs}")


def _noise(size: tuple[int, int]) -> np.typing.NDArray[np.float32]:
    generator = np.random.default_rng(0)
    return generator.standard_normal((1, 3, *size), dtype=np.float32)
