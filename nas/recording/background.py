"""Calls that may be slow or fail, made in a thread so that a search neither waits nor ends."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search_spaces.errors import first_line

_CAPACITY = 1000  # calls that may wait behind a slow one
_LAST_S = 30.0
_INTERRUPTED_LAST_S = 4.0  # the machine may be about to go away


class Background:
    """Make calls one after the other in a thread.

    Args:
        name: Option that asked for the calls, for messages.
        log: Receives the first failure, from the thread.
        pause_s: Seconds without any call after a failed one.
    """

    def __init__(self, name: str, log: Callable[[str], None], pause_s: float = 0.0) -> None:
        self._name, self._log, self._pause_s = name, log, pause_s
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(_CAPACITY)
        self._paused_until, self._has_failed = float("-inf"), False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], None]) -> None:
        """Schedule a call; returns at once."""
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._report(f"it is too slow, {_CAPACITY} events wait for it")

    def close(self, patience_s: float) -> None:
        """Wait until all calls are made, but no longer than `patience_s` seconds."""
        try:
            self._queue.put(None, timeout=patience_s)
        except queue.Full:
            return
        self._thread.join(patience_s)

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            if time.monotonic() < self._paused_until:
                continue
            try:
                call()
            except Exception as error:  # from any library or program: the search goes first
                self._paused_until = time.monotonic() + self._pause_s
                self._report(first_line(error))

    def _report(self, reason: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._log(f"{self._name}: {reason} (further failures are not shown)")


@contextmanager
def background(name: str, log: Callable[[str], None], pause_s: float = 0.0) -> Iterator[Background]:
    """Yield a `Background`, and wait for its last calls: not long when a signal ends the block."""
    calls, patience_s = Background(name, log, pause_s), _LAST_S
    try:
        yield calls
    except (KeyboardInterrupt, SystemExit):
        patience_s = _INTERRUPTED_LAST_S
        raise
    finally:
        calls.close(patience_s)
