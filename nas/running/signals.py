"""Ctrl-C and SIGTERM, noted, and answered where nothing is half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_NOTED = (signal.SIGINT, signal.SIGTERM)


EXIT_RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h: "the user is invited to retry"


class Terminated(SystemExit):
    """SIGTERM arrived; the exit code tells it from a process that a signal has killed."""

    def __init__(self) -> None:
        super().__init__(EXIT_RESUMABLE)


@dataclass
class StopSignal:
    """The first SIGINT or SIGTERM, noted; a second one is not waited for."""

    number: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.number is not None:
            raise _exception_of(number)
        self.number = number

    def arm(self) -> None:
        """Become the signals' handler (again, where a library has put its own)."""
        if threading.current_thread() is threading.main_thread():
            for number in _NOTED:
                signal.signal(number, self.note)

    def check(self) -> None:
        """Raise KeyboardInterrupt or Terminated if a signal was noted."""
        if self.number is not None:
            raise _exception_of(self.number)


def _exception_of(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


@contextmanager
def ending_tidily() -> Iterator[None]:
    """Let SIGTERM raise Terminated, as Ctrl-C raises KeyboardInterrupt, during the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def noting_signals() -> Iterator[StopSignal]:
    """Note SIGINT and SIGTERM during the block; the handlers of before are back after it.

    Outside the main thread, where Python allows no handlers, nothing is noted.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in _NOTED}
    stop.arm()
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
