"""Command that times a model: `latency`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.shared import common, paths
from nas.cli.shared.flags import flag
from nas.cli.shared.run_flags import Json
from search_spaces.errors import ConfigError
from trials.settings import RUNTIMES, LatencyOptions

if TYPE_CHECKING:
    from search_spaces.network.detector import Detector
    from trials.evaluation.latency import Latency


def latency(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|ARCHITECTURE",
            help="A .pt, .onnx, YAML file or name, or a trial's URL.",
            parser=paths.reference,
        ),
    ],
    size: Annotated[tuple[int, int], flag(LatencyOptions, "size")] = LatencyOptions.size,
    threads: Annotated[int, flag(LatencyOptions, "threads")] = LatencyOptions.threads,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="onnxruntime (CPU) or torch (GPU if there is one); default: the first,"
            " and the second too where there is a GPU."
        ),
    ] = None,
    runs: Annotated[int, flag(LatencyOptions, "runs")] = LatencyOptions.runs,
    as_json: Json = False,
) -> None:
    """Measure how long the network takes for one image."""
    if runtime is not None and runtime not in RUNTIMES:
        raise ConfigError(f"--runtime must be {' or '.join(RUNTIMES)}, got {runtime!r}")
    results = _measure(model, LatencyOptions(size=size, threads=threads, runs=runs), runtime)
    if as_json:
        first, *others = [asdict(result) for result in results]
        gpu = others[0] if others else None
        common.print_json({"model": model, "batch": 1, **first, "gpu": gpu})
        return
    rows = [
        (r.runtime, r.device, r.threads, f"{r.median_ms:.2f}", f"{r.p95_ms:.2f}", r.runs)
        for r in results
    ]
    columns = ("runtime", "device", "threads", "median ms", "p95 ms", "runs")
    title = f"{model} at {size[0]}x{size[1]}, one image, network only"
    common.print_table(title, columns, rows, text_columns=("runtime", "device"))


def _measure(model: str, options: LatencyOptions, runtime: str | None) -> "list[Latency]":
    """Return the latency in each runtime."""
    from trials.device import gpu_count, resolve_device
    from trials.evaluation.latency import onnxruntime_latency, torch_latency

    subject = _subject(model)
    results = []
    if runtime != "torch":
        results.append(onnxruntime_latency(subject, options))
    if isinstance(subject, str):
        if runtime == "torch":
            raise ConfigError(f"{model}: torch times a model file or an architecture; convert it")
    elif runtime == "torch" or (runtime is None and gpu_count()):
        results.append(torch_latency(subject, resolve_device("auto"), options))
    return results


def _subject(model: str) -> "Detector | str":
    """Return a detector, with random weights for an architecture, or an ONNX file's path."""
    from search_spaces.network.detector import build_detector
    from trials.candidate import resolve_candidate
    from trials.model_file import load_model

    if model.lower().endswith(".onnx"):
        return model
    path = paths.model_file(Path(model))
    if path.suffix == ".pt" and os.path.exists(path):
        return load_model(path)[1]
    return build_detector(resolve_candidate(model))


COMMANDS = {"latency": latency}
