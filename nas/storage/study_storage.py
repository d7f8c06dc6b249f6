"""Location of a search's Optuna studies: a journal file of its own, or a database (`--storage`).

Searches share a database, so a study's name there begins with the search's name
(`scrfdgen2.5g-1f0c9a3e/stage1`). In either case the trials' folders are the source of truth.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from nas.storage.study_database import database_error, is_unreachable, open_database
from search_spaces.errors import ConfigError, ScrfdNasError, first_line

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

JOURNAL = "journal"
_SQLITE = "sqlite:///"
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_INSTALL = {"psycopg": "'scrfd-nas[postgres]'"}  # what to install, by the missing module
_AWAY = "see that it runs, can be reached from here, and knows this user, password and database"
_ADVICE = "--storage is `journal` or a URL as Optuna takes it, such as postgresql://me@host/optuna"


@dataclass(frozen=True, kw_only=True)
class StudyPlace:
    """Location of the studies of one search.

    Attributes:
        journal: the journal file, used where there is no `url`.
        url: a database; `$NAME` and `${NAME}` stand for environment variables.
        search: prefix of the names of its studies in a database.
    """

    journal: Path
    url: str | None = None
    search: str | None = None

    def study_name(self, stage: int) -> str:
        """Return the name of a stage's study."""
        return f"{self.search}/stage{stage}" if self.url and self.search else f"stage{stage}"

    def database(self) -> "BaseStorage":
        """Connect to `url`.

        Raises:
            ConfigError: a variable is not set, a driver is missing, or the server does not answer.
        """
        url = expanded(str(self.url))
        try:
            return open_database(url)
        except ImportError as error:
            # Optuna replaces the driver's own error, which names the package.
            missing = getattr(error.__context__, "name", None) or error.name or "of its driver"
            rule = f"--storage {self.url} needs the package {missing}, which is not installed"
            raise ConfigError(f"{rule}: pip install {_INSTALL.get(missing, missing)}") from error
        except Exception as error:  # every database has its own errors
            hint = _AWAY if is_unreachable(error) else _ADVICE
            raise ConfigError(f"--storage {self.url}: {first_line(error)}; {hint}") from error

    def check(self) -> None:
        """Connect once to the database, if there is one. Raises ConfigError (see `database`)."""
        if self.url is not None:
            self.database()

    def exists(self) -> bool:
        """Return False if a look at the files shows that there are no studies yet."""
        if self.url is None:
            return self.journal.is_file()
        path = _sqlite_path(self.url)
        return path is None or path.is_file()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn a failure of the database in the block into one line.

        Raises:
            ConfigError: the database has failed.
        """
        try:
            yield
        except Exception as error:
            cause = database_error(error) if self.url else None
            if cause is None or isinstance(error, ScrfdNasError):
                raise
            raise ConfigError(f"--storage {self.url}: {first_line(cause)}; {_AWAY}") from error


def check_storage(storage: object) -> str:
    """Return `storage` if it may stand in `search.yaml`: `journal` or a URL without a password.

    Raises:
        ConfigError: it is neither.
    """
    if storage == JOURNAL:
        return JOURNAL
    if not isinstance(storage, str) or "://" not in storage:
        raise ConfigError(f"{_ADVICE}, got {storage!r}")
    try:
        password = urlsplit(storage).password
    except ValueError as error:
        raise ConfigError(f"{_ADVICE}, got {storage!r} ({error})") from error
    if password and "$" not in password:
        raise ConfigError(
            "--storage must not hold a password, which search.yaml and reports would show; put "
            "it into a variable and write the URL in single quotes as "
            "'postgresql://me:${DB_PASSWORD}@host/optuna'"
        )
    return storage


def absolute_storage(storage: str) -> str:
    """Return a SQLite URL with the absolute path of its file, and any other storage unchanged."""
    path = _sqlite_path(storage)
    is_kept = path is None or path.is_absolute() or str(path).startswith("$")
    return storage if path is None or is_kept else f"{_SQLITE}{path.resolve()}"


def search_name(root: Path) -> str:
    """Return the prefix of study names: the directory's name and a hash of its absolute path."""
    path = root.resolve()
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return f"{_NOT_IN_NAMES.sub('_', path.name)}-{digest}"


def expanded(url: str) -> str:
    """Return the URL with environment variables replaced; a password may hold any characters.

    Raises:
        ConfigError: a variable is not set.
    """
    try:
        secret, plain = urlsplit(url).password, url
        if secret:
            value = quote(Template(secret).substitute(os.environ), safe="")
            plain = url.replace(f":{secret}@", f":{value}@", 1)
        return Template(plain).substitute(os.environ)
    except KeyError as error:
        raise ConfigError(f"--storage {url}: the variable {error.args[0]} is not set") from error
    except ValueError as error:
        raise ConfigError(f"--storage {url}: {error}; write $$ for a dollar sign") from error


def _sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for other databases."""
    if not url.startswith(_SQLITE):
        return None
    return Path(url[len(_SQLITE) :].partition("?")[0])
