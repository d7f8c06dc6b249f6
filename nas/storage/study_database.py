"""Open a database that holds Optuna studies, and recognize its failures."""

import importlib.util
import re
import time
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_CONNECT_S = 10  # drivers wait for minutes where a firewall drops their packets
_TAKES_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb")
_POSTGRES = re.compile(r"^postgres(ql)?://")


def open_database(url: str) -> "BaseStorage":
    """Connect to a database. Raises what Optuna, SQLAlchemy or the driver raises."""
    return _open_redis(url) if url.startswith("redis") else _open_tables(with_driver(url))


def database_error(error: BaseException | None) -> BaseException | None:
    """Return the database's own error behind `error`; None if the cause is something else."""
    found = None
    while error is not None:
        if _is_of_database(error):
            found = error
        error = error.__cause__ or error.__context__
    return found


def is_unreachable(error: BaseException) -> bool:
    """Return whether the server may answer later: it is away, rather than refusing a request."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    cause = database_error(error)
    if type(cause).__module__ == "redis.exceptions":
        return type(cause).__name__ in ("ConnectionError", "TimeoutError", "BusyLoadingError")
    return isinstance(cause, (InterfaceError, OperationalError))


def with_driver(url: str) -> str:
    """Return a `postgresql://` URL with an installed driver: SQLAlchemy's default varies."""
    has_only_old = not _is_installed("psycopg") and _is_installed("psycopg2")
    return _POSTGRES.sub(f"postgresql+psycopg{'2' if has_only_old else ''}://", url)


def _is_of_database(error: BaseException) -> bool:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    is_redis = type(error).__module__ == "redis.exceptions"
    return is_redis or isinstance(error, (StorageInternalError, SQLAlchemyError))


def _open_redis(url: str) -> "BaseStorage":
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalRedisBackend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = JournalStorage(JournalRedisBackend(url))
    storage.get_all_studies()  # the constructor does not connect
    return storage


def _open_tables(url: str) -> "BaseStorage":
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    options = _engine_options(url)
    try:
        return RDBStorage(url, engine_kwargs=options)
    except (IntegrityError, ProgrammingError):  # another search creates the tables right now
        time.sleep(1.0)
        return RDBStorage(url, engine_kwargs=options)


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _engine_options(url: str) -> dict[str, Any]:
    from sqlalchemy.engine import make_url
    from sqlalchemy.pool import NullPool

    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        return {}
    # One connection per call: it is never stale after an outage and never left open.
    options: dict[str, Any] = {"poolclass": NullPool}
    if parts.get_driver_name() in _TAKES_TIMEOUT and "connect_timeout" not in parts.query:
        options["connect_args"] = {"connect_timeout": _CONNECT_S}
    return options
