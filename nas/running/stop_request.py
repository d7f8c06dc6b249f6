"""Request to the running trials, on any machine, to save their state and stop.

Each run has one small Ray actor. A trial sends it a question that is answered only when the
search stops, so that nothing is polled over the network; the driver waits there until all
trials have left.
"""

import asyncio
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray

SAVE_S = 8.0  # cluster schedulers wait about 30 s from SIGTERM to SIGKILL, some only 10
_LOOK_S = 0.25
_MOST_QUESTIONS = 100_000


class _StopActor:
    """Actor whose methods are coroutines, so that an unanswered question blocks no other."""

    def __init__(self) -> None:
        self.is_stopped = False
        self.inside: dict[str, int] = {}
        self.answers: dict[str, asyncio.Event] = {}
        self.left = asyncio.Condition()

    async def ask(self, visit: str, number: int) -> bool:
        """Register a trial; returns whether it is to stop, once that is decided."""
        self.inside[visit] = number
        if not self.is_stopped:
            await self.answers.setdefault(visit, asyncio.Event()).wait()
        return self.is_stopped

    async def leave(self, visit: str) -> None:
        """Remove a trial that has ended, or that is on disk."""
        async with self.left:
            self.inside.pop(visit, None)
            self.left.notify_all()
        if visit in self.answers:
            self.answers.pop(visit).set()  # unanswered questions would accumulate

    async def stop(self, numbers: Collection[int], timeout: float) -> list[int]:
        """Stop all trials; returns those of `numbers` that have not left in `timeout` seconds."""
        self.is_stopped = True
        for answer in self.answers.values():
            answer.set()

        def late() -> set[int]:
            return set(self.inside.values()) & set(numbers)

        async with self.left:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.left.wait_for(lambda: not late()), timeout)
        return sorted(late())


def make_stop_actor() -> Any:
    """Start the actor, without waiting; it takes no core and ends with this driver."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_concurrency": _MOST_QUESTIONS}
    return ray.remote(_StopActor).options(**options).remote()


def stop_trials(actor: Any, numbers: Collection[int], timeout: float = SAVE_S) -> list[int]:
    """Stop the running trials; returns the numbers of those that did not leave in time."""
    if not numbers:
        return []
    try:
        late = ray.get(actor.stop.remote(sorted(numbers), timeout), timeout=timeout + 1)
    except (ray.exceptions.RayError, TimeoutError):
        return sorted(numbers)
    return list(late)


@contextmanager
def registered(actor: Any, number: int) -> Iterator["Visit"]:
    """Register this process's trial with the actor during the block."""
    visit = Visit(actor, number)
    try:
        yield visit
    finally:
        ray.wait([visit.leave()], timeout=1.0)  # Ray may end this process


class Visit:
    """Registration of a running trial, which asks whether it is to stop."""

    def __init__(self, actor: Any, number: int) -> None:
        self._actor, self._number = actor, number
        self._next_look = 0.0
        self._enter()

    def should_stop(self) -> bool:
        """Return whether the trial is to stop; cheap, since it looks four times a second."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_S
        ready, _ = ray.wait([self._answer], timeout=0)
        if not ready:
            return False
        try:
            return bool(ray.get(self._answer))
        except ray.exceptions.RayError:  # the actor died; Ray starts it again
            self._enter()
            return False

    @contextmanager
    def away(self) -> Iterator[None]:
        """Unregister the trial during the block, while it is on disk and waits for the driver."""
        self.leave()
        try:
            yield
        finally:
            self._enter()

    def leave(self) -> Any:
        """Unregister the trial; returns Ray's reference to the answer."""
        return self._actor.leave.remote(self._name)

    def _enter(self) -> None:
        self._name = uuid.uuid4().hex
        self._answer = self._actor.ask.remote(self._name, self._number)
