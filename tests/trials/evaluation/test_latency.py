"""Latency: which runs are timed, how many, and the statistics."""

import pytest
import torch
from tiny import TINY

from search_spaces.errors import ConfigError, DataError
from search_spaces.network.detector import build_detector
from trials.evaluation.latency import onnxruntime_latency, time_runs, torch_latency
from trials.onnx.export import export_onnx


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
    result = onnxruntime_latency(build_detector(TINY), size=(64, 96), threads=2)
    assert (result.median_ms, result.p95_ms) == (pytest.approx(51), pytest.approx(96))
    assert (result.runtime, result.device, result.threads) == ("onnxruntime", "cpu", 2)
    assert (result.height, result.width, result.runs) == (64, 96, 101)


@pytest.mark.parametrize("size", [(64, 96), (70, 45)])
def test_a_detector_runs_in_both_runtimes(size):
    detector = build_detector(TINY)
    ours = torch_latency(detector, device=torch.device("cpu"), size=size, runs=3)
    theirs = onnxruntime_latency(detector, size=size, runs=3)
    for result in (ours, theirs):
        assert result.runs == 3
        assert 0 < result.median_ms <= result.p95_ms
    assert (ours.runtime, ours.device) == ("torch", "cpu")


def test_torch_uses_the_threads_that_are_reported(monkeypatch):
    seen = []
    before = torch.get_num_threads()

    def time_one(run, runs):
        seen.append(torch.get_num_threads())
        return [1.0]

    monkeypatch.setattr("trials.evaluation.latency.time_runs", time_one)
    device = torch.device("cpu")
    result = torch_latency(build_detector(TINY), device=device, size=(32, 32), threads=1)
    assert (seen, result.threads) == ([1], 1)
    assert torch.get_num_threads() == before


def test_a_file_is_timed_in_the_size_that_it_takes(tmp_path):
    export_onnx(build_detector(TINY), tmp_path / "m.onnx", (64, 96))
    assert onnxruntime_latency(tmp_path / "m.onnx", size=(64, 96), runs=2).runs == 2
    with pytest.raises(DataError, match=r"m\.onnx: fails on 96 x 64 pixels"):
        onnxruntime_latency(tmp_path / "m.onnx", size=(96, 64), runs=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": 0}, "threads and runs must be at least 1"),
        ({"runs": 0}, "threads and runs must be at least 1"),
        ({"size": (0, 64)}, "the size must be 1 to 8192"),
        ({"size": (64, 10**6)}, "the size must be 1 to 8192"),
    ],
)
def test_bad_numbers_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        onnxruntime_latency(build_detector(TINY), **settings)
    with pytest.raises(ConfigError, match=message):
        torch_latency(build_detector(TINY), device=torch.device("cpu"), **settings)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        onnxruntime_latency(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot be opened by onnxruntime"):
        onnxruntime_latency(tmp_path / "m.onnx")
