"""URLs of search directories, and of files and folders below them."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from search_spaces.errors import ConfigError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SECRETS = re.compile(r"key|secret|token|password|signature|\bsas\b", re.IGNORECASE)
_ADVICE = "put them into the environment (AWS_ACCESS_KEY_ID and the like), on every node"


def is_url(text: str) -> bool:
    """Return whether `text` is a URL rather than a path."""
    return _URL.match(text) is not None


def check_url(url: str) -> str:
    """Return the URL without a slash at its end.

    Raises:
        ConfigError: it holds credentials, which files and reports would show, or names no folder.
    """
    try:
        parts = urlsplit(url)
        secret = parts.password
    except ValueError as error:
        raise ConfigError(f"--search-dir is no URL ({error})") from error
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if secret or any(_SECRETS.search(name) for name in names) or _has_key(url):
        raise ConfigError(f"{bare}: a search's URL must not hold credentials; {_ADVICE}")
    names_one = (parts.netloc + parts.path).strip("/") and "//" not in parts.path
    if parts.fragment or not names_one:
        raise ConfigError(f"{bare}: a search's URL is such as s3://BUCKET/FOLDER")
    return _assembled(url.partition("?")[0].rstrip("/"), parts.query)


def absolute(place: str) -> str:
    """Return a checked URL, or a path made absolute. Raises ConfigError (see `check_url`)."""
    return check_url(place) if is_url(place) else str(Path(place).resolve())


def below(url: str, inner: str) -> str:
    """Return the URL of the file or folder `inner` below `url`, with its options after `?`."""
    base, _, query = url.partition("?")
    return _assembled(f"{base}/{inner}" if inner else base, query)


def split(url: str, count: int) -> tuple[str, str]:
    """Return `url` without its last `count` parts, and these parts."""
    base, _, query = url.partition("?")
    parts = base.split("/")
    cut = len(parts) - count
    return _assembled("/".join(parts[:cut]), query), "/".join(parts[cut:])


def name_of(url: str) -> str:
    """Return the last part of the path of a URL."""
    return url.partition("?")[0].rpartition("/")[2]


def _has_key(url: str) -> bool:
    """Return whether the user of a URL is a key, as in S3; in Azure it is the container."""
    return url.startswith(("s3://", "gs://", "gcs://")) and "@" in urlsplit(url).netloc


def _assembled(base: str, query: str) -> str:
    return f"{base}?{query}" if query else base
