"""The commands of a search that lies at a URL."""

from pathlib import Path

import pytest
import torch
import yaml
from command_line import CommandLine, stage1
from fake_trials import make_data, set_faults

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


@pytest.fixture
def search(data: Path, url: str, elsewhere: Elsewhere, cli: CommandLine) -> str:
    """A finished stage 1 of three candidates, the third of which failed."""
    cli.run(stage1(data, "--search-dir", url))
    elsewhere()
    return url


def test_a_search_leaves_at_a_url_what_it_leaves_in_a_folder(
    cli: CommandLine, data: Path, url: str, store: Store, tmp_path: Path
) -> None:
    cli.run(stage1(data, "--search-dir", url))
    cli.run(stage1(data, "--search-dir", str(tmp_path / "folder")))
    folder = tmp_path / "folder"
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {n for n in store.list() if "/.owner" not in n} == names - {"driver.lock"}
    for name in ("stage1/leaderboard.csv", "stage1/0001/metrics.csv"):
        assert store.read(name) == (folder / name).read_bytes()


def test_a_search_is_extended_from_another_machine(
    search: str, data: Path, cli: CommandLine
) -> None:
    set_faults(data)
    found = cli.json(stage1(data, "--search-dir", search, "--retry-failed", num=4))
    assert found["search_dir"] == search
    assert {row["candidate"]: row["state"] for row in found["stage1"]} == dict.fromkeys(
        (1, 2, 3, 4), "finished"
    )


def test_only_what_is_unfinished_runs_again(
    cli: CommandLine, search: str, data: Path, store: Store, elsewhere: Elsewhere
) -> None:
    set_faults(data)
    cli.run(["resume", "--search-dir", search])
    assert store.read("stage1/0003/attempts") == b"2"
    elsewhere()
    cli.run(stage1(data, "--search-dir", search, "--retry-failed"))
    counted = [store.read(f"stage1/000{n}/attempts") for n in (1, 2, 3)]
    assert counted == [b"1", b"1", b"3"]


def test_stage_2_confirmed_seeds_and_a_report_are_stored_at_the_url(
    cli: CommandLine, search: str, store: Store
) -> None:
    where = ["--search-dir", search]
    cli.run(["stage2", "--num-candidates", "2", *where])
    assert store.read("stage2/leaderboard.csv") is not None
    assert store.read("stage2/0002/result.json") is not None
    cli.run(["confirm", "--stage", "1", "--top", "1", "--seeds", "2", *where])
    seeds = [name for name in store.list() if "/seeds/" in name and name.endswith("result.json")]
    assert len(seeds) == 1
    cli.run(["report", *where])
    assert store.read("report.html") is not None


def test_status_list_and_logs_see_it(search: str, store: Store, cli: CommandLine) -> None:
    store.write("stage1/0001/trial.log", b"epoch 1/2\n")
    found = cli.json(["status", "--search-dir", search])
    assert (found["search_dir"], found["driver"]) == (search, None)
    assert (found["stage1"]["finished"], found["stage1"]["failed"]) == (2, 1)
    (listed,) = cli.json(["list", search.rpartition("/")[0]])
    assert (listed["search_dir"], listed["stage1"]["finished"]) == (search, 2)
    assert cli.run(["logs", "1", "--follow", "--search-dir", search]).out == "epoch 1/2\n"


def test_clean_removes_training_states_at_the_url(
    search: str, store: Store, cli: CommandLine
) -> None:
    for name in ("0001/last.pt", "0001/best.pt", "0003/last.pt", "0001/seeds/1/last.pt"):
        store.write(f"stage1/{name}", bytes(7))
    assert cli.json(["clean", "--dry-run", "--search-dir", search])["bytes"] == 14
    assert cli.json(["clean", "--search-dir", search])["files"] == 2
    weights = [name for name in store.list() if name.endswith(".pt")]
    assert weights == ["stage1/0001/best.pt", "stage1/0001/seeds/1/last.pt"]


def test_searches_at_urls_are_compared(search: str, data: Path, cli: CommandLine) -> None:
    cli.run(stage1(data, "--search-dir", "here"))
    assert cli.json(["compare", "here", search])["populations"]


def test_a_trials_folder_and_weights_are_fetched(
    search: str, store: Store, tmp_path: Path, cli: CommandLine
) -> None:
    cli.run(["flops", "--json", f"{search}/stage1/0002"])
    model = tmp_path / "best.pt"
    save_small_model(store, model)
    for name in ("stage1/0002", "stage1/0002/best.pt"):
        out = tmp_path / f"{name.replace('/', '-')}.yaml"
        cli.run(["export-config", f"{search}/{name}", "--out", str(out)])
        assert out.is_file()


def save_small_model(store: Store, path: Path) -> None:
    text = (store.read("stage1/0002/architecture.yaml") or b"").decode()
    architecture = Architecture.from_dict(parse_yaml(text, "architecture"))
    network = build_detector(architecture, torch.Generator().manual_seed(0))
    save_model(path, architecture, network.state_dict(), {})
    store.write("stage1/0002/best.pt", path.read_bytes())


def test_another_search_at_a_url_warms_a_strategy(
    search: str, data: Path, tmp_path: Path, cli: CommandLine
) -> None:
    command = ["stage1", "--flops", "0.5G", "--data", str(data), "--dry-run"]
    more = ["--strategy", "tpe", "--warm-start", search, "--search-dir", str(tmp_path / "new")]
    assert cli.json([*command, *more])["stage1"]["request"]["warm_start"] == search


def test_a_dry_run_shows_the_url_and_is_taken_as_config(
    search: str, tmp_path: Path, cli: CommandLine, elsewhere: Elsewhere
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(cli.run(["stage1", "--dry-run", "--search-dir", search]).out)
    assert yaml.safe_load(config.read_text())["stage1"]["run"]["search_dir"] == search
    elsewhere()
    assert cli.json(["stage1", "--config", str(config)])["search_dir"] == search


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
    arguments: list[str], code: int, rule: str, cli: CommandLine
) -> None:
    errors = cli.run(arguments, code).err
    assert rule in errors
    assert errors.count("\n") == 1
    assert "secret" not in errors
