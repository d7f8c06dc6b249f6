"""One driver for a search in a store without locks."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nas.storage.driver_lock import BusyError, Driver, driver_from
from nas.storage.lease import LOCK, Lease, LeaseLostError, Times, read_claim
from nas.storage.object_store import Store

TIMES = Times(renew_s=0.05, stale_s=0.6, settle_s=0.05, look_s=0.02)
EAST = Driver(pid=7, host="east", stage=1, started=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/run", patience_s=0.0)


def lease(store: Store, host: str = "west") -> Lease:
    return Lease(store, replace(EAST, host=host), TIMES)


def take(wanted: Lease, known_dead: str = "") -> list[str]:
    """Take a lease, and return the lines that were logged."""
    lines: list[str] = []
    wanted.take(known_dead, lines.append)
    return lines


def test_lease_is_taken_renewed_and_released(store: Store) -> None:
    held = lease(store)
    assert take(held) == []
    held.renew()
    claim = read_claim(store)
    assert claim is not None
    assert (claim.token, claim.beat, claim.driver and claim.driver.host) == (held.token, 1, "west")
    held.release()
    assert list(store.list()) == []


def test_driver_that_renews_keeps_its_lease(store: Store) -> None:
    first, stop = lease(store, "east"), threading.Event()
    take(first)

    def live() -> None:
        while not stop.wait(TIMES.renew_s):
            first.renew()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(BusyError, match=r"run: process 7 on east \(stage 1, since 19"):
            take(lease(store))
    finally:
        stop.set()
        thread.join()
    first.confirm()


def test_stale_lease_is_taken_over_after_a_wait(store: Store) -> None:
    dead, heir = lease(store, "east"), lease(store)
    take(dead)
    started = time.monotonic()
    lines = take(heir)
    assert time.monotonic() - started > 0.3
    assert "process 7 on east" in lines[0]
    heir.confirm()
    with pytest.raises(LeaseLostError, match="process 7 on west"):
        dead.renew()


@pytest.mark.parametrize(("age_s", "is_waited_for"), [(60.0, False), (-3600.0, True)])
def test_lease_of_long_ago_is_taken_over_at_once_and_one_of_the_future_after_a_wait(
    store: Store, tmp_path: Path, age_s: float, is_waited_for: bool
) -> None:
    take(lease(store, "east"))
    when = time.time() - age_s
    os.utime(tmp_path / "run" / LOCK, (when, when))
    lines = take(lease(store))
    assert len(lines) == is_waited_for
    assert all("process 7 on east" in line for line in lines)


def test_one_of_several_simultaneous_drivers_wins(store: Store) -> None:
    patient = replace(TIMES, settle_s=0.5, stale_s=30.0)
    contestants = [Lease(store, replace(EAST, host=name), patient) for name in "abc"]
    results: dict[int, bool] = {}
    store.list()  # connects
    start = threading.Barrier(len(contestants))

    def compete(number: int) -> None:
        start.wait()
        try:
            contestants[number].take("", lambda text: None)
            for _ in range(20):  # a late contestant sees the renewals
                contestants[number].renew()
                time.sleep(0.05)
        except BusyError:
            results[number] = False
        else:
            results[number] = True

    threads = [threading.Thread(target=compete, args=(n,)) for n in range(len(contestants))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results.values()) == [False, False, True]


def test_removed_lock_loses_the_lease(store: Store) -> None:
    held = lease(store)
    take(held)
    store.remove(LOCK)
    with pytest.raises(LeaseLostError, match="removed"):
        held.renew()
    assert store.read(LOCK) is None


def test_lease_of_a_dead_process_is_taken_over_at_once_and_not_released_by_it(
    store: Store,
) -> None:
    first, second = lease(store, "east"), lease(store)
    take(first)
    assert take(second, known_dead=first.token) == []
    first.release()
    second.confirm()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"token": 1}', b"\xff", b"[" * 100_000, b'{"who":' * 9999]
)
def test_damaged_lock_counts_as_none(store: Store, content: bytes) -> None:
    store.write(LOCK, content)
    assert read_claim(store) is None
    held = lease(store)
    assert take(held) == []
    held.confirm()


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": "1"},
        {"pid": -1},
        {"stage": 1.5},
        {"started": None},
        {"started": "x"},
        {"started": 1e300},
        {"host": 3},
        {"host": ""},
        {"host": "\x1b[2Jeast"},  # would clear the terminal
        {"host": "e" * 1000},
        {"unknown": 1},
    ],
)
def test_damaged_description_is_no_driver(changes: dict[str, object]) -> None:
    values: dict[str, object] = {"pid": 9, "host": "east", "stage": 1, "started": 0.0}
    assert driver_from(values) == Driver(pid=9, host="east", stage=1, started=0.0)
    assert driver_from(values | changes) is None
