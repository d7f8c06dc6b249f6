"""Searches, and what lies in them, as they are given on the command line: by path or by URL.

typer would make `s3:/bucket` of a URL that it takes for a path, so that these options and
arguments have parsers of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from nas.storage.urls import is_url
from search_spaces.errors import ConfigError

SEARCH_METAVAR = "DIR|URL"
MODEL_FILE = "best.pt"


def search(text: str) -> Path:
    """The folder of a search; for a URL its working copy (`nas.search.resolve_url`).

    Raises:
        BadParameter: the URL holds credentials or names no folder.
    """
    if not is_url(text):
        return Path(text)
    from nas.search.resolve_url import search_path

    with _as_usage():
        return search_path(text)


def trial(text: str) -> Path:
    """A trial's folder or a file in one; for a URL a copy of it, which is fetched.

    Raises:
        BadParameter: the URL is not that of a trial in a search.
        StoreError: the store does not answer.
    """
    if not is_url(text):
        return Path(text)
    from nas.search.resolve_url import trial_path

    with _as_usage():
        return trial_path(text)


def reference(text: str) -> str:
    """A name or a path as it is; for the URL of a trial the path of a copy, as `trial`."""
    return str(trial(text)) if is_url(text) else text


ARCHITECTURE = typer.Argument(
    help="A built-in name or a YAML file; or a trial's folder or URL.",
    parser=reference,
    metavar="ARCHITECTURE",
)


@contextmanager
def _as_usage() -> Iterator[None]:
    """Say what is wrong with a value; of other ValueErrors, typer shows the value alone."""
    try:
        yield
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def model_file(path: Path) -> Path:
    """Return `path`, or the best model in it where it is a trial's folder."""
    return path / MODEL_FILE if path.is_dir() else path
