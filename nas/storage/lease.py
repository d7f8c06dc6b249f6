"""Lease on a search in an object store: an object that names the driver, renewed while it runs.

pyarrow's filesystems have neither locks nor conditional writes. A driver therefore writes its
claim, waits for `settle_s` and reads it back: of several that start at the same time, the last
one to write holds the lease and the others are refused. The holder renews its claim; one that
has not been renewed for `stale_s` belongs to a dead process and is taken over. One case is not
excluded: a driver whose write takes longer than `settle_s` while another one starts. The other
one notices at its next renewal, at most `renew_s` later, and stops before it uploads anything.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nas.storage.driver_lock import Driver, busy, driver_from
from nas.storage.object_store import Store
from search_spaces.errors import ScrfdNasError

LOCK = "driver.lock"


class LeaseLostError(ScrfdNasError):
    """Another driver has taken the search over."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Periods of a lease in seconds.

    Attributes:
        renew_s: between two renewals.
        stale_s: after which a claim that is not renewed is stale.
        settle_s: between writing a claim and reading it back.
        look_s: between two looks at the claim of another driver.
    """

    renew_s: float = 15.0
    stale_s: float = 90.0
    settle_s: float = 2.0
    look_s: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Content of the object: the holder's secret, the number of renewals, and the holder."""

    token: str
    beat: int
    who: Mapping[str, Any]

    @property
    def driver(self) -> Driver | None:
        """The holder; None if its description is damaged."""
        return driver_from(self.who)


def read_claim(store: Store) -> Claim | None:
    """Return the claim in the store; None if there is none, or a damaged one."""
    content = store.read(LOCK)
    try:
        return None if content is None else Claim(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None


def claim_age_s(store: Store, now: float) -> float:
    """Return the seconds since the last renewal, with `now` in seconds since 1970.

    The age of a claim that does not exist is infinite.
    """
    entry = store.entry(LOCK)
    return float("inf") if entry is None else now - entry.modified / 1e9


class Lease:
    """A claim of this process.

    Args:
        store: the files of the search.
        driver: describes this process to others.
        times: periods.

    Attributes:
        token: identifies this claim.
    """

    def __init__(self, store: Store, driver: Driver, times: Times) -> None:
        self._store, self._driver, self._times = store, driver, times
        self.token = secrets.token_hex(16)
        self._beat = 0

    def take(self, known_dead: str, note: Callable[[str], None]) -> None:
        """Become the holder.

        Args:
            known_dead: token of a process that is known to have died; may be empty.
            note: called with the reason for a long wait.

        Raises:
            BusyError: the holder is alive, or another process was faster.
        """
        claim = read_claim(self._store)
        if claim is not None and claim.token != known_dead:
            self._wait_until_stale(claim, note)
        self._write()
        time.sleep(self._times.settle_s)
        found = read_claim(self._store)
        if found is None or found.token != self.token:
            raise busy(self._store, found.driver if found else None)

    def confirm(self) -> None:
        """Raise LeaseLostError unless this process still holds the lease."""
        found = read_claim(self._store)
        if found is not None and found.token == self.token:
            return
        rule = "the lock was removed"
        if found is not None:
            rule = f"{found.driver or 'another process'} took it over"
        raise LeaseLostError(
            f"{self._store}: {rule} while this driver could not renew it; nothing more is "
            "uploaded from here"
        )

    def renew(self) -> None:
        """Renew the claim. Raises LeaseLostError: another process holds the lease."""
        self.confirm()
        self._beat += 1
        self._write()

    def release(self) -> None:
        """Remove the claim, if this process still holds the lease."""
        claim = read_claim(self._store)
        if claim is not None and claim.token == self.token:
            self._store.remove(LOCK)

    def content(self) -> bytes:
        """Return the content of the object."""
        claim = {"token": self.token, "beat": self._beat, "who": asdict(self._driver)}
        return json.dumps(claim).encode()

    def _wait_until_stale(self, claim: Claim, note: Callable[[str], None]) -> None:
        """Wait until a claim is stale. Raises BusyError: its holder renews it."""
        age = max(claim_age_s(self._store, self._store_time()), 0.0)
        left = self._times.stale_s - age
        if left <= 0:
            return
        note(
            f"{self._store}: {claim.driver or 'another process'} worked here less than "
            f"{self._times.stale_s:g} s ago; waiting to see whether it still does"
        )
        end = time.monotonic() + left
        while time.monotonic() < end:
            time.sleep(self._times.look_s)
            now = read_claim(self._store)
            if now is None:
                return
            if (now.token, now.beat) != (claim.token, claim.beat):
                raise busy(self._store, now.driver)

    def _store_time(self) -> float:
        """Return the store's clock in seconds since 1970, from the time of a new file."""
        probe = f".clock-{self.token}"
        self._store.write(probe, b"")
        entry = self._store.entry(probe)
        self._store.remove(probe)
        return 0.0 if entry is None else entry.modified / 1e9

    def _write(self) -> None:
        self._store.write(LOCK, self.content())
