"""Request to stop from the driver to its trials, and their answers."""

import asyncio

import pytest

from nas.running import stop_request
from nas.running.stop_request import stop_trials


def in_order(*steps: str) -> list[object]:
    """Perform `steps` on an actor: "ask N", "leave N" or "stop" (of trials 1 to 3)."""

    async def play() -> list[object]:
        actor = stop_request._StopActor()
        questions: dict[str, asyncio.Task[bool]] = {}
        found: list[object] = []
        for step in steps:
            action, _, number = step.partition(" ")
            if action == "ask":
                questions[number] = asyncio.create_task(actor.ask(f"visit {number}", int(number)))
            elif action == "leave":
                await actor.leave(f"visit {number}")
            else:
                found.append(await actor.stop([1, 2, 3], timeout=0.05))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return found + [task.result() if task.done() else None for task in questions.values()]

    return asyncio.run(play())


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        (["ask 1"], [None]),  # not answered before a stop
        (["ask 1", "leave 1"], [False]),
        (["ask 1", "ask 2", "leave 1"], [False, None]),
        (["ask 1", "ask 2", "stop"], [[1, 2], True, True]),
        (["ask 1", "ask 2", "leave 1", "stop"], [[2], False, True]),
        (["ask 1", "stop", "leave 1", "stop"], [[1], [], True]),
        (["stop", "ask 1"], [[], True]),  # asked after the stop
        (["ask 9", "stop"], [[], True]),  # not waited for
    ],
)
def test_questions_are_answered_by_a_stop_or_by_leaving(
    steps: list[str], found: list[object]
) -> None:
    assert in_order(*steps) == found


def test_stop_returns_as_soon_as_the_last_trial_has_left() -> None:
    async def play() -> tuple[list[int], float]:
        actor = stop_request._StopActor()
        asked = asyncio.create_task(actor.ask("visit", 1))
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, lambda: tasks.append(asyncio.create_task(actor.leave("visit"))))
        before = loop.time()
        late = await actor.stop([1], timeout=60.0)
        await asked
        return late, loop.time() - before

    tasks: list[asyncio.Task[None]] = []
    late, seconds = asyncio.run(play())
    assert late == []
    assert seconds < 30
    assert stop_trials(None, []) == []  # no actor without running trials
