"""Before trials start on a cluster: every machine that can run them sees what they need.

A small task is sent to each of them. It imports this package there, reads the data folder's
fingerprint, and looks for a file that was just put into the search directory, so that another
folder under the same path does not pass for it.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.request import StageRequest
from nas.running.nodes import Node
from nas.running.tasks import Resources
from search_spaces.errors import DataError
from trials.fingerprint import DATA_LAYOUT, data_fingerprint

MARKER = ".preflight"
_PATIENCE_S = 180.0  # Ray starts a process on each machine, and imports may come by network


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a machine must see.

    Attributes:
        data: the data folder, absolute.
        fingerprint: of the data (`trials.fingerprint`).
        marker: a file in the search directory, absolute.
        content: of the marker.
    """

    data: str
    fingerprint: str
    marker: str
    content: str


def look(sight: Sight) -> str:
    """What this machine does not see of it, for people; empty if nothing is missing."""
    for name in DATA_LAYOUT:
        path = Path(sight.data, name)
        if not path.exists():
            return f"it does not see {path}; put the data there, under the same path as --data"
    found = data_fingerprint(sight.data)
    if found != sight.fingerprint:
        there = f"fingerprint {found}, not {sight.fingerprint}"
        return f"{sight.data} holds other data there ({there}); copy or mount the same data"
    folder = Path(sight.marker).parent
    try:
        content = Path(sight.marker).read_text(encoding="utf-8")
    except OSError:
        content = ""
    if content != sight.content:
        return f"it does not see the search directory {folder}; mount it there, or choose another"
    if not os.access(folder, os.W_OK):
        return f"it may not write to the search directory {folder}; give it the right to"
    return ""


def check_nodes(
    nodes: Sequence[Node], resources: Resources, request: StageRequest, folder: Path
) -> None:
    """Let every machine that can hold a trial look at the data and at the search's `folder`.

    Raises:
        DataError: a machine does not see them, names it and the path.
    """
    able = [node for node in nodes if node.room(resources)]
    marker, content = folder.resolve() / f"{MARKER}-{os.getpid()}", secrets.token_hex(8)
    marker.write_text(content, encoding="utf-8")
    sight = Sight(
        data=request.data,
        fingerprint=request.data_fingerprint,
        marker=str(marker),
        content=content,
    )
    try:
        refuse(_answers(able, sight), len(able))
    finally:
        marker.unlink(missing_ok=True)


def refuse(answers: Sequence[tuple[Node, str]], asked: int) -> None:
    """Raise DataError if any of the `asked` machines misses something."""
    blind = [(node, text) for node, text in answers if text]
    if not blind:
        return
    node, text = blind[0]
    more = f" ({len(blind)} of {asked} nodes are not ready)" if len(blind) > 1 else ""
    raise DataError(f"node {node.address} cannot run trials{more}: {text}")


def _answers(nodes: Sequence[Node], sight: Sight) -> list[tuple[Node, str]]:
    """What each machine misses, all asked at the same time."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(sight): node
        for node in nodes
    }
    if not asked:
        return []
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE_S)
    return [
        (node, _answer(ray, answer) if answer in answered else _silence())
        for answer, node in asked.items()
    ]


def _answer(ray: Any, answer: Any) -> str:
    try:
        return str(ray.get(answer))
    except Exception as error:  # of any kind: the machine's own, or Ray's
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"{lines[-1]}; does it have this package, in the same version?"


def _silence() -> str:
    return f"it did not answer in {_PATIENCE_S:g} s; see `ray status`"
