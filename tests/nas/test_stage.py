"""Stages of fake trials, without Ray."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_search import FakeSearch
from fake_trials import hard_ap, make_architecture, make_data, set_faults

from nas.storage.driver_lock import BusyError
from nas.study.study import read_study
from search_spaces.architecture import save_architecture
from search_spaces.cost.detector import flops_by_part, total
from search_spaces.errors import ConfigError, DataError, IncomparableError, InfeasibleError


def test_a_stage_ranks_every_candidate_by_hard_ap(search: FakeSearch) -> None:
    summary = search.begin(4)
    aps = {number: hard_ap(make_architecture(number)) for number in range(1, 5)}
    expected = sorted(aps.items(), key=lambda item: -item[1])
    assert list(search.column("hard").items()) == expected
    assert list(zip(summary.table["candidate"], summary.table["hard"], strict=True)) == expected
    assert list(summary.table["rank"]) == [1, 2, 3, 4]


def test_a_stage_is_extended_and_trains_no_candidate_twice(search: FakeSearch) -> None:
    first = search.begin(2)
    assert search.begin(2).table.equals(first.table)
    assert search.cluster.asked == []
    summary = search.run(1, num_candidates=3)  # the other options are those of the first run
    assert search.cluster.asked == [3]
    assert (summary.request.flops, summary.request.epochs) == (10**9, 3)
    search.begin(5)
    assert search.cluster.asked == [4, 5]
    assert search.directory.numbers(1) == [1, 2, 3, 4, 5]
    assert len(search.begin(2).table) == 5
    assert search.cluster.asked == []
    assert any("5 candidates exist already" in line for line in search.display.lines)


def test_a_space_with_fewer_candidates_is_taken_whole(search: FakeSearch) -> None:
    summary = search.begin(7, epochs=1)
    assert len(summary.table) == 6
    assert "only 6; all taken" in search.display.lines


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("flops", 2 * 10**9, "flops: 1000000000 -> 2000000000"),
        ("batch_size", 16, "recipe.batch_size: 8 -> 16"),
        ("space", "mobile", "space: 'auto' -> 'mobile'"),
    ],
)
def test_incomparable_options_are_refused_with_the_difference(
    search: FakeSearch, option: str, value: Any, shown: str
) -> None:
    search.begin(2)
    before = search.directory.search_file.read_text()
    with pytest.raises(IncomparableError, match=shown):
        search.begin(3, **{option: value})
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


def test_an_infeasible_request_does_not_constrain_the_next_run(search: FakeSearch) -> None:
    def find_none(request: Any, template: Any) -> Any:
        raise InfeasibleError("relax --ratio-tolerance")

    search.begin(2)
    infeasible = search.run_options(propose=find_none)
    with pytest.raises(InfeasibleError):
        search.run(2, infeasible, template="1", num_candidates=2, ratio_tolerance=0.001)
    summary = search.run(2, template="2", num_candidates=2, ratio_tolerance=0.2)
    assert summary.num_finished == 2


def test_granted_resources_are_kept_and_refused_ones_are_not(search: FakeSearch) -> None:
    for num in (2, 3):
        with pytest.raises(ConfigError, match="--gpus-per-trial"):
            search.begin(num, gpus_per_trial=1)
        assert search.begin(num, cpus_per_trial=2.0).num_finished == num
    search.begin(4)
    assert search.cluster.job.resources.cpus_per_trial == 2.0


def test_stage_2_logs_an_unfinished_stage_1(search: FakeSearch) -> None:
    search.begin(3)
    search.directory.result_file(1, 2).unlink()
    search.run(2, template="1", num_candidates=1)
    assert "stage 1 has 1 candidate without a result yet" in search.display.lines


def test_a_failed_trial_has_a_reason_and_no_ap_and_the_search_continues(search: FakeSearch) -> None:
    set_faults(search.data, **{"raise": {"2": 2}})
    summary = search.begin(3)
    assert summary.num_finished == 2
    last = summary.table.iloc[-1]
    assert (last["candidate"], last["state"]) == (2, "failed")
    assert last["reason"] == "ValueError: epoch 2 is not to be"
    assert last[["rank", "hard", "medium", "easy", "duration_s"]].isna().all()
    content = json.loads(search.directory.result_file(1, 2).read_text())
    assert content["attempts"] == 2
    assert "hard" not in content
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


def test_an_interrupted_stage_leaves_a_leaderboard_and_then_equals_an_undisturbed_one(
    search: FakeSearch, tmp_path: Path
) -> None:
    undisturbed = FakeSearch(root=tmp_path / "other", data=search.data).begin(4)
    search.interrupt(lambda event: (event.number, event.epoch) == (3, 1))
    assert search.column("state") == {
        **dict.fromkeys((1, 2), "finished"), 3: "interrupted", 4: "waiting"
    }  # fmt: skip
    resumed = search.begin(4)
    assert search.cluster.asked == [3, 4]
    columns = [name for name in resumed.table.columns if name != "duration_s"]
    assert resumed.table[columns].equals(undisturbed.table[columns])


def test_a_lost_study_is_rebuilt_from_the_folders(search: FakeSearch) -> None:
    def records() -> list[tuple[int, str, float | None]]:
        return [(r.candidate, r.state, r.hard) for r in read_study(search.directory.journal, 1)]

    search.begin(3)
    before = records()
    search.directory.journal.unlink()
    search.begin(3)
    assert records() == before


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
    template = search.root / "template.yaml"
    save_architecture(make_architecture(5), template)
    options = {"num_candidates": 2, "epochs": 1, "image_size": 64}
    summary = search.run(2, template=str(template), data=str(search.data), **options)
    assert summary.request.flops == total(flops_by_part(make_architecture(5)))


def test_nothing_is_created_for_a_mistyped_option(
    search: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(search.root / "data")
    for option, error, message in (
        ({"image_size": 33}, ConfigError, "image_size must be a multiple of 32"),
        ({"image_sice": 32}, ConfigError, "unknown keys"),
        ({"data": str(search.root / "nowhere")}, DataError, "does not exist"),
    ):
        with pytest.raises(error, match=message):
            search.begin(2, **option)
    with pytest.raises(DataError, match="scrfd-nas data generate"):
        search.run(1, flops=10**9)
    assert not search.directory.root.exists()


def test_a_second_driver_is_refused(search: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    search.begin(2)
    monkeypatch.setattr("nas.storage.driver_lock._LOCK_WAIT_S", 0.1)
    with (
        search.directory.held(1),
        pytest.raises(BusyError, match=r"process \d+ on .* works here"),
    ):
        search.begin(3)


def sizes(search: FakeSearch) -> dict[str, int]:
    files = [path for path in search.directory.root.rglob("*") if path.is_file()]
    return {str(path.relative_to(search.directory.root)): path.stat().st_size for path in files}


def test_no_file_grows_with_restarts_of_a_finished_search(search: FakeSearch) -> None:
    search.begin()
    before = sizes(search)
    for _ in range(20):
        search.begin()
    assert sizes(search) == before


def test_a_file_grows_by_at_most_a_few_lines_with_each_interruption(search: FakeSearch) -> None:
    search.interrupt(lambda event: event.kind == "started")
    before = sizes(search)
    for _ in range(20):
        search.interrupt(lambda event: event.kind == "started")
    after = sizes(search)
    assert set(after) == set(before)
    assert max(after[name] - before[name] for name in after) <= 20 * 1000
