"""Ctrl-C and SIGTERM, recorded by a handler and acted on between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

EXIT_RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h: "the user is invited to retry"


class Terminated(SystemExit):
    """SIGTERM arrived; its exit code differs from that of a process killed by the signal."""

    def __init__(self) -> None:
        super().__init__(EXIT_RESUMABLE)


@dataclass
class StopSignal:
    """Record of the first SIGINT or SIGTERM; a second one raises at once."""

    number: int | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.number is not None:
            raise _exception_of(number)
        self.number = number

    def arm(self) -> None:
        """Install the handler (again, if a library has installed its own)."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self.handle)

    def check(self) -> None:
        """Raise KeyboardInterrupt or Terminated if a signal has arrived."""
        if self.number is not None:
            raise _exception_of(self.number)


def _exception_of(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


@contextmanager
def ending_tidily() -> Iterator[None]:
    """Raise Terminated on SIGTERM in the block, as Ctrl-C raises KeyboardInterrupt."""
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
def recording_signals() -> Iterator[StopSignal]:
    """Yield a record of SIGINT and SIGTERM in the block; restores the handlers after it.

    Outside the main thread, where Python allows no handlers, nothing is recorded.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    stop.arm()
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
