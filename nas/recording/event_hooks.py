"""Command of the user that receives the events of a search (`--on-event`).

The command runs without a shell, in the background and one call after the other, with a JSON
object on standard input and its `event` in the environment as SCRFD_EVENT. The search continues
whatever the command does: a call may take `LIMIT_S`, its output is dropped, and the first
failure is logged. The keys of the object:

    event       started, retried, finished, failed, stopped, best (a new best) or ended
                (the stage's run)
    time        seconds since 1970
    search_dir  absolute, or a URL
    stage       1, 2 or 3
    candidate   number of the candidate; absent from ended
    hard        hard AP of finished and best, and of stopped where it was evaluated
    epoch       of stopped
    reason      of retried, failed, stopped, and of an ended that is not done
    state       of ended: done, interrupted, limit or error
    status      the stage's counts, as `scrfd-nas status --json` prints them
"""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from nas.monitoring.status import StageStatus
from nas.recording.background import background
from nas.search.budget import LimitReached
from nas.search.directory import SearchDir
from nas.search.events import TrialEvent
from nas.storage.urls import absolute
from search_spaces.errors import ConfigError, TrialError
from trials.result import TrialResult

LIMIT_S = 60.0
VARIABLE = "SCRFD_EVENT"
_SENT = ("started", "retried", "finished", "failed", "stopped")


def split_command(command: str) -> list[str]:
    """Return the program and its arguments. Raises ConfigError if there is no such program."""
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"--on-event must be a command, got {command!r} ({error})") from error
    if not arguments or shutil.which(arguments[0]) is None:
        rule = "--on-event must be a command, a program that exists and its arguments (no shell)"
        raise ConfigError(f"{rule}, got {command!r}")
    return arguments


def call_command(
    arguments: Sequence[str], content: dict[str, Any], limit_s: float = LIMIT_S
) -> None:
    """Run the command for one event.

    Raises:
        TrialError: The command fails or takes longer than `limit_s` seconds.
        OSError: The command cannot be started.
    """
    try:
        done = subprocess.run(
            arguments,
            input=json.dumps(content) + "\n",
            env=os.environ | {VARIABLE: str(content["event"])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
            start_new_session=True,  # Ctrl-C is for the search
        )
    except subprocess.TimeoutExpired as error:
        raise TrialError(f"it took longer than {limit_s:g} s and was ended") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it wrote no error"])[-1]
        raise TrialError(f"exit code {done.returncode}: {last[:150]}")


class EventHook:
    """Subscriber that sends what happens in one stage as JSON data.

    Args:
        directory, stage: Search directory and stage.
        send: Receives each event's data.
    """

    def __init__(
        self, directory: SearchDir, stage: int, send: Callable[[dict[str, Any]], None]
    ) -> None:
        self._directory, self._stage, self._send = directory, stage, send
        self._status_of: Callable[[], StageStatus] | None = None
        self._best: float | None = None

    def follow(self, status_of: Callable[[], StageStatus]) -> None:
        """Send the status that `status_of` returns, and announce APs above its present best."""
        self._status_of, self._best = status_of, status_of().best_hard

    def __call__(self, event: TrialEvent) -> None:
        """Send a trial's event, after it is recorded and in the status."""
        if event.kind not in _SENT:
            return
        content: dict[str, Any] = {"candidate": event.number}
        outcome = self._directory.outcome(self._stage, event.number)
        if event.kind == "finished" and isinstance(outcome, TrialResult):
            content["hard"] = outcome.hard
        elif event.kind in ("failed", "stopped") and outcome is not None:
            content["reason"] = getattr(outcome, "reason", "")
        elif event.kind == "retried" and event.failure:
            content["reason"] = event.failure.reason
        if event.kind == "stopped":
            content |= {"epoch": event.epoch, "hard": event.hard}
        self._say(event.kind, **content)
        self._announce_best()

    def end(self, state: str, reason: str = "") -> None:
        """Send the end of the stage's run."""
        self._say("ended", state=state, **({"reason": reason} if reason else {}))

    def _announce_best(self) -> None:
        status = self._status_of() if self._status_of else None
        if status is None or status.best_hard is None:
            return
        if self._best is None or status.best_hard > self._best:
            self._best = status.best_hard
            self._say("best", candidate=status.best_candidate, hard=status.best_hard)

    def _say(self, event: str, **content: Any) -> None:
        where = {"search_dir": absolute(str(self._directory)), "stage": self._stage}
        status = self._status_of().to_dict() if self._status_of else None
        self._send({"event": event, "time": time.time(), **where, **content, "status": status})


@contextmanager
def event_hook(
    command: str | None, directory: SearchDir, stage: int, log: Callable[[str], None]
) -> Iterator[EventHook]:
    """Yield the hook for one run of a stage, and send how the run ends.

    Without a command nothing is sent.

    Raises:
        ConfigError: There is no such program.
    """
    if command is None:
        yield EventHook(directory, stage, lambda content: None)
        return
    arguments = split_command(command)
    with background("--on-event", log) as calls:
        hook = EventHook(
            directory, stage, lambda c: calls.submit(partial(call_command, arguments, c))
        )
        try:
            yield hook
        except LimitReached as error:
            hook.end("limit", str(error))
            raise
        except (KeyboardInterrupt, SystemExit):
            hook.end("interrupted", "by a signal")
            raise
        except Exception as error:
            hook.end("error", str(error))
            raise
        hook.end("done")
