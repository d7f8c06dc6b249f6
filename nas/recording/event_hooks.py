"""A command of the user's that is told what happens in a search (`--on-event`).

The command runs without a shell, in the background and one call after the other, with a JSON
object on standard input and its `event` in the environment as SCRFD_EVENT. Whatever it does,
the search goes on: it may take `LIMIT_S` a call, its output is dropped, and its first failure
is noted. The keys of the object:

    event       started, retried, finished, failed, stopped, best (a new best) or ended
                (the stage's run)
    time        seconds since 1970
    search_dir  absolute, or a URL
    stage       1, 2 or 3
    candidate   its number; absent from ended
    hard        hard AP of finished and best, and of stopped where it was evaluated
    epoch       of stopped
    reason      of retried, failed, stopped, and of an ended that is not done
    state       of ended: done, interrupted, limit or error
    status      the stage's counts, as `scrfd-nas status --json` prints them
"""

import json
import os
import queue
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nas.monitoring.progress import Showable, Update
from nas.monitoring.status import StageStatus
from nas.search.budget import LimitReached
from nas.search.directory import SearchDir
from nas.search.events import TrialEvent
from nas.storage.urls import absolute
from search_spaces.errors import ConfigError
from trials.result import TrialResult

LIMIT_S = 60.0
VARIABLE = "SCRFD_EVENT"
_TOLD = ("started", "retried", "finished", "failed", "stopped")
_WAITING = 1000  # calls that may wait for one that is slow
_LAST_S = 30.0  # to tell of the stage's end
_INTERRUPTED_LAST_S = 4.0  # the same, when the machine may be about to go away

Note = Callable[[str], None]


class Hook:
    """Runs the command for one event after the other, in a thread of its own.

    Args:
        command: a program and its arguments, split as a shell would.
        note: hears of the first failure, from the thread.
        limit_s: of one call.

    Raises:
        ConfigError: there is no such program.
    """

    def __init__(self, command: str, note: Note, limit_s: float = LIMIT_S) -> None:
        self._arguments, self._note, self._limit_s = split_command(command), note, limit_s
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(_WAITING)
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="on-event", daemon=True)
        self._thread.start()

    def tell(self, content: dict[str, Any]) -> None:
        """Have the command told; returns at once."""
        try:
            self._queue.put_nowait(content)
        except queue.Full:
            self._fail(f"it is too slow, {_WAITING} events wait for it")

    def close(self, patience_s: float) -> None:
        """Wait until it has been told everything, but not for longer than `patience_s`."""
        try:
            self._queue.put(None, timeout=patience_s)
        except queue.Full:
            return
        self._thread.join(patience_s)

    def _work(self) -> None:
        while (content := self._queue.get()) is not None:
            self._call(content)

    def _call(self, content: dict[str, Any]) -> None:
        try:
            done = subprocess.run(
                self._arguments,
                input=json.dumps(content) + "\n",
                env=os.environ | {VARIABLE: str(content["event"])},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=self._limit_s,
                check=False,
                start_new_session=True,  # Ctrl-C is for the search
            )
        except subprocess.TimeoutExpired:
            self._fail(f"it took longer than {self._limit_s:g} s and was ended")
        except (OSError, ValueError) as error:
            self._fail(str(error))
        else:
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it wrote no error"])[-1]
                self._fail(f"exit code {done.returncode}: {last[:200]}")

    def _fail(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self._note(f"--on-event: {reason} (further failures are not shown)")


def split_command(command: str) -> list[str]:
    """The program and its arguments. Raises ConfigError: there is no such program."""
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"--on-event must be a command, got {command!r} ({error})") from error
    if not arguments or shutil.which(arguments[0]) is None:
        rule = "--on-event must be a command, a program that exists and its arguments (no shell)"
        raise ConfigError(f"{rule}, got {command!r}")
    return arguments


class Teller:
    """Turns what happens in one stage into events for a listener.

    Args:
        directory, stage: of the search.
        tell: the listener (see `Hook.tell`).
    """

    def __init__(
        self, directory: SearchDir, stage: int, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self._directory, self._stage, self._tell = directory, stage, tell
        self._status: StageStatus | None = None
        self._best: float | None = None

    def following(self, update: Update) -> Update:
        """`update`, from which the teller learns how the stage stands."""

        def followed(status: Showable, text: str) -> None:
            if isinstance(status, StageStatus):
                if self._status is None:
                    self._best = status.best_hard
                self._status = status
            update(status, text)

        return followed

    def watch(self, event: TrialEvent) -> None:
        """Hears of a trial's event when it is on disk and in the status."""
        if event.kind not in _TOLD:
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
        self._tell_of_best()

    def end(self, state: str, reason: str = "") -> None:
        """The stage's run is over."""
        self._say("ended", state=state, **({"reason": reason} if reason else {}))

    def _tell_of_best(self) -> None:
        status = self._status
        if status is None or status.best_hard is None:
            return
        if self._best is None or status.best_hard > self._best:
            self._best = status.best_hard
            self._say("best", candidate=status.best_candidate, hard=status.best_hard)

    def _say(self, event: str, **content: Any) -> None:
        where = {"search_dir": absolute(str(self._directory)), "stage": self._stage}
        status = self._status.to_dict() if self._status else None
        self._tell({"event": event, "time": time.time(), **where, **content, "status": status})


@contextmanager
def telling(command: str | None, directory: SearchDir, stage: int, note: Note) -> Iterator[Teller]:
    """A teller for one run of a stage, which also tells how the run ended.

    Without a command it tells nobody.

    Raises:
        ConfigError: there is no such program.
    """
    if command is None:
        yield Teller(directory, stage, lambda content: None)
        return
    hook, patience_s = Hook(command, note), _LAST_S
    teller = Teller(directory, stage, hook.tell)
    try:
        yield teller
    except LimitReached as error:
        teller.end("limit", str(error))
        raise
    except (KeyboardInterrupt, SystemExit):
        patience_s = _INTERRUPTED_LAST_S
        teller.end("interrupted", "by a signal")
        raise
    except Exception as error:
        teller.end("error", str(error))
        raise
    else:
        teller.end("done")
    finally:
        hook.close(patience_s)
