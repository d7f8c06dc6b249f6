"""Resolve what a user gives as a search, or as a folder in one, to a local path.

A URL becomes the local copy of its search below `~/.cache/scrfd-nas/searches` (or
`$XDG_CACHE_HOME`), which can be removed at any time while no driver runs in it.
"""

import hashlib
import os
import re
import socket
from pathlib import Path

from nas.search.directory import SEARCH_FILE, SearchDir
from nas.storage import urls
from nas.storage.object_store import Store
from nas.storage.search_storage import copies_folder, mark_copy
from search_spaces.errors import ConfigError

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
# Folder of a trial or of a training with another seed, or a file in either.
_TRIAL = re.compile(r"(stage[123]/\d+(?:/(?:seeds/\d+|reproduced))?)(?:/[^/]+\.[a-z]+)?")
_DEEPEST = 5
# Characters without a meaning in URLs: `x?endpoint_override=...` would lead to another server.
_PLAIN = re.compile(r"[A-Za-z0-9._~+=@,-]+")


def search_path(text: str | os.PathLike[str]) -> Path:
    """Return a path unchanged, and for a URL the folder of its local copy; fetches nothing.

    Raises:
        ConfigError: the URL holds credentials or names no folder.
    """
    given = str(text)
    if not urls.is_url(given):
        return Path(given)
    url = urls.check_url(given)
    # Machines that share a home must not share the copy: file locks may not work between them.
    digest = hashlib.sha256(f"{socket.gethostname()} {url}".encode()).hexdigest()[:12]
    root = copies_folder() / f"{_NOT_IN_NAMES.sub('_', urls.name_of(url))}-{digest}"
    mark_copy(root, url)
    return root


def fetched_trial(text: str) -> Path:
    """Return a fetched copy of a trial's folder or of a file in it, by its URL.

    Raises:
        ConfigError: the URL is not that of a trial in a search.
        StoreError: the store does not answer.
    """
    url = urls.check_url(text)
    for count in range(2, _DEEPEST + 1):
        above, inner = urls.split(url, count)
        match = _TRIAL.fullmatch(inner)
        if match:
            root = search_path(above)
            SearchDir(root).refresh()
            SearchDir(root).storage.fetch_weights(root / match[1])
            return root / inner
    raise ConfigError(f"{url}: names no trial of a search, such as s3://BUCKET/RUN/stage2/0007")


def searches_below(text: str | os.PathLike[str]) -> list[Path] | None:
    """Return the fetched searches in the folder at a URL; None for a path.

    Folders with names that a URL would have to escape are ignored.

    Raises:
        StoreError: the store does not answer.
    """
    given = str(text)
    if not urls.is_url(given):
        return None
    url = urls.check_url(given)
    store = Store(url)
    names = filter(_PLAIN.fullmatch, store.folders())
    found = [name for name in names if store.entry(f"{name}/{SEARCH_FILE}") is not None]
    roots = [search_path(urls.below(url, name)) for name in found]
    for root in roots:
        SearchDir(root).refresh()
    return roots
