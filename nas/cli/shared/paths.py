"""Searches and their files as the command line names them: by path or by URL.

These options have parsers of their own, since typer turns a URL that it takes for a path into
`s3:/bucket`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from nas.cli.shared.flags import argument
from nas.storage.urls import is_url
from search_spaces.errors import ConfigError
from trials.result import BEST


def search(text: str) -> Path:
    """Return the folder of a search; for a URL, its working copy (`nas.search.resolve_url`).

    Raises:
        BadParameter: the URL holds credentials or names no folder.
    """
    if not is_url(text):
        return Path(text)
    from nas.search.resolve_url import search_path

    with _as_usage():
        return search_path(text)


def trial(text: str) -> Path:
    """Return a trial's folder or a file in one; for a URL, a local copy of it.

    Raises:
        BadParameter: the URL names no trial of a search.
        StoreError: the store does not answer.
    """
    if not is_url(text):
        return Path(text)
    from nas.search.resolve_url import fetched_trial

    with _as_usage():
        return fetched_trial(text)


def picture(text: str) -> Path:
    """Return the path of images, of a video, or the number of a camera.

    Raises:
        BadParameter: a URL.
    """
    if is_url(text):
        scheme = text.partition("://")[0]
        rule = "images and videos are read from files of this machine"
        fetch = {"s3": "aws s3 cp URL FILE"}.get(scheme, "curl -LO URL")
        raise typer.BadParameter(f"{rule}, got a URL ({scheme}://...); fetch it first: {fetch}")
    return Path(text)


def reference(text: str) -> str:
    """Return a name or a path unchanged; for the URL of a trial, the path of a local copy."""
    return str(trial(text)) if is_url(text) else text


MODEL = argument(
    "A model file (.pt or .onnx), or a trial's folder (its best.pt) or URL.",
    parser=trial,
    metavar="MODEL",
)
ARCHITECTURE = argument(
    "A built-in name or a YAML file; or a trial's folder or URL.",
    parser=reference,
    metavar="ARCHITECTURE",
)


@contextmanager
def _as_usage() -> Iterator[None]:
    """Turn a ConfigError into a usage error; for other ValueErrors typer shows the value alone."""
    try:
        yield
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def model_file(path: Path) -> Path:
    """Return `path`, or the best model in it where it is a trial's folder."""
    return path / BEST if path.is_dir() else path
