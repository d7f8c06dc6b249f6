"""Check before the trials that every machine of a cluster sees the data and the search directory.

A small task runs on each machine. It imports this package, reads the data folder's fingerprint,
and looks for a file that was just put into the search directory, so that another folder under
the same path is noticed.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.running.node_requirements import missing_data
from nas.running.nodes import Node
from nas.running.tasks import Resources
from nas.search.directory import SearchDir
from nas.search.stage_request import StageRequest
from nas.storage.object_store import Store
from nas.storage.urls import is_url, split
from search_spaces.errors import DataError, ScrfdNasError, last_line

MARKER = ".preflight"
_RETRIES = 2  # a killed process says nothing about its machine
_NODE_PATIENCE_S = 30.0
_PATIENCE_S = 180.0  # Ray starts a process on each machine, and imports may come by network


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Files that a machine must see.

    Attributes:
        data: Data folder, absolute.
        fingerprint: Fingerprint of the data (`trials.fingerprint`).
        marker: File in the search directory, an absolute path or a URL.
        content: Content of the marker.
    """

    data: str
    fingerprint: str
    marker: str
    content: str


def look(sight: Sight) -> str:
    """Return what this machine does not see as text; empty if nothing is missing."""
    if lacks := missing_data(sight.data, sight.fingerprint):
        return lacks
    if is_url(sight.marker):
        return _look_at_url(sight)
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


def _look_at_url(sight: Sight) -> str:
    """Do the same for a search in a store, which must be readable and writable from here."""
    folder, name = split(sight.marker, 1)
    hint = "it needs the credentials and options of the store in its own environment"
    try:
        store = Store(folder, _NODE_PATIENCE_S)
        if store.read(name) != sight.content.encode():
            return f"it does not see {folder} as the driver does; {hint}"
        answer = f"{name}-{secrets.token_hex(8)}"
        store.write(answer, b"")
        store.remove(answer)
    except ScrfdNasError as error:
        return f"{error.args[0]}; {hint}"
    return ""


def check_nodes(
    nodes: Sequence[Node], resources: Resources, request: StageRequest, directory: SearchDir
) -> None:
    """Check the data and the search directory on every machine that can hold a trial.

    Raises:
        DataError: A machine does not see them; names the machine and the path.
        StoreError: This machine cannot write to the search's store.
    """
    able = [node for node in nodes if node.room(resources)]
    content = secrets.token_hex(8)
    with _marked(directory, content) as marker:
        sight = Sight(
            data=request.data,
            fingerprint=request.data_fingerprint,
            marker=marker,
            content=content,
        )
        refuse(_answers(able, sight), len(able))


@contextmanager
def _marked(directory: SearchDir, content: str) -> Iterator[str]:
    """Yield the path or URL of a file with `content` in the search directory."""
    root = directory.root.resolve()
    for old in root.glob(f"{MARKER}-*"):  # from killed drivers
        old.unlink(missing_ok=True)
    path = root / f"{MARKER}-{os.getpid()}"
    directory.storage.write(path, content)
    try:
        yield directory.url_of(path) or str(path)
    finally:
        directory.storage.remove(path)


def refuse(answers: Sequence[tuple[Node, str]], asked: int) -> None:
    """Raise DataError if one of the `asked` machines misses something."""
    blind = [(node, text) for node, text in answers if text]
    if not blind:
        return
    node, text = blind[0]
    more = f" ({len(blind)} of {asked} nodes are not ready)" if len(blind) > 1 else ""
    raise DataError(f"node {node.address} cannot run trials{more}: {text}")


def _answers(nodes: Sequence[Node], sight: Sight) -> list[tuple[Node, str]]:
    """Return what each machine misses; all are asked at the same time."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(num_cpus=0, max_retries=_RETRIES)(look)
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
        (node, _answer(ray, answer) if answer in answered else _no_answer())
        for answer, node in asked.items()
    ]


def _answer(ray: Any, answer: Any) -> str:
    lost = (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError)
    try:
        return str(ray.get(answer))
    except lost:
        return "it has left the cluster; start it again, or the search without it"
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        times = f"{_RETRIES + 1} times"
        return f"the process that looked there was killed {times}; is the machine out of memory?"
    except Exception as error:  # of any kind: the machine's own or Ray's
        return f"{last_line(error)}; does it have this package, in the same version?"


def _no_answer() -> str:
    return f"it did not answer in {_PATIENCE_S:g} s; see `ray status`"
