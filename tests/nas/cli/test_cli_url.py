"""The commands of a search that lies at a URL."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from fake_trials import make_data, set_faults

from nas.cli.main import run
from nas.storage import search_storage
from nas.storage.lease import Times
from nas.storage.object_store import Store
from search_spaces.architecture import Architecture
from search_spaces.network.detector import build_detector
from search_spaces.yaml_files import parse_yaml
from trials.model_file import save_model

pytestmark = pytest.mark.usefixtures("without_training")

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Elsewhere":
    monkeypatch.setattr(search_storage, "TIMES", Times(settle_s=0.01))
    return Elsewhere(tmp_path, monkeypatch)


class Elsewhere:
    """Each call is a machine without a cache."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root, self._monkeypatch, self._count = root, monkeypatch, 0
        self()

    def __call__(self) -> None:
        self._count += 1
        self._monkeypatch.setenv("XDG_CACHE_HOME", str(self._root / f"cache{self._count}"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/bucket/run"


@pytest.fixture
def store(url: str) -> Store:
    return Store(url)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data", **{"raise": {"3": 1}})


def stage1(data: Path, where: str, *more: str, num: int = 3) -> int:
    command = ["stage1", "--flops", "0.5G", "--data", str(data), "--num-candidates", str(num)]
    return run([*command, "--epochs", "2", "--image-size", "64", "--search-dir", where, *more])


@pytest.fixture
def search(data: Path, url: str, elsewhere: Elsewhere, capsys: Output) -> str:
    """A finished stage 1 of three candidates, the third of which failed."""
    assert stage1(data, url) == 0
    elsewhere()
    capsys.readouterr()
    return url


def test_a_search_leaves_at_a_url_what_it_leaves_in_a_folder(
    data: Path, url: str, store: Store, tmp_path: Path
) -> None:
    assert stage1(data, url) == 0
    assert stage1(data, str(tmp_path / "folder")) == 0
    folder = tmp_path / "folder"
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {n for n in store.list() if "/.owner" not in n} == names - {"driver.lock"}
    for name in ("stage1/leaderboard.csv", "stage1/0001/metrics.csv"):
        assert store.read(name) == (folder / name).read_bytes()


def test_a_search_is_extended_from_another_machine(search: str, data: Path, capsys: Output) -> None:
    set_faults(data)
    assert stage1(data, search, "--retry-failed", "--json", num=4) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["search_dir"] == search
    assert {row["candidate"]: row["state"] for row in found["stage1"]} == dict.fromkeys(
        (1, 2, 3, 4), "finished"
    )


def test_only_what_is_unfinished_runs_again(
    search: str, data: Path, store: Store, elsewhere: Elsewhere
) -> None:
    set_faults(data)
    assert run(["resume", "--search-dir", search]) == 0
    assert store.read("stage1/0003/attempts") == b"2"
    elsewhere()
    assert stage1(data, search, "--retry-failed") == 0
    counted = [store.read(f"stage1/000{n}/attempts") for n in (1, 2, 3)]
    assert counted == [b"1", b"1", b"3"]


def test_stage_2_confirmed_seeds_and_a_report_are_stored_at_the_url(
    search: str, store: Store
) -> None:
    where = ["--search-dir", search]
    assert run(["stage2", "--num-candidates", "2", *where]) == 0
    assert store.read("stage2/leaderboard.csv") is not None
    assert store.read("stage2/0002/result.json") is not None
    assert run(["confirm", "--stage", "1", "--top", "1", "--seeds", "2", *where]) == 0
    seeds = [name for name in store.list() if "/seeds/" in name and name.endswith("result.json")]
    assert len(seeds) == 1
    assert run(["report", *where]) == 0
    assert store.read("report.html") is not None


def test_status_list_and_logs_see_it(search: str, store: Store, capsys: Output) -> None:
    store.write("stage1/0001/trial.log", b"epoch 1/2\n")
    assert run(["status", "--json", "--search-dir", search]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["search_dir"], found["driver"]) == (search, None)
    assert (found["stage1"]["finished"], found["stage1"]["failed"]) == (2, 1)
    assert run(["list", "--json", search.rpartition("/")[0]]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["search_dir"], listed["stage1"]["finished"]) == (search, 2)
    assert run(["logs", "1", "--follow", "--search-dir", search]) == 0
    assert capsys.readouterr().out == "epoch 1/2\n"


def test_clean_removes_training_states_at_the_url(
    search: str, store: Store, capsys: Output
) -> None:
    for name in ("0001/last.pt", "0001/best.pt", "0003/last.pt", "0001/seeds/1/last.pt"):
        store.write(f"stage1/{name}", bytes(7))
    assert run(["clean", "--json", "--dry-run", "--search-dir", search]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == 14
    assert run(["clean", "--json", "--search-dir", search]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 2
    weights = [name for name in store.list() if name.endswith(".pt")]
    assert weights == ["stage1/0001/best.pt", "stage1/0001/seeds/1/last.pt"]


def test_searches_at_urls_are_compared(search: str, data: Path, capsys: Output) -> None:
    assert stage1(data, "here") == 0
    capsys.readouterr()
    assert run(["compare", "here", search, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["populations"]


def test_a_trials_folder_and_weights_are_fetched(
    search: str, store: Store, tmp_path: Path, capsys: Output
) -> None:
    assert run(["flops", "--json", f"{search}/stage1/0002"]) == 0
    capsys.readouterr()
    model = tmp_path / "best.pt"
    save_small_model(store, model)
    for name in ("stage1/0002", "stage1/0002/best.pt"):
        out = tmp_path / f"{name.replace('/', '-')}.yaml"
        assert run(["export-config", f"{search}/{name}", "--out", str(out)]) == 0
        assert out.is_file()


def save_small_model(store: Store, path: Path) -> None:
    text = (store.read("stage1/0002/architecture.yaml") or b"").decode()
    architecture = Architecture.from_dict(parse_yaml(text, "architecture"))
    network = build_detector(architecture, torch.Generator().manual_seed(0))
    save_model(path, architecture, network.state_dict(), {})
    store.write("stage1/0002/best.pt", path.read_bytes())


def test_another_search_at_a_url_warms_a_strategy(
    search: str, data: Path, tmp_path: Path, capsys: Output
) -> None:
    command = ["stage1", "--flops", "0.5G", "--data", str(data), "--dry-run", "--json"]
    more = ["--strategy", "tpe", "--warm-start", search, "--search-dir", str(tmp_path / "new")]
    assert run([*command, *more]) == 0
    assert json.loads(capsys.readouterr().out)["stage1"]["request"]["warm_start"] == search


def test_a_dry_run_shows_the_url_and_is_taken_as_config(
    search: str, tmp_path: Path, capsys: Output, elsewhere: Elsewhere
) -> None:
    assert run(["stage1", "--dry-run", "--search-dir", search]) == 0
    config = tmp_path / "config.yaml"
    config.write_text(capsys.readouterr().out)
    assert yaml.safe_load(config.read_text())["stage1"]["run"]["search_dir"] == search
    elsewhere()
    assert run(["stage1", "--config", str(config), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["search_dir"] == search


@pytest.mark.parametrize(
    ("arguments", "code", "rule"),
    [
        (["status", "--search-dir", "s3://me:secret@b/x"], 2, "must not hold credentials"),
        (["status", "--search-dir", "zz://b/x"], 1, "Unrecognized filesystem"),
        (["train", "file:///x/run", "--data", "."], 2, "names no trial of a search"),
        (["status", "--search-dir", "file:///nowhere/run"], 1, "run: holds no search"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line(
    arguments: list[str], code: int, rule: str, capsys: Output
) -> None:
    assert run(arguments) == code
    errors = capsys.readouterr().err
    assert rule in errors
    assert errors.count("\n") == 1
    assert "secret" not in errors
