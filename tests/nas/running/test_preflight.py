"""Check of the data and the search directory on the machines of a cluster."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_trials import make_data, make_request

from nas.running import preflight
from nas.running.nodes import Node
from nas.running.preflight import Sight, check_nodes, look, refuse
from nas.running.tasks import Resources
from nas.search.directory import SearchDir
from nas.search.resolve_url import search_path
from nas.storage.object_store import Store
from search_spaces.errors import DataError
from trials.fingerprint import data_fingerprint

NODES = tuple(Node(id=str(n), address=f"10.0.0.{n}", cpus=cpus) for n, cpus in enumerate((0, 2, 4)))


@pytest.fixture
def sight(tmp_path: Path) -> Sight:
    data, marker = make_data(tmp_path / "data"), tmp_path / "search" / "marker"
    marker.parent.mkdir()
    marker.write_text("1234")
    found = data_fingerprint(data)
    return Sight(data=str(data), fingerprint=found, marker=str(marker), content="1234")


@pytest.mark.parametrize("name", ["train/labelv2.txt", "train/images", "val/images"])
def test_missing_data_are_named_by_their_path(sight: Sight, name: str) -> None:
    assert look(sight) == ""
    path = Path(sight.data, name)
    path.rename(path.with_name("gone"))
    assert f"it does not see {path};" in look(sight)


def test_other_data_under_the_same_path_are_noticed(sight: Sight) -> None:
    Path(sight.data, "train", "labelv2.txt").write_text("# other.jpg 10 10\n")
    assert f"{sight.data} holds other data there" in look(sight)


@pytest.mark.parametrize("content", [None, "5678"])
def test_another_folder_under_the_search_directorys_path_is_noticed(
    sight: Sight, content: str | None
) -> None:
    marker = Path(sight.marker)
    marker.unlink()
    if content:
        marker.write_text(content)
    assert f"it does not see the search directory {marker.parent}" in look(sight)


def test_the_first_node_that_is_not_ready_is_named_with_their_number() -> None:
    answers = [(NODES[0], ""), (NODES[1], "no data"), (NODES[2], "no data")]
    message = r"node 10.0.0.1 cannot run trials \(2 of 3 nodes are not ready\): no data"
    with pytest.raises(DataError, match=message):
        refuse(answers, 3)
    refuse([(NODES[0], "")], 1)


@pytest.mark.parametrize("at_url", [False, True])
def test_nodes_that_can_hold_a_trial_are_asked_and_the_marker_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_url: bool
) -> None:
    asked: list[tuple[str, str]] = []

    def answers(nodes: Any, sight: Sight) -> list[tuple[Node, str]]:
        asked.extend((node.address, look(sight)) for node in nodes)
        return [(node, "") for node in nodes]

    monkeypatch.setattr(preflight, "_answers", answers)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "bucket" / "run"
    folder.mkdir(parents=True)
    if not at_url:
        (folder / ".preflight-999").write_text("from a killed driver")
    directory = SearchDir(search_path(f"file://{folder}") if at_url else folder)
    data = make_data(tmp_path / "data")
    request = make_request(data=str(data), data_fingerprint=data_fingerprint(data))
    check_nodes(NODES, Resources(cpus_per_trial=2), request, directory)
    assert asked == [("10.0.0.1", ""), ("10.0.0.2", "")]
    assert list(folder.iterdir()) == []


@pytest.fixture
def at_url(sight: Sight, tmp_path: Path) -> Sight:
    store = Store(f"file://{tmp_path}/bucket/run")
    store.write("marker", b"1234")
    return replace(sight, marker=f"{store.url}/marker")


def test_a_url_must_be_readable_and_show_the_same_file(at_url: Sight, tmp_path: Path) -> None:
    assert look(at_url) == ""
    assert [path.name for path in (tmp_path / "bucket" / "run").iterdir()] == ["marker"]
    text = look(replace(at_url, content="5678"))
    assert "it does not see file://" in text
    assert "credentials" in text


def test_a_url_must_be_writable(at_url: Sight, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_it(self: Store, path: str, content: bytes) -> None:
        raise PermissionError("AWS Error ACCESS_DENIED")

    monkeypatch.setattr(Store, "_write", refuse_it)
    text = look(at_url)
    assert "cannot be written (AWS Error ACCESS_DENIED)" in text
    assert text.endswith("it needs the credentials and options of the store in its own environment")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("WorkerCrashedError", "was killed 3 times; is the machine out of memory?"),
        ("OutOfMemoryError", "was killed 3 times; is the machine out of memory?"),
        ("TaskUnschedulableError", "it has left the cluster;"),
        ("NodeDiedError", "it has left the cluster;"),
        ("RaySystemError", "does it have this package, in the same version?"),
    ],
)
def test_a_killed_process_and_a_lost_node_are_told_apart(error: str, text: str) -> None:
    from ray import exceptions

    kind = getattr(exceptions, error)

    def get(answer: Any) -> str:
        raise kind() if error == "WorkerCrashedError" else kind("lost")

    assert text in preflight._answer(SimpleNamespace(exceptions=exceptions, get=get), None)
