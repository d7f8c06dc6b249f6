import csv
import json
from pathlib import Path
from typing import Any

import pytest
from fake_search import FakeSearch
from fake_trials import (
    FakeDisplay,
    hard_ap,
    make_architecture,
    make_data,
    set_faults,
)

from nas.stage import Summary
from nas.storage.driver_lock import BusyError
from nas.study.study import read_study
from search_spaces.architecture import save_architecture
from search_spaces.errors import ConfigError, DataError, IncomparableError, InfeasibleError


def result_files(search: FakeSearch) -> dict[int, dict[str, Any]]:
    numbers = search.directory.numbers(1)
    paths = {n: search.directory.result_file(1, n) for n in numbers}
    return {n: json.loads(path.read_text()) for n, path in paths.items() if path.exists()}


@pytest.fixture
def search(tmp_path: Path) -> FakeSearch:
    return FakeSearch(root=tmp_path, data=make_data(tmp_path / "data"))


def hards(summary: Summary) -> dict[int, float]:
    return dict(zip(summary.table["candidate"], summary.table["hard"], strict=True))


def test_a_stage_ranks_every_candidate_by_hard_ap(search: FakeSearch) -> None:
    summary = search.begin(4)
    expected = {number: hard_ap(make_architecture(number)) for number in range(1, 5)}
    assert hards(summary) == expected
    assert list(summary.table["candidate"]) == sorted(expected, key=lambda n: -expected[n])
    assert list(summary.table["rank"]) == [1, 2, 3, 4]
    with search.directory.leaderboard_file(1).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["candidate"]) for row in rows] == list(summary.table["candidate"])


def test_a_finished_stage_is_not_run_again(search: FakeSearch) -> None:
    first = search.begin(3)
    again = search.begin(3)
    assert search.cluster.asked == []
    assert again.table.equals(first.table)


def test_options_left_out_are_those_of_the_run_before(search: FakeSearch) -> None:
    search.begin(2)
    summary = search.run(1, num_candidates=3)
    assert search.cluster.asked == [3]
    assert (summary.request.flops, summary.request.epochs) == (10**9, 3)


def test_more_candidates_are_added_to_those_there(search: FakeSearch) -> None:
    search.begin(2)
    search.begin(5)
    assert search.cluster.asked == [3, 4, 5]
    assert search.directory.numbers(1) == [1, 2, 3, 4, 5]


def test_fewer_candidates_than_there_are_change_nothing(search: FakeSearch) -> None:
    search.begin(4)
    summary = search.begin(2)
    assert search.cluster.asked == []
    assert len(summary.table) == 4
    assert any("4 candidates exist already" in line for line in search.display.lines)


def test_a_space_with_fewer_candidates_is_taken_whole(search: FakeSearch) -> None:
    summary = search.begin(7, epochs=1)
    assert len(summary.table) == 6
    assert "only 6; all taken" in search.display.lines


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("flops", 2 * 10**9, "flops: 1000000000 -> 2000000000"),
        ("epochs", 4, "epochs: 3 -> 4"),
        ("image_size", 96, "image_size: 64 -> 96"),
        ("seed", 7, "seed: 0 -> 7"),
        ("tolerance", 0.05, "tolerance: 0.02 -> 0.05"),
        ("batch_size", 16, "recipe.batch_size: 8 -> 16"),
        ("space", "mobile", "space: 'auto' -> 'mobile'"),
    ],
)
def test_incomparable_options_are_refused_with_the_difference(
    search: FakeSearch, option: str, value: Any, shown: str
) -> None:
    search.begin(2)
    before = search.directory.search_file.read_text()
    with pytest.raises(IncomparableError) as refused:
        search.begin(3, **{option: value})
    assert shown in str(refused.value)
    assert search.directory.search_file.read_text() == before


def test_the_image_cache_may_change_and_is_used_by_all_trials_and_stage_2(
    search: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(search.root)
    search.begin(2)
    summary = search.begin(3, cache="images", cache_gb=2.5)
    folder = str(search.root / "images")  # absolute, wherever trials run
    assert (summary.request.cache, summary.request.cache_gb) == (folder, 2.5)
    settings = summary.request.settings(threads=1)
    assert (settings.cache, settings.cache_gb) == (folder, 2.5)
    monkeypatch.chdir("/")
    assert search.run(2, template="best", num_candidates=2).request.cache == folder


def test_changed_data_are_refused_and_moved_data_are_not(search: FakeSearch) -> None:
    search.begin(2)
    moved = search.data.rename(search.root / "moved")
    search.begin(3, data=str(moved))
    assert search.cluster.asked == [3]
    (moved / "train" / "labelv2.txt").write_text("# other.jpg 10 10\n")
    with pytest.raises(IncomparableError, match="Different: data_fingerprint: '"):
        search.begin(4, data=str(moved))


def test_other_data_are_refused_with_both_places(search: FakeSearch) -> None:
    search.begin(2)
    other = make_data(search.root / "other")
    (other / "train" / "labelv2.txt").write_text("# other.jpg 10 10\n")
    with pytest.raises(IncomparableError, match=rf"data: '{search.data}' -> '{other}'"):
        search.begin(3, data=str(other))


def test_an_infeasible_request_does_not_constrain_the_next_run(search: FakeSearch) -> None:
    def none_there(request: Any, template: Any) -> Any:
        raise InfeasibleError("relax --ratio-tolerance")

    search.begin(2)
    search.options = {"propose": none_there}
    with pytest.raises(InfeasibleError):
        search.run(2, template="1", num_candidates=2, ratio_tolerance=0.001)
    search.options = {}
    summary = search.run(2, template="2", num_candidates=2, ratio_tolerance=0.2)
    assert summary.num_finished == 2


def test_resources_that_were_refused_are_not_asked_for_again(search: FakeSearch) -> None:
    with pytest.raises(ConfigError, match="--gpus-per-trial"):
        search.begin(2, gpus_per_trial=1)
    assert search.begin(2).num_finished == 2
    with pytest.raises(ConfigError, match="--gpus-per-trial"):
        search.begin(3, gpus_per_trial=1)
    assert search.begin(3).num_finished == 3


def test_stage_2_logs_an_unfinished_stage_1(search: FakeSearch) -> None:
    search.begin(3)
    search.directory.result_file(1, 2).unlink()
    search.run(2, template="1", num_candidates=1)
    assert "stage 1 has 1 candidates without a result yet" in search.display.lines


def test_a_failed_trial_has_a_reason_and_no_ap_and_the_search_continues(search: FakeSearch) -> None:
    set_faults(search.data, **{"raise": {"2": 2}})
    summary = search.begin(3)
    assert summary.num_finished == 2
    last = summary.table.iloc[-1]
    assert (last["candidate"], last["state"]) == (2, "failed")
    assert last["reason"] == "ValueError: epoch 2 is not to be"
    assert last[["rank", "hard", "medium", "easy", "duration_s"]].isna().all()
    assert result_files(search)[2]["attempts"] == 2
    assert "hard" not in result_files(search)[2]
    states = {r.candidate: (r.state, r.hard) for r in read_study(search.directory.journal, 1)}
    assert states[2] == ("failed", None)


def test_failed_trials_run_again_only_when_asked(search: FakeSearch) -> None:
    set_faults(search.data, **{"raise": {"2": 2}})
    search.begin(3)
    set_faults(search.data)
    search.begin(3)
    assert search.cluster.asked == []
    summary = search.run(1, search.run_options(retry_failed=True))
    assert search.cluster.asked == [2]
    assert summary.num_finished == 3
    records = read_study(search.directory.journal, 1)
    assert [(r.candidate, r.state) for r in records] == [(n, "finished") for n in (1, 2, 3)]


def test_an_interrupted_stage_equals_an_undisturbed_one(search: FakeSearch, tmp_path: Path) -> None:
    undisturbed = FakeSearch(root=tmp_path / "other", data=search.data).begin(4)

    def interrupt(status: Any) -> None:
        if status.finished == 2 and status.epochs_done == 7:
            raise KeyboardInterrupt

    search.display.on_show = interrupt
    with pytest.raises(KeyboardInterrupt):
        search.begin(4)
    assert sorted(result_files(search)) == [1, 2]
    search.display = FakeDisplay()
    resumed = search.begin(4)
    assert search.cluster.asked == [3, 4]
    columns = [name for name in resumed.table.columns if name != "duration_s"]
    assert resumed.table[columns].equals(undisturbed.table[columns])


def test_an_interrupted_stage_leaves_a_leaderboard(search: FakeSearch) -> None:
    def interrupt(status: Any) -> None:
        if status.finished == 1 and status.epochs_done == 4:
            raise KeyboardInterrupt

    search.display.on_show = interrupt
    with pytest.raises(KeyboardInterrupt):
        search.begin(3)
    with search.directory.leaderboard_file(1).open() as file:
        states = {int(row["candidate"]): row["state"] for row in csv.DictReader(file)}
    assert states == {1: "finished", 2: "interrupted", 3: "waiting"}


def test_a_lost_study_is_rebuilt_from_the_folders(search: FakeSearch) -> None:
    search.begin(3)
    before = read_study(search.directory.journal, 1)
    search.directory.journal.unlink()
    search.begin(3)
    after = read_study(search.directory.journal, 1)
    assert [(r.candidate, r.state, r.hard) for r in after] == [
        (r.candidate, r.state, r.hard) for r in before
    ]


def test_a_trial_with_a_damaged_result_is_unfinished(search: FakeSearch) -> None:
    search.begin(3)
    search.directory.result_file(1, 2).write_text('{"state": "fini')
    assert sorted(search.directory.outcomes(1)) == [1, 3]
    search.directory.result_file(1, 2).unlink()
    assert search.begin(3).num_finished == 3
    assert search.cluster.asked == [2]


def test_stage_2_takes_the_best_of_stage_1_and_its_options(search: FakeSearch) -> None:
    first = search.begin(4, batch_size=4)
    second = search.run(2, template="best", num_candidates=3)
    best = int(first.table["candidate"].iloc[0])
    request = second.request.to_dict()
    assert request["template"] == str(best)
    assert request["template_hash"] == make_architecture(best).content_hash
    for key in ("flops", "data", "recipe", "epochs", "image_size", "seed", "tolerance"):
        assert request[key] == first.request.to_dict()[key]
    assert len(second.table) == 3
    assert len(read_study(search.directory.journal, 2)) == 3
    assert len(read_study(search.directory.journal, 1)) == 4


def test_stage_2_continues_with_its_template(search: FakeSearch) -> None:
    search.begin(4)
    search.run(2, template="1", num_candidates=2)
    search.run(2, num_candidates=3)
    assert search.cluster.asked == [3]
    with pytest.raises(IncomparableError, match="template: '1' -> '2'; template_hash"):
        search.run(2, template="2", num_candidates=3)


@pytest.mark.parametrize("template", ["9", "0"])
def test_an_unknown_template_number_is_refused(search: FakeSearch, template: str) -> None:
    search.begin(2)
    with pytest.raises(ConfigError, match=r"number of a stage-1 candidate \(1 to 2"):
        search.run(2, template=template)


def test_best_needs_a_finished_candidate(search: FakeSearch) -> None:
    set_faults(search.data, **{"raise": {"1": 1}})
    search.begin(1)
    with pytest.raises(ConfigError, match="finished stage-1 candidate"):
        search.run(2)


def test_stage_2_with_other_data_than_stage_1_is_refused(
    search: FakeSearch, tmp_path: Path
) -> None:
    search.begin(2)
    other = make_data(tmp_path / "other_data")
    (other / "val" / "labelv2.txt").write_text("# else.jpg 5 5\n")
    with pytest.raises(IncomparableError, match="stage 2 must have what stage 1 had"):
        search.run(2, template="1", data=str(other))


def test_stage_2_alone_takes_a_file_and_its_flops(search: FakeSearch) -> None:
    save_architecture(make_architecture(5), search.root / "template.yaml")
    summary = search.run(
        2,
        template=str(search.root / "template.yaml"),
        data=str(search.data),
        num_candidates=2,
        epochs=1,
        image_size=64,
    )
    from search_spaces.cost.detector import flops_by_part, total

    assert summary.request.flops == total(flops_by_part(make_architecture(5)))


def test_nothing_is_created_for_a_mistyped_option(search: FakeSearch) -> None:
    with pytest.raises(ConfigError, match="image_size must be a multiple of 32"):
        search.begin(2, image_size=33)
    with pytest.raises(ConfigError, match="unknown keys"):
        search.begin(2, image_sice=32)
    with pytest.raises(DataError, match="does not exist"):
        search.begin(2, data=str(search.root / "nowhere"))
    assert not search.directory.root.exists()


def test_the_error_about_missing_data_names_the_generator(
    search: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(search.root)
    with pytest.raises(DataError, match="scrfd-nas data generate"):
        search.run(1, flops=10**9)


def test_a_second_driver_is_refused(search: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    search.begin(2)
    monkeypatch.setattr("nas.storage.driver_lock._LOCK_WAIT_S", 0.1)
    with (
        search.directory.held(1),
        pytest.raises(BusyError, match=r"process \d+ on .* works here"),
    ):
        search.begin(3)


def test_resources_of_the_first_run_are_kept(search: FakeSearch) -> None:
    search.begin(2, cpus_per_trial=2.0)
    search.begin(3)
    assert search.cluster.job.resources.cpus_per_trial == 2.0


def sizes(search: FakeSearch) -> dict[str, int]:
    files = [path for path in search.directory.root.rglob("*") if path.is_file()]
    return {str(path.relative_to(search.directory.root)): path.stat().st_size for path in files}


def test_restarting_a_finished_search_lets_no_file_grow(search: FakeSearch) -> None:
    search.begin()
    before = sizes(search)
    for _ in range(20):
        search.begin()
    assert sizes(search) == before


def test_an_interrupted_search_grows_by_no_more_than_a_few_lines_a_start(
    search: FakeSearch,
) -> None:
    def interrupt(status: Any) -> None:
        if status.running:
            raise KeyboardInterrupt

    def begin_and_stop() -> dict[str, int]:
        with pytest.raises(KeyboardInterrupt):
            search.begin()
        return sizes(search)

    search.display.on_show = interrupt
    before = begin_and_stop()
    for _ in range(20):
        begin_and_stop()
    after = sizes(search)
    assert set(after) == set(before)
    grown = {name: after[name] - before[name] for name in after if after[name] > before[name]}
    assert max(grown.values(), default=0) <= 20 * 1000, grown
