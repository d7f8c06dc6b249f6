"""Ctrl-C, SIGTERM and SIGHUP, and output that nobody reads any more."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from fake_search import FakeSearch
from rich.console import Console

from nas.cli.shared.common import OptionalOutput
from nas.monitoring.progress import shown
from nas.running.signals import StopSignal, Terminated, ending_tidily, recording_signals


@pytest.fixture(autouse=True)
def sighup() -> Iterator[None]:
    """SIGHUP as a shell leaves it, also where the tests run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_first_signal_is_recorded_and_a_second_one_raises(
    number: signal.Signals, error: type[BaseException]
) -> None:
    stop = StopSignal()
    stop.check()
    stop.handle(number, None)
    with pytest.raises(error):
        stop.check()
    with pytest.raises(error):
        stop.handle(number, None)


def test_a_terminal_that_closes_may_send_several_signals() -> None:
    with ending_tidily():
        with recording_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)  # while the search ends
    with pytest.raises(Terminated) as raised:
        stop.check()
    assert (raised.value.code, raised.value.name) == (75, "SIGHUP")
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_nohup_keeps_a_command_running() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ending_tidily(), recording_signals() as stop:
        signal.raise_signal(signal.SIGHUP)
        stop.check()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def _raise_during(number: signal.Signals, second: signal.Signals) -> None:
    """Raise a signal, and a second one while the process ends."""
    try:
        signal.raise_signal(number)
    finally:
        signal.raise_signal(second)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_raise_only_inside_the_context_and_have_their_own_exit_code(
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Terminated) as raised, ending_tidily():
        _raise_during(number, signal.SIGHUP)
    assert signal.getsignal(number) == before
    assert (raised.value.code, raised.value.name) == (75, number.name)
    assert os.EX_TEMPFAIL == 75


@pytest.fixture(params=["pipe", "terminal"])
def unread(request: pytest.FixtureRequest) -> Iterator[OptionalOutput]:
    """A pipe or terminal whose other end is closed."""
    ours, theirs = os.openpty() if request.param == "terminal" else os.pipe()
    stream = open(theirs, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    assert stream.isatty() == (request.param == "terminal")
    console = Console(file=stream)
    assert console.is_terminal == stream.isatty()
    os.close(ours)
    with pytest.raises(OSError, match=r"Broken pipe|Input/output"):
        print("lost", file=stream, flush=True)
    yield OptionalOutput(stream)
    with suppress(OSError):
        stream.close()


def test_a_search_outlives_its_terminal(
    search: FakeSearch, unread: OptionalOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", unread)
    console = Console(stderr=True, force_terminal=unread.isatty())
    with shown(console) as search.display:  # type: ignore[assignment]
        assert search.begin().num_finished == 4
