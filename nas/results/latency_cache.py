"""Latencies of a search's best candidates, measured once and stored in their folders."""

import json
import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from nas.search.directory import SearchDir
from search_spaces.architecture import Architecture
from search_spaces.checks import require_fields, require_number
from search_spaces.errors import ConfigError
from search_spaces.files import read_text, write_json
from trials.evaluation.latency import Latency
from trials.result import TrialResult

LATENCY_FILE = "latency.json"
TOP = 10  # candidates of each stage

Measure = Callable[[Architecture], Latency]


def read_latencies(directory: SearchDir, stage: int) -> dict[int, Latency]:
    """Return the latencies by candidate, from the machine that has measured the most of them."""
    found = {
        number: _read(directory.trial_folder(stage, number), architecture)
        for number, architecture in directory.candidates(stage).items()
    }
    known = {number: entry for number, entry in found.items() if entry is not None}
    if not known:
        return {}
    machine = Counter(machine for machine, _ in known.values()).most_common(1)[0][0]
    return {number: latency for number, (where, latency) in known.items() if where == machine}


def measure_latencies(
    directory: SearchDir, stage: int, measure: Measure, log: Callable[[str], None]
) -> None:
    """Measure those of the ten best candidates that this machine has not measured yet.

    Args:
        directory, stage: Search directory and stage.
        measure: Measures one architecture (see `time_network`).
        log: Receives a line about each.
    """
    candidates, outcomes = directory.candidates(stage), directory.outcomes(stage)
    hard = {n: o.hard for n, o in outcomes.items() if isinstance(o, TrialResult)}
    for number in sorted(hard, key=lambda n: (-hard[n], n))[:TOP]:
        folder, architecture = directory.trial_folder(stage, number), candidates[number]
        known = _read(folder, architecture)
        if known is not None and known[0] == platform.node():
            continue
        found = measure(architecture)
        content = {"hash": architecture.content_hash, "machine": platform.node()}
        write_json(folder / LATENCY_FILE, {**content, "latency": asdict(found)})
        log(f"stage {stage}, candidate {number}: {found.median_ms:.1f} ms")


def time_network(architecture: Architecture) -> Latency:
    """Measure one VGA image at a time on one core, in onnxruntime."""
    from search_spaces.network.detector import Detector
    from trials.evaluation.latency import onnxruntime_latency

    return onnxruntime_latency(Detector(architecture).eval())


def _read(folder: Path, architecture: Architecture) -> tuple[str, Latency] | None:
    """Return the machine and latency in a candidate's folder; None if nothing valid is there."""
    path = folder / LATENCY_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(read_text(path))
        if content["hash"] != architecture.content_hash:
            return None
        latency = Latency(**require_fields(Latency, content["latency"], str(path)))
        require_number(latency.median_ms, "median_ms", 0)
        return str(content["machine"]), latency
    except (ConfigError, ValueError, TypeError, KeyError, RecursionError):
        return None
