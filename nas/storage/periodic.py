"""Repeat an action in the background."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search_spaces.errors import ScrfdNasError


class Periodic(threading.Thread):
    """Thread that repeats an action until the action fails or the thread is stopped.

    Args:
        name: name of the thread.
        period_s: seconds between two calls.
        action: called without arguments, and a last time when the thread is stopped.
        rest: least pause between two calls as a multiple of the duration of the last one.

    Attributes:
        failure: error of the action; it is not called again after one.
    """

    def __init__(
        self, name: str, period_s: float, action: Callable[[], None], rest: float = 0.0
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._period_s, self._action, self._rest = period_s, action, rest
        self._is_stopped = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Repeat the action."""
        pause = self._period_s
        while self.failure is None:
            is_last = self._is_stopped.wait(pause)
            started = time.monotonic()
            try:
                self._action()
            except Exception as error:
                self.failure = error
            if is_last:
                return
            pause = max(self._period_s, self._rest * (time.monotonic() - started))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread during the block; raises its failure unless the block raises its own."""
        self.start()
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._is_stopped.set()
            self.join()
            if self.failure is not None and not isinstance(error, ScrfdNasError):
                raise self.failure
