"""Searches whose data have moved, or whose files are damaged, named with the remedy."""

from pathlib import Path

import pytest
from command_line import CommandLine, stage1
from fake_search import FakeSearch
from fake_trials import make_architecture, make_data

from nas.search.directory import SearchDir
from search_spaces.architecture import load_architecture
from search_spaces.errors import ConfigError
from search_spaces.files import write_json
from trials.candidate import resolve_candidate
from trials.model_file import load_model
from trials.trial import claim

DAMAGE = {
    "empty": b"",
    "garbage": b"\0\x01\xff" * 50,
    "truncated": b"backbone:\n  block: basic\n  dep",
}


@pytest.fixture(params=DAMAGE.values(), ids=DAMAGE)
def damage(request: pytest.FixtureRequest) -> bytes:
    content: bytes = request.param
    return content


@pytest.mark.usefixtures("without_training")
def test_data_that_have_moved_are_asked_for(cli: CommandLine, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    cli.run(stage1(data))
    cli.run(["stage2", "--num-candidates", 2])
    moved = data.rename(tmp_path / "moved")
    directory = SearchDir(Path("runs/scrfdgen0.5g"))
    before = {stage: directory.outcomes(stage) for stage in (1, 2)}
    for command in (["resume"], ["stage1"], ["stage2", "--num-candidates", 3], ["confirm"]):
        line = cli.fail(command)
        assert f"{data}: does not exist; the search had its data there; if they have moved" in line
    assert [directory.requests()[stage].data for stage in (1, 2)] == [str(data)] * 2
    assert {stage: directory.outcomes(stage) for stage in (1, 2)} == before
    cli.run(["status"])
    cli.run(["report"])
    cli.run(["stage1", "--num-candidates", 4, "--data", moved])
    cli.run(["confirm", "--stage", 2, "--top", 1, "--seeds", 2, "--data", moved])
    cli.run(["resume", "--stage", 2])  # `confirm` has recorded the new folder
    assert [directory.requests()[stage].data for stage in (1, 2)] == [str(moved)] * 2
    assert len(directory.outcomes(1)) == 4


@pytest.mark.usefixtures("without_training")
@pytest.mark.parametrize("command", ["resume", "confirm"])
def test_other_data_in_the_new_folder_are_refused(
    cli: CommandLine, tmp_path: Path, command: str
) -> None:
    data = make_data(tmp_path / "data")
    cli.run(stage1(data))
    other = make_data(tmp_path / "other")
    (other / "train/labelv2.txt").write_text("# another.jpg 64 64\n")
    assert "Different: data" in cli.fail([command, "--data", other])
    assert SearchDir(Path("runs/scrfdgen0.5g")).requests()[1].data == str(data)


def test_a_damaged_architecture_is_read_from_the_trials_request(
    search: FakeSearch, damage: bytes
) -> None:
    search.begin(num_candidates=3)
    directory = search.directory
    before, file = directory.outcomes(1), directory.architecture_file(1, 2)
    write_json(file.parent / "request.json", {"architecture": make_architecture(2).to_dict()})
    file.write_bytes(damage)
    assert directory.candidates(1)[2] == make_architecture(2)
    assert resolve_candidate(str(file.parent)) == make_architecture(2)
    search.begin(num_candidates=4)
    assert search.cluster.asked == [4]
    assert {n: o for n, o in directory.outcomes(1).items() if n != 4} == before
    assert load_architecture(file) == make_architecture(2)
    assert any(f"{file}: " in line and "written again" in line for line in search.display.lines)


def test_a_damaged_architecture_of_a_waiting_trial_is_proposed_again(
    search: FakeSearch, damage: bytes
) -> None:
    search.interrupt(lambda event: event.number == 1)
    file = search.directory.architecture_file(1, 2)
    file.write_bytes(damage)
    with pytest.raises(ConfigError, match=r"0002/architecture\.yaml.*`scrfd-nas resume` writes it"):
        search.directory.candidates(1)
    assert search.begin().num_finished == 4
    assert load_architecture(file) == make_architecture(2)


def test_the_number_of_a_removed_candidate_is_given_to_the_next_one(search: FakeSearch) -> None:
    search.asked = {"strategy": "tpe"}
    search.interrupt(lambda event: event.number == 3)
    file = search.directory.architecture_file(1, 2)
    file.parent.rename(search.root / "removed")
    assert search.begin().num_finished == 4
    assert sorted(search.directory.outcomes(1)) == [1, 2, 3, 4]


def test_a_trial_that_cannot_be_repaired_is_named(search: FakeSearch, damage: bytes) -> None:
    search.begin(num_candidates=2)
    file = search.directory.architecture_file(1, 2)
    file.write_bytes(damage)
    (file.parent / "request.json").write_bytes(damage)
    with pytest.raises(ConfigError, match=rf"copy of it, or remove {file.parent}: the trial is"):
        search.begin(num_candidates=3)
    assert len(search.directory.outcomes(1)) == 2
    with pytest.raises(ConfigError, match=r"request\.json: .*; remove it to continue from the"):
        claim(file.parent, {})


def test_a_damaged_template_is_named_with_the_option(search: FakeSearch, damage: bytes) -> None:
    search.begin(num_candidates=2)
    search.run(2, num_candidates=2, template="1")
    (search.directory.stage_folder(2) / "template.yaml").write_bytes(damage)
    with pytest.raises(ConfigError, match=r"template\.yaml: .*; give --template 1 again"):
        search.run(2, num_candidates=3)
    assert search.run(2, num_candidates=3, template="1").num_finished == 3


def test_damaged_best_weights_are_named_with_the_remedy(
    cli: CommandLine, tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / "best.pt").write_bytes(damage)
    line = cli.fail(["export", tmp_path, "--out", tmp_path / "x.onnx"])
    assert f"{tmp_path / 'best.pt'}: is damaged" in line
    assert "`scrfd-nas reproduce` trains" in line
    with pytest.raises(ValueError, match=r"is damaged or not a file of tensors and plain data$"):
        load_model((tmp_path / "best.pt").rename(tmp_path / "other.pt"))
