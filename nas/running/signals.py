"""Ctrl-C, SIGTERM and SIGHUP, recorded by a handler and acted on between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# Service managers and closing terminals send them to all processes of a job at once.
ENDING = (signal.SIGTERM, signal.SIGHUP)

EXIT_RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h: "the user is invited to retry"


class Terminated(SystemExit):
    """SIGTERM or SIGHUP arrived; its exit code differs from that of a process killed by one.

    Attributes:
        name: Name of the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(EXIT_RESUMABLE)
        self.name = signal.Signals(number).name


@dataclass
class StopSignal:
    """Record of the first signal; a second one raises at once.

    A second SIGHUP does nothing: a terminal that closes sends several.
    """

    number: int | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.number is None:
            self.number = number
        elif number != signal.SIGHUP:
            raise _exception_of(number)

    def arm(self) -> None:
        """Install the handler (again, if a library has installed its own)."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *ENDING):
                _handle(number, self.handle)

    def check(self) -> None:
        """Raise KeyboardInterrupt or Terminated if a signal has arrived."""
        if self.number is not None:
            raise _exception_of(self.number)


def _exception_of(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)


def _handle(number: int, handler: Callable[[int, FrameType | None], None]) -> None:
    """Install a handler, unless `nohup` has started this process to outlive its terminal."""
    if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, handler)


@contextmanager
def ending_tidily() -> Iterator[None]:
    """Raise Terminated on SIGTERM and SIGHUP in the block, as Ctrl-C raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `StopSignal` ignores a second one
        raise Terminated(number)

    previous = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        _handle(number, leave)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def recording_signals() -> Iterator[StopSignal]:
    """Yield a record of the signals in the block; restores the handlers after it.

    Outside the main thread, where Python allows no handlers, nothing is recorded.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    stop.arm()
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            if number != signal.SIGHUP or stop.number is None:  # a second one still does nothing
                signal.signal(number, handler)
