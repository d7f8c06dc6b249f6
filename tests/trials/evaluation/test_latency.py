"""Latency: which runs are timed, how many, and the statistics."""

from time import thread_time

import pytest
import torch
from tiny import TINY

from search_spaces.errors import ConfigError, DataError
from search_spaces.network.detector import build_detector
from trials.evaluation.latency import (
    candidate_latency,
    describe_conditions,
    onnxruntime_latency,
    time_runs,
    torch_latency,
)
from trials.onnx.export import export_onnx
from trials.settings import LatencyOptions

CPU = torch.device("cpu")


class Clock:
    """A clock that only moves when a run takes time."""

    def __init__(self, durations):
        self.durations = iter(durations)
        self.now = 0.0
        self.calls = 0

    def run(self):
        self.calls += 1
        self.now += next(self.durations)

    def __call__(self):
        return self.now


@pytest.fixture
def timed(monkeypatch):
    """A function that times runs of given durations and returns the clock and the times."""

    def time(durations, runs, warm_up):
        clock = Clock(durations)
        monkeypatch.setattr("trials.evaluation.latency.time.perf_counter", clock)
        monkeypatch.setattr("trials.evaluation.latency.WARM_UP", warm_up)
        times = time_runs(clock.run, runs)
        return clock.calls, times

    return time


def test_warm_up_runs_are_not_timed(timed):
    assert timed([9, 9, 1, 2, 3], runs=3, warm_up=2) == (5, [1, 2, 3])


def test_a_slow_model_ends_after_the_budget_but_not_before_ten_runs(timed):
    assert timed([4.0] * 100, runs=100, warm_up=0)[0] == 10
    assert timed([1.0] * 100, runs=100, warm_up=0)[0] == 21


def test_a_slow_warm_up_is_cut_short(timed):
    assert timed([6.0] * 100, runs=1, warm_up=10)[0] == 2 + 1


def test_median_and_95th_percentile(monkeypatch):
    times = [index / 1000 for index in range(1, 102)]  # 1 to 101 ms
    monkeypatch.setattr("trials.evaluation.latency.time_runs", lambda *_, **__: times)
    result = onnxruntime_latency(build_detector(TINY), LatencyOptions(size=(64, 96), threads=2))
    assert (result.median_ms, result.p95_ms) == (pytest.approx(51), pytest.approx(96))
    assert (result.runtime, result.device, result.threads) == ("onnxruntime", "cpu", 2)
    assert (result.height, result.width, result.runs) == (64, 96, 101)


@pytest.mark.parametrize("size", [(64, 96), (70, 45)])
def test_a_detector_runs_in_both_runtimes(size):
    detector = build_detector(TINY)
    options = LatencyOptions(size=size, runs=3)
    ours = torch_latency(detector, CPU, options)
    theirs = onnxruntime_latency(detector, options)
    for result in (ours, theirs):
        assert result.runs == 3
        assert 0 < result.median_ms <= result.p95_ms
    assert (ours.runtime, ours.device) == ("torch", "cpu")


def test_torch_uses_the_threads_that_are_reported(monkeypatch):
    seen = []
    before = torch.get_num_threads()

    def time_one(run, runs, clock):
        seen.append(torch.get_num_threads())
        return [1.0]

    monkeypatch.setattr("trials.evaluation.latency.time_runs", time_one)
    result = torch_latency(build_detector(TINY), CPU, LatencyOptions(size=(32, 32), threads=1))
    assert (seen, result.threads) == ([1], 1)
    assert torch.get_num_threads() == before


def test_a_file_is_timed_in_the_size_that_it_takes(tmp_path):
    export_onnx(build_detector(TINY), tmp_path / "m.onnx", (64, 96))
    fitting, other = (LatencyOptions(size=size, runs=2) for size in ((64, 96), (96, 64)))
    assert onnxruntime_latency(tmp_path / "m.onnx", fitting).runs == 2
    with pytest.raises(DataError, match=r"m\.onnx: fails on 96 x 64 pixels"):
        onnxruntime_latency(tmp_path / "m.onnx", other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runtime": "tensorrt"}, "runtime must be one of"),
        ({"threads": 0}, "threads must be an integer of at least 1"),
        ({"runs": 0}, "runs must be an integer of at least 1"),
        ({"size": (0, 64)}, "a side of the size must be an integer from 1 to 8192, got 0"),
        ({"size": (64, 10**6)}, "a side of the size must be an integer from 1 to 8192"),
        ({"size": (64,)}, "the size must be a height and a width"),
        ({"size": 64}, "the size must be a height and a width"),
    ],
)
def test_bad_numbers_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LatencyOptions(**settings)


def test_time_in_which_other_processes_had_the_core_does_not_count():
    worked = iter([0.0, 0.002, 0.5, 0.503])
    assert time_runs(lambda: None, 2, lambda: next(worked)) == [0.002, pytest.approx(0.003)]


def test_several_threads_are_timed_by_the_wall(monkeypatch):
    clocks = []

    def time_session(run, runs, clock):
        clocks.append(clock)
        return [1.0]

    monkeypatch.setattr("trials.evaluation.latency.time_runs", time_session)
    candidate_latency(TINY, LatencyOptions(size=(32, 32), threads=2))
    assert set(clocks) == {None}


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_the_fastest_session_of_a_candidate_counts(monkeypatch, runtime):
    medians = iter([5.0, 9.0, 4.0, 4.5, 7.0])
    asked = []

    def time_session(run, runs, clock):
        assert clock is thread_time
        asked.append(runs)
        return [next(medians) / 1000] * runs

    monkeypatch.setattr("trials.evaluation.latency.time_runs", time_session)
    options = LatencyOptions(runtime=runtime, size=(32, 64), runs=12, threads=1)
    found = candidate_latency(TINY, options)
    assert (found.median_ms, found.slowest_ms) == (pytest.approx(4.0), pytest.approx(9.0))
    assert asked == [3] * 5  # 12 runs in five sessions, rounded up
    assert (found.runtime, found.height, found.width) == (runtime, 32, 64)


def test_conditions_name_machine_runtime_and_options(monkeypatch):
    monkeypatch.setattr("trials.evaluation.latency.cpu_name", lambda: "Z80 (1 core)")
    monkeypatch.setattr("onnxruntime.__version__", "1.2.3")
    expected = "onnxruntime 1.2.3 on Z80 (1 core), 2 threads, 32x64"
    assert describe_conditions(LatencyOptions(threads=2, size=(32, 64))) == expected


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        onnxruntime_latency(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot be opened by onnxruntime"):
        onnxruntime_latency(tmp_path / "m.onnx")
