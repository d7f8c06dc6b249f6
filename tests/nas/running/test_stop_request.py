"""Trials hear from the board that they are to stop, and the driver hears when they have."""

import asyncio

import pytest

from nas.running import stop_request
from nas.running.stop_request import stop_trials


def in_order(*steps: str) -> list[object]:
    """Plays `steps` on a board: "ask N", "leave N" or "stop" (of trials 1 to 3)."""

    async def play() -> list[object]:
        board = stop_request._StopActor()
        questions: dict[str, asyncio.Task[bool]] = {}
        found: list[object] = []
        for step in steps:
            action, _, number = step.partition(" ")
            if action == "ask":
                questions[number] = asyncio.create_task(board.ask(f"visit {number}", int(number)))
            elif action == "leave":
                await board.leave(f"visit {number}")
            else:
                found.append(await board.stop([1, 2, 3], timeout=0.05))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return found + [task.result() if task.done() else None for task in questions.values()]

    return asyncio.run(play())


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        (["ask 1"], [None]),  # not answered: nobody has stopped anything
        (["ask 1", "leave 1"], [False]),
        (["ask 1", "ask 2", "leave 1"], [False, None]),
        (["ask 1", "ask 2", "stop"], [[1, 2], True, True]),
        (["ask 1", "ask 2", "leave 1", "stop"], [[2], False, True]),
        (["ask 1", "stop", "leave 1", "stop"], [[1], [], True]),
        (["stop", "ask 1"], [[], True]),  # comes late
        (["ask 9", "stop"], [[], True]),  # nobody waits for it
    ],
)
def test_questions_are_answered_when_it_is_known(steps: list[str], found: list[object]) -> None:
    assert in_order(*steps) == found


def test_the_driver_is_answered_as_soon_as_the_last_has_left() -> None:
    async def play() -> tuple[list[int], float]:
        board = stop_request._StopActor()
        asked = asyncio.create_task(board.ask("visit", 1))
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, lambda: tasks.append(asyncio.create_task(board.leave("visit"))))
        before = loop.time()
        late = await board.stop([1], timeout=60.0)
        await asked
        return late, loop.time() - before

    tasks: list[asyncio.Task[None]] = []
    late, seconds = asyncio.run(play())
    assert late == []
    assert seconds < 30


def test_nobody_is_asked_where_no_trial_runs() -> None:
    assert stop_trials(None, []) == []
