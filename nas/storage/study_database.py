"""A database that holds studies: how it is opened, and how a search outlasts its outages."""

import importlib.util
import re
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

PATIENCE_S = 60.0  # a server that is restarted, or whose stand-in takes over
_PAUSE_S = 1.0
_MAKING = 3  # attempts to make the tables
_CONNECT_S = 10  # drivers wait for minutes where a firewall drops what they send
_TAKES_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb")
_POSTGRES = re.compile(r"^postgres(ql)?://")


def open_database(url: str) -> "BaseStorage":
    """Connects. Raises what Optuna, SQLAlchemy or the driver raises."""
    return _open_redis(url) if url.startswith("redis") else _open_tables(_with_driver(url))


def lasting(storage: "BaseStorage") -> "BaseStorage":
    """The same storage, whose calls are repeated for `PATIENCE_S` while its server is away."""
    return cast("BaseStorage", _Lasting(storage))


def cause_of(error: BaseException | None) -> BaseException | None:
    """The database's own error that `error` came from; None if it came from something else."""
    found = None
    while error is not None:
        if _is_of_database(error):
            found = error
        error = error.__cause__ or error.__context__
    return found


def is_outage(error: BaseException) -> bool:
    """Whether the server may answer again: it is away, not at odds with what it was told."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    cause = cause_of(error)
    if type(cause).__module__ == "redis.exceptions":
        return type(cause).__name__ in ("ConnectionError", "TimeoutError", "BusyLoadingError")
    return isinstance(cause, (InterfaceError, OperationalError))


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
    storage.get_all_studies()  # nothing has been asked of the server before
    return storage


def _open_tables(url: str) -> "BaseStorage":
    """Opens Optuna's tables; of two searches that make them at once, one meets the other's."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for _ in range(_MAKING - 1):
        try:
            return RDBStorage(url, engine_kwargs=_engine_options(url))
        except (IntegrityError, ProgrammingError):
            time.sleep(_PAUSE_S)
    return RDBStorage(url, engine_kwargs=_engine_options(url))


class _Lasting:
    """Stands for a storage; see `lasting`."""

    def __init__(self, storage: "BaseStorage") -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._storage, name)
        return lambda *arguments: self._call(method, arguments)

    def _call(self, method: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        from optuna.exceptions import UpdateFinishedTrialError

        deadline, is_repeated = time.monotonic() + PATIENCE_S, False
        while True:
            try:
                return method(*arguments)
            except UpdateFinishedTrialError:
                if is_repeated:  # it was done, only the answer was lost
                    return None
                raise
            except Exception as error:
                if time.monotonic() > deadline or not is_outage(error):
                    raise
            is_repeated = True
            time.sleep(_PAUSE_S)


def _with_driver(url: str) -> str:
    """`postgresql://` with a driver that is installed: SQLAlchemy's choice varies by version."""
    has_only_old = not _is_installed("psycopg") and _is_installed("psycopg2")
    return _POSTGRES.sub(f"postgresql+psycopg{'2' if has_only_old else ''}://", url)


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _engine_options(url: str) -> dict[str, Any]:
    from sqlalchemy.engine import make_url
    from sqlalchemy.pool import NullPool

    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        return {}
    # A connection a call: none is stale after an outage, none stays where nobody closes it.
    options: dict[str, Any] = {"poolclass": NullPool}
    if parts.get_driver_name() in _TAKES_TIMEOUT and "connect_timeout" not in parts.query:
        options["connect_args"] = {"connect_timeout": _CONNECT_S}
    return options
