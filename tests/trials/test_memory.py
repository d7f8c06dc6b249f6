import errno
import subprocess
import sys

import pytest
import torch

from trials.memory import memory_fault


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


SIDE_BY_SIDE = """
import threading
from pathlib import Path
import numpy as np
from trials.memory import release_free_memory

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

over, kept, threads = threading.Event(), [], []

def trial(freed):
    images = [np.full(100_000, 1, np.uint8) for _ in range(300)]
    kept.append(np.full(100, 1, np.uint8))  # small, above the images: holds their heap
    del images
    freed.set()
    over.wait(60)

before = resident_mib()
for _ in range(6):
    threads.append(threading.Thread(target=trial, args=(freed := threading.Event(),)))
    threads[-1].start()
    assert freed.wait(60)
held = resident_mib() - before
release_free_memory()
print(held, resident_mib() - before)
over.set()
"""


def test_threads_that_live_side_by_side_give_back_what_they_have_freed() -> None:
    """As a worker's trials do: each thread has an arena, which outlives what it held.

    In a process of its own: the threads of a test process share arenas with many others.
    """
    command = [sys.executable, "-c", SIDE_BY_SIDE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    held, left = map(int, done.stdout.split())
    assert held > 50  # of 180 that were used
    assert left < held / 2, f"{held} MiB before, {left} MiB after giving back"
