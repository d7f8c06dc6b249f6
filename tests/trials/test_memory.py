import errno
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from trials.memory import give_back_free_memory, memory_fault

MEBIBYTE = 1 << 20


def resident_mib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 // MEBIBYTE


def test_what_torch_cannot_allocate_on_the_host_is_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError) as fault:
        torch.empty(1 << 60, dtype=torch.uint8)
    reason = memory_fault(fault.value)
    assert reason is not None
    assert "fewer trials at the same time" in reason


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "x")])
def test_a_lack_of_host_memory_has_advice_about_the_host(error: Exception) -> None:
    reason = memory_fault(error) or ""
    assert reason.startswith("out of memory")
    assert "--loader-workers" in reason
    assert "--cache" in reason
    assert "GPU" not in reason


def test_a_lack_of_gpu_memory_has_advice_about_the_gpu() -> None:
    reason = memory_fault(torch.OutOfMemoryError("tried to allocate 12 GiB")) or ""
    assert reason.startswith("out of GPU memory (tried to allocate 12 GiB); ")
    assert "--gpus-per-trial" in reason
    assert "batch_size" in reason
    assert "--loader-workers" not in reason


@pytest.mark.parametrize("error", [RuntimeError("x"), OSError(errno.EIO, "x"), ValueError()])
def test_other_errors_are_no_lack_of_memory(error: Exception) -> None:
    assert memory_fault(error) is None


def test_threads_that_live_side_by_side_give_back_what_they_have_freed() -> None:
    """As a worker's trials do: each thread has an arena, which outlives what it held."""
    over, threads, kept = threading.Event(), [], []

    def trial(freed: threading.Event) -> None:
        images = [np.full(100_000, 1, np.uint8) for _ in range(300)]
        kept.append(np.full(100, 1, np.uint8))  # small, above the images: holds their heap
        del images
        freed.set()
        over.wait(60)

    before = resident_mib()
    for _ in range(6):
        freed = threading.Event()
        threads.append(threading.Thread(target=trial, args=(freed,)))
        threads[-1].start()
        assert freed.wait(60)
    held = resident_mib() - before
    give_back_free_memory()
    left = resident_mib() - before
    over.set()
    for thread in threads:
        thread.join()
    # Of 180 MiB; the rest of the test process may grow meanwhile.
    assert held > 100
    assert left < held / 2, f"{held} MiB before, {left} MiB after giving back"
