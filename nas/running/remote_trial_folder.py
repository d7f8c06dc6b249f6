"""A trial whose folder lies at a URL: worked on in a scratch folder of the machine it runs on.

It begins with what is at the URL, so that it continues what another machine has begun, and
puts every epoch there before the driver hears of it. Each file appears whole, the best weights
before the training state that knows of them and the result last: at any moment the URL holds
a folder that can be continued.
"""

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from nas.running.tasks import TrialTask
from nas.search.directory import SearchDir
from nas.search.events import TrialEvent
from nas.storage.manifest import Stamp, local_files, stamp
from nas.storage.object_store import Store, StoreError
from nas.storage.scratch import scratch_folder
from trials.model_file import BEST
from trials.result import RESULT_FILE, TrialFault
from trials.run import LOCK_FILE
from trials.training.checkpoint import LAST, PREVIOUS

# Longer than the driver waits: where the store fails for all, the search stops before its
# trials are counted as failed.
PATIENCE_S = 240.0
_OWNER = ".owner"
_OTHERS = ("seeds", "reproduced")  # trainings of their own below a trial's folder
_ORDER = {BEST: 0, LAST: 1, RESULT_FILE: 3}
_REASON = f"{StoreError.__name__}: "


@contextmanager
def at_hand(task: TrialTask) -> Iterator[tuple[TrialTask, Callable[[], None]]]:
    """The task with a folder on this machine, and what puts the folder to its URL.

    A task without `remote` is yielded as it is.

    Raises:
        StoreError: the store does not answer.
        TrialFault: another process has taken the trial over meanwhile.
    """
    if task.remote is None:
        yield task, lambda: None
        return
    with scratch_folder(Path(tempfile.gettempdir())) as scratch:
        folder = scratch / Path(*Path(task.folder).parts[-3:])
        exchange = _Exchange(folder, Store(task.remote, PATIENCE_S))
        exchange.take()
        try:
            yield replace(task, folder=str(folder)), exchange.put
        except BaseException:
            with suppress(StoreError, TrialFault):  # what ended it says more
                exchange.put()
            raise
        exchange.put()


def hear(directory: SearchDir, folder: Path, event: TrialEvent) -> None:
    """As the driver, fetch what a trial has put to its URL when `event` is told of it.

    Raises:
        StoreError: the store does not answer here, or has not where the trial ran: it stays
            unfinished instead of failed.
    """
    directory.bring(folder, later=event.kind in ("started", "epoch"))
    if event.kind == "failed" and event.failure and event.failure.reason.startswith(_REASON):
        raise StoreError(f"candidate {event.number}: {event.failure.reason[len(_REASON) :]}")


class _Exchange:
    """A local folder and its URL."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store
        self._token = secrets.token_hex(16).encode()
        self._put: dict[str, Stamp | None] = {}

    def take(self) -> None:
        """Become the one who writes there, and fetch what there is."""
        self._folder.mkdir(parents=True)
        self._store.write(_OWNER, self._token)
        for name in filter(_is_carried, self._store.list()):
            self._store.download(name, self._folder / name)
            self._put[name] = stamp(self._folder / name)

    def put(self) -> None:
        """Put what has changed there."""
        found = dict(local_files(self._folder, self._folder))
        names = [n for n in found if _is_carried(n) and stamp(found[n]) != self._put.get(n)]
        if not names:
            return
        if self._store.read(_OWNER) != self._token:
            raise TrialFault("another process has taken this trial over", kind="killed")
        for name in sorted(names, key=lambda name: (_ORDER.get(name, 2), name)):
            before = stamp(found[name])
            self._store.write(name, found[name].read_bytes())
            self._put[name] = before


def _is_carried(name: str) -> bool:
    """Not locks, what is only of use on this machine, and other trainings."""
    first, last = name.split("/")[0], name.rpartition("/")[2]
    return first not in _OTHERS and last not in (LOCK_FILE, PREVIOUS) and not last.startswith(".")
