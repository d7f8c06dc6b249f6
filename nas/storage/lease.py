"""One driver for a search in a store: an object that names it, renewed while it lives.

Stores have no locks. A driver writes its claim, waits a little and reads it back: of several
that start at the same time, the last one to write has it and the others see that. It renews
the claim while it runs; one that nobody has renewed for `stale_s` belongs to a dead process
and is taken over. What this cannot exclude: a driver whose write hangs for longer than
`settle_s` while another one starts. It notices at its next renewal, at most `renew_s` later,
and stops before it uploads anything.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nas.storage.object_store import Store
from search_spaces.errors import ScrfdNasError

LOCK = "driver.lock"


class HeldError(ScrfdNasError):
    """Another driver has the search."""

    def __init__(self, who: Mapping[str, Any]) -> None:
        super().__init__("another driver works here")
        self.who = who


class LeaseLostError(ScrfdNasError):
    """Another driver has taken the search over."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds between renewals, until a claim is stale, and to wait before reading it back."""

    renew_s: float = 15.0
    stale_s: float = 90.0
    settle_s: float = 2.0
    look_s: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the object says: the holder's secret, how often it was renewed, who the holder is."""

    token: str
    beat: int
    who: Mapping[str, Any]


def read_claim(store: Store) -> Claim | None:
    """The claim that is there; None if there is none, or a damaged one."""
    content = store.read(LOCK)
    try:
        return None if content is None else Claim(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None


def age_s(store: Store, now: float) -> float:
    """Seconds since the claim was renewed, `now` being in seconds since 1970; large if gone."""
    entry = store.entry(LOCK)
    return float("inf") if entry is None else now - entry.modified / 1e9


class Lease:
    """A claim of this process.

    Args:
        store: of the search.
        who: describes this process, for those who are refused; may be set anew.
        times: see there.

    Attributes:
        token: what tells this claim from others.
    """

    def __init__(self, store: Store, who: Mapping[str, Any], times: Times) -> None:
        self._store, self.who, self._times = store, who, times
        self.token = secrets.token_hex(16)
        self._beat = 0

    def take(self, known_dead: str, note: Callable[[str], None]) -> None:
        """Become the driver.

        Args:
            known_dead: the token of a process that is known to have died; may be empty.
            note: hears why it takes long.

        Raises:
            HeldError: a driver is alive, or another one was faster.
        """
        claim = read_claim(self._store)
        if claim is not None and claim.token != known_dead:
            self._outlive(claim, note)
        self._write()
        time.sleep(self._times.settle_s)
        there = read_claim(self._store)
        if there is None or there.token != self.token:
            raise HeldError(there.who if there else {})

    def confirm(self) -> None:
        """Raise LeaseLostError unless the claim is still ours."""
        there = read_claim(self._store)
        if there is not None and there.token == self.token:
            return
        rule = "the lock was removed" if there is None else f"{described(there.who)} took it over"
        raise LeaseLostError(
            f"{self._store}: {rule} while this driver could not renew it; nothing more is "
            "uploaded from here"
        )

    def renew(self) -> None:
        """Say that we are alive. Raises LeaseLostError: the claim is another's."""
        self.confirm()
        self._beat += 1
        self._write()

    def release(self) -> None:
        """Give the search free."""
        claim = read_claim(self._store)
        if claim is not None and claim.token == self.token:
            self._store.remove(LOCK)

    def _outlive(self, claim: Claim, note: Callable[[str], None]) -> None:
        """Wait until the claim is stale. Raises HeldError: its holder is alive."""
        age = max(age_s(self._store, self._store_time()), 0.0)
        left = self._times.stale_s - age
        if left <= 0:
            return
        note(
            f"{self._store}: {described(claim.who)} worked here less than "
            f"{self._times.stale_s:g} s ago; waiting to see whether it still does"
        )
        end = time.monotonic() + left
        while time.monotonic() < end:
            time.sleep(self._times.look_s)
            now = read_claim(self._store)
            if now is None:
                return
            if (now.token, now.beat) != (claim.token, claim.beat):
                raise HeldError(now.who)

    def _store_time(self) -> float:
        """Seconds since 1970 by the store's own clock: it says when it got a file."""
        probe = f".clock-{self.token}"
        self._store.write(probe, b"")
        entry = self._store.entry(probe)
        self._store.remove(probe)
        return 0.0 if entry is None else entry.modified / 1e9

    def content(self) -> bytes:
        """What the object says."""
        claim = {"token": self.token, "beat": self._beat, "who": dict(self.who)}
        return json.dumps(claim).encode()

    def _write(self) -> None:
        self._store.write(LOCK, self.content())


def described(who: Mapping[str, Any]) -> str:
    """Of a holder, for people."""
    try:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(who["started"])))
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return "another process"
    pid, host, stage = (str(who.get(key, "")) for key in ("pid", "host", "stage"))
    if not all(0 < len(text) < 256 and text.isprintable() for text in (pid, host, stage)):
        return "another process"
    return f"process {pid} on {host} (stage {stage}, since {since})"
