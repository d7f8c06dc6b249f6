"""Searches whose candidates have a limit of the latency."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fake_search import FakeSearch
from fake_trials import hard_ap, make_architecture, make_data

from nas.candidates import audit, latency_limit
from nas.candidates.latency_limit import MARGIN, LatencyStatus, is_within
from nas.candidates.pool import Pool, sample_pool
from nas.limited_candidates import LISTED
from nas.planning.plan_measuring import latency_work
from nas.results.latency_cache import measure_best
from nas.search.request import AnyRequest
from reports.latencies import LATENCIES_FILE, read_latencies
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, IncomparableError, InfeasibleError
from search_spaces.spaces.sample import Sample
from search_spaces.yaml_files import read_yaml
from trials.evaluation.latency import Latency
from trials.settings import LatencyOptions

# Latency of candidates 1, 2, ... of the space; within 4.5 ms are 2, 4, 5, 7 and 8.
TIMES = (5.0, 3.0, 9.0, 2.0, 4.0, 8.0, 1.0, 4.0, 6.0, 7.0)
LIMIT = 4.5


def latency(milliseconds: float, slowest: float | None = None) -> Latency:
    return Latency(
        runtime="onnxruntime",
        device="cpu",
        threads=1,
        height=480,
        width=640,
        runs=20,
        median_ms=milliseconds,
        p95_ms=milliseconds,
        slowest_ms=slowest or milliseconds,
    )


def number_of(architecture: Architecture) -> int:
    return architecture.backbone.depths[-1]


def pool_of(request: AnyRequest, template: Architecture | None) -> Pool:
    """Return the first candidates of a space of ten."""
    numbers = range(1, min(request.num_candidates, len(TIMES)) + 1)
    architectures = tuple(map(make_architecture, numbers))
    return Pool(sample=Sample(architectures=architectures, feasible=10), window=(1, 10**12))


@dataclass
class Stopwatch:
    """Measures as `TIMES` say; `measured` are the numbers asked for, `interrupt_at` raises."""

    measured: list[int] = field(default_factory=list)
    interrupt_at: int | None = None

    def __call__(self, architecture: Architecture, options: LatencyOptions) -> Latency:
        number = number_of(architecture)
        if number == self.interrupt_at:
            raise KeyboardInterrupt
        self.measured.append(number)
        return latency(TIMES[number - 1])


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def search(tmp_path: Path, stopwatch: Stopwatch) -> FakeSearch:
    options = {"pool": pool_of, "measure": stopwatch}
    asked = {"epochs": 2, "max_latency": LIMIT}
    return FakeSearch(tmp_path, make_data(tmp_path / "data"), asked=asked, options=options)


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that continues the test on a machine with another CPU."""

    def to(cpu: str) -> None:
        monkeypatch.setattr("trials.evaluation.latency.cpu_name", lambda: cpu)

    to("Z80 (1 core)")
    return to


def chosen(search: FakeSearch) -> list[int]:
    return [number_of(a) for a in search.directory.candidates(1).values()]


@pytest.mark.parametrize(
    ("fastest", "slowest", "expected"),
    [
        (4.0, 4.5, True),  # all are within the limit
        (4.5, 4.5, True),
        (4.49 / (1 + MARGIN), 9.0, True),  # the fastest by the margin
        (4.4, 4.6, False),  # one is, but not by the margin
        (4.6, 4.7, False),
    ],
)
def test_a_candidate_on_both_sides_of_the_limit_needs_the_margin(
    fastest: float, slowest: float, expected: bool
) -> None:
    assert is_within(latency(fastest, slowest), LIMIT) == expected


def test_only_candidates_within_the_limit_are_trained(
    search: FakeSearch, stopwatch: Stopwatch, move: object
) -> None:
    search.begin(3)
    assert chosen(search) == [2, 4, 5]
    assert stopwatch.measured == [1, 2, 3, 4, 5]
    assert sorted(search.column("latency_ms").values()) == [2.0, 3.0, 4.0]
    assert set(search.column("max_latency_ms").values()) == {LIMIT}
    request = read_yaml(search.directory.search_file)["stage1"]["request"]
    assert (request["max_latency"], request["latency_size"]) == (LIMIT, [480, 640])
    assert request["latency_conditions"].endswith("on Z80 (1 core), 1 thread, 480x640")
    statuses = [s for s in search.display.statuses if isinstance(s, LatencyStatus)]
    assert [(s.tried, s.found) for s in statuses] == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    assert statuses[0].describe() == "measuring latencies: 0/3 within 4.5 ms, 0 measured"
    one = LatencyStatus(tried=4, found=2, wanted=8, limit_ms=4.5, seconds_each=3.0)
    assert one.describe().endswith("2/8 within 4.5 ms, 4 measured, 36 s left")


def test_no_candidate_is_measured_twice(search: FakeSearch, stopwatch: Stopwatch) -> None:
    stopwatch.interrupt_at = 4
    with pytest.raises(KeyboardInterrupt):
        search.begin(3)
    assert search.directory.requests() == {}
    stopwatch.interrupt_at = None
    search.begin(3)
    search.begin(4)
    assert chosen(search) == [2, 4, 5, 7]
    assert stopwatch.measured == [1, 2, 3, 4, 5, 6, 7]
    recorded = read_latencies(search.directory.stage_folder(1))
    assert [row.latency.median_ms for row in recorded] == list(TIMES[:7])


def test_fewer_candidates_are_trained_if_no_more_are_within_the_limit(search: FakeSearch) -> None:
    search.begin(6)
    assert chosen(search) == [2, 4, 5, 7, 8]
    assert "5 of 6 candidates: no more of 10 are within 4.5 ms" in search.display.lines


def test_an_infeasible_limit_names_the_fastest_and_keeps_the_measurements(
    search: FakeSearch, stopwatch: Stopwatch, move: object
) -> None:
    with pytest.raises(InfeasibleError) as error:
        search.begin(2, max_latency=0.5)
    assert "0 of 2 candidates are within 0.5 ms: the last 10 took longer, " in str(error.value)
    assert "the fastest of 10 took 1.00 ms (in onnxruntime" in str(error.value)
    assert "raise --max-latency" in str(error.value)
    search.begin(1, max_latency=1.5)
    assert (chosen(search), len(stopwatch.measured)) == ([7], 10)


def test_a_search_gives_up_after_many_slow_candidates_in_succession(
    search: FakeSearch, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_limit, "TRIES", 2)
    with pytest.raises(InfeasibleError, match=r"6 of 7 candidates .* the last 2 took longer"):
        search.begin(7, max_latency=5.5)  # 1, 2, 4, 5, 7 and 8 are; then 9 and 10 are not


def test_another_machine_trains_what_is_chosen_but_measures_nothing(
    search: FakeSearch, stopwatch: Stopwatch, move: Callable[[str], None]
) -> None:
    search.interrupt(lambda event: event.number == 2, 3)
    move("6502 (1 core)")
    search.begin(3)
    (line,) = [line for line in search.display.lines if line.startswith("latencies are of")]
    assert "on Z80 (1 core), 1 thread, 480x640; this is onnxruntime" in line
    assert len(search.directory.outcomes(1)) == 3
    with pytest.raises(ConfigError, match=r"latencies measured with .* Z80 .* of .* 6502 .*folder"):
        search.begin(4)
    assert set(search.column("latency_ms").values()) == {2.0, 3.0, 4.0}
    move("Z80 (1 core)")
    search.begin(4)
    assert chosen(search) == [2, 4, 5, 7]


def test_the_limit_and_its_options_do_not_change(search: FakeSearch) -> None:
    search.begin(2)
    with pytest.raises(IncomparableError, match=r"max_latency: 4\.5 -> 5\.5"):
        search.begin(2, max_latency=5.5)
    with pytest.raises(IncomparableError, match="latency_threads: 1 -> 2"):
        search.begin(2, latency_threads=2)


def test_the_report_keeps_the_latencies_that_the_limit_was_checked_with(
    search: FakeSearch, stopwatch: Stopwatch, move: Callable[[str], None]
) -> None:
    search.begin(2)
    move("6502 (1 core)")
    lines: list[str] = []
    stopwatch.measured.clear()
    measure_best(search.directory, 1, stopwatch, lines.append)
    assert stopwatch.measured == []
    assert "those of --max-latency" in lines[0]


def test_screening_trains_the_best_scores_within_the_limit(
    search: FakeSearch, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "score", lambda name, architecture: hard_ap(architecture))
    run = search.run_options(screen_force=True)
    search.begin(3, run, screen="zen", screen_from=10)
    ranking = sorted(range(1, 11), key=lambda n: -hard_ap(make_architecture(n)))
    assert chosen(search) == [n for n in ranking if TIMES[n - 1] <= LIMIT][:3]
    assert stopwatch.measured == ranking[: ranking.index(chosen(search)[-1]) + 1]


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_strategies_suggest_only_what_was_measured_before_any_training(
    search: FakeSearch, strategy: str
) -> None:
    began: list[int] = []

    def measure(architecture: Architecture, options: LatencyOptions) -> Latency:
        assert not began
        return latency(1.0 + int(architecture.content_hash[:2], 16) / 64)  # 1 to 5 ms

    options = {"pool": sample_pool, "measure": measure, "subscribers": [lambda e: began.append(1)]}
    one = replace(search, options=options)
    one.begin(12, strategy=strategy)  # two more than a strategy needs to learn
    latencies = one.column("latency_ms").values()
    assert len(latencies) == 12
    assert max(latencies) <= LIMIT
    recorded = read_latencies(one.directory.stage_folder(1))
    assert sum(is_within(row.latency, LIMIT) for row in recorded) == LISTED * 12


def test_a_plan_extrapolates_some_measurements(search: FakeSearch, stopwatch: Stopwatch) -> None:
    search.begin(1)
    request = replace(search.directory.requests()[1], num_candidates=4)
    pool = pool_of(replace(request, num_candidates=8), None)
    stopwatch.measured.clear()
    found = latency_work(request, pool, search.directory, stopwatch)
    assert found is not None
    assert stopwatch.measured == [3, 4, 5, 6, 7, 8]  # 1 and 2 are recorded
    # 5 of 8 are within the limit, so that 4 need 6.4 measurements, of which two are there.
    assert found.measurements == pytest.approx(4 * 8 / 5 - 2)
    assert found.basis.startswith("5 of 8 measured are within 4.5 ms, ")
    assert len(read_latencies(search.directory.stage_folder(1))) == 2
    none = latency_work(replace(request, max_latency=0.1), pool, search.directory, stopwatch)
    assert none is not None
    assert (none.measurements, "the fastest 1.00 ms" in none.basis) == (100, True)
    assert latency_work(replace(request, num_candidates=1), pool, search.directory) is None
    assert latency_work(replace(request, max_latency=None), pool, search.directory) is None


def test_the_table_is_read_by_name_and_written_whole(search: FakeSearch) -> None:
    search.begin(2)
    folder = search.directory.stage_folder(1)
    lines = (folder / LATENCIES_FILE).read_text().splitlines()
    assert lines[0].startswith("hash,conditions,runtime,")
    assert len(lines) == 1 + 4
    assert not list(folder.glob(".*.tmp"))
