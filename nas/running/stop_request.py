"""How running trials, on any machine, hear that they are to put themselves on disk and stop.

One small Ray actor a run: trials ask it a question that it answers only when the search is
stopped, so nobody polls over the network; the driver waits there until they have left.
"""

import asyncio
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray

SAVE_S = 8.0  # schedulers of clusters wait about 30 s from SIGTERM to SIGKILL, some only 10
_LOOK_S = 0.25
_MOST_QUESTIONS = 100_000


class _Board:
    """The actor. Its methods are coroutines, so that an unanswered question blocks nobody."""

    def __init__(self) -> None:
        self.is_stopped = False
        self.inside: dict[str, int] = {}
        self.answers: dict[str, asyncio.Event] = {}
        self.left = asyncio.Condition()

    async def ask(self, visit: str, number: int) -> bool:
        """Of a trial that begins: whether it is to stop. Answered when that is known."""
        self.inside[visit] = number
        if not self.is_stopped:
            await self.answers.setdefault(visit, asyncio.Event()).wait()
        return self.is_stopped

    async def leave(self, visit: str) -> None:
        """The trial has ended, or is on disk."""
        async with self.left:
            self.inside.pop(visit, None)
            self.left.notify_all()
        if visit in self.answers:
            self.answers.pop(visit).set()  # unanswered questions would add up

    async def stop(self, numbers: Collection[int], timeout: float) -> list[int]:
        """Stop the trials `numbers`; returns those that have not left within `timeout` seconds."""
        self.is_stopped = True
        for answer in self.answers.values():
            answer.set()

        def late() -> set[int]:
            return set(self.inside.values()) & set(numbers)

        async with self.left:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.left.wait_for(lambda: not late()), timeout)
        return sorted(late())


def make_board() -> Any:
    """A board, which takes no core and ends with this driver; the call waits for nothing."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_concurrency": _MOST_QUESTIONS}
    return ray.remote(_Board).options(**options).remote()


def stop_trials(board: Any, numbers: Collection[int], timeout: float = SAVE_S) -> list[int]:
    """Stop running trials; returns the numbers of those that did not answer in time."""
    if not numbers:
        return []
    try:
        late = ray.get(board.stop.remote(sorted(numbers), timeout), timeout=timeout + 1)
    except (ray.exceptions.RayError, TimeoutError):
        return sorted(numbers)
    return list(late)


@contextmanager
def on_board(board: Any, number: int) -> Iterator["Visit"]:
    """In a trial's process: its place on the board."""
    visit = Visit(board, number)
    try:
        yield visit
    finally:
        ray.wait([visit.leave()], timeout=1.0)  # Ray may end this process


class Visit:
    """A trial that is on the board, which asks whether it is to stop."""

    def __init__(self, board: Any, number: int) -> None:
        self._board, self._number = board, number
        self._next_look = 0.0
        self._enter()

    def should_stop(self) -> bool:
        """Whether the trial is to stop; may be asked often, and looks four times a second."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_S
        ready, _ = ray.wait([self._answer], timeout=0)
        if not ready:
            return False
        try:
            return bool(ray.get(self._answer))
        except ray.exceptions.RayError:  # the board's process died; Ray starts it again
            self._enter()
            return False

    @contextmanager
    def away(self) -> Iterator[None]:
        """While the trial is on disk and waits for the driver, which then waits for it no more."""
        self.leave()
        try:
            yield
        finally:
            self._enter()

    def leave(self) -> Any:
        """Be on the board no more; returns what Ray gives when the board knows."""
        return self._board.leave.remote(self._name)

    def _enter(self) -> None:
        self._name = uuid.uuid4().hex
        self._answer = self._board.ask.remote(self._name, self._number)
