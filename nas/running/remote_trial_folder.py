"""Run a trial whose folder is at a URL in a temporary folder of its machine.

The temporary folder starts with the files at the URL, so that a trial continues what another
machine has begun. Every epoch is uploaded before the driver receives its event. Files are
replaced whole, the best weights before the training state that refers to them and the result
last, so that at any moment the URL holds a folder from which the trial can be continued.
"""

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from nas.running.tasks import TrialTask
from nas.storage.mirror import Stamp, local_files, stamp
from nas.storage.object_store import Store, StoreError
from nas.storage.scratch import scratch_folder
from trials.result import BEST, LAST, PREVIOUS, RESULT_FILE, TrialFault
from trials.run import LOCK_FILE

# Longer than the driver's: where the store fails for all, the search stops before its trials
# count as failed.
PATIENCE_S = 240.0
_OWNER = ".owner"
_OTHERS = ("seeds", "reproduced")  # other trainings in subfolders of a trial's folder
_ORDER = {BEST: 0, LAST: 1, RESULT_FILE: 3}


@contextmanager
def local_folder(task: TrialTask) -> Iterator[tuple[TrialTask, Callable[[], None]]]:
    """Yield the task with a folder on this machine, and a function that uploads the folder.

    A task without `remote` is yielded unchanged.

    Raises:
        StoreError: the store does not answer.
        TrialFault: another process has taken the trial over.
    """
    if task.remote is None:
        yield task, lambda: None
        return
    with scratch_folder(Path(tempfile.gettempdir())) as scratch:
        folder = scratch / Path(*Path(task.folder).parts[-3:])
        remote = _RemoteFolder(folder, Store(task.remote, PATIENCE_S))
        remote.download()
        try:
            yield replace(task, folder=str(folder)), remote.upload
        except BaseException:
            with suppress(StoreError, TrialFault):  # the first error says more
                remote.upload()
            raise
        remote.upload()


class _RemoteFolder:
    """A local folder and its files at a URL; the last process to download owns the URL."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store
        self._token = secrets.token_hex(16).encode()
        self._uploaded: dict[str, Stamp | None] = {}

    def download(self) -> None:
        """Become the owner and fetch all files."""
        self._folder.mkdir(parents=True)
        self._store.write(_OWNER, self._token)
        for name in filter(_is_exchanged, self._store.list()):
            self._store.download(name, self._folder / name)
            self._uploaded[name] = stamp(self._folder / name)

    def upload(self) -> None:
        """Upload what has changed. Raises TrialFault: another process is the owner."""
        found = dict(local_files(self._folder))
        names = [n for n in found if _is_exchanged(n) and stamp(found[n]) != self._uploaded.get(n)]
        if names and self._store.read(_OWNER) != self._token:
            raise TrialFault("another process has taken this trial over", kind="killed")
        for name in sorted(names, key=lambda name: (_ORDER.get(name, 2), name)):
            before = stamp(found[name])
            self._store.write(name, found[name].read_bytes())
            self._uploaded[name] = before


def _is_exchanged(name: str) -> bool:
    """Return False for locks, files that only this machine needs, and other trainings."""
    first, last = name.split("/")[0], name.rpartition("/")[2]
    return first not in _OTHERS and last not in (LOCK_FILE, PREVIOUS) and not last.startswith(".")
