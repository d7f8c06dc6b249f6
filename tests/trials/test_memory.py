"""Lack of memory: which errors mean it, the advice, and memory returned to the system."""

import errno
import os
import platform
import subprocess
import sys

import pytest
import torch

from trials.failure import memory_fault


def test_a_failed_allocation_of_torch_on_the_host_is_recognised() -> None:
    with pytest.raises(RuntimeError) as fault:
        torch.empty(1 << 60, dtype=torch.uint8)
    reason = memory_fault(fault.value)
    assert reason is not None
    assert "fewer trials at the same time" in reason


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "x")])
def test_the_advice_for_host_memory_is_about_the_host(error: Exception) -> None:
    reason = memory_fault(error) or ""
    assert reason.startswith("out of memory")
    assert "--loader-workers" in reason
    assert "--cache" in reason
    assert "GPU" not in reason


def test_the_advice_for_gpu_memory_is_about_the_gpu() -> None:
    reason = memory_fault(torch.OutOfMemoryError("tried to allocate 12 GiB")) or ""
    assert reason.startswith("out of GPU memory (tried to allocate 12 GiB); ")
    assert "--gpus-per-trial" in reason
    assert "batch_size" in reason
    assert "--loader-workers" not in reason


@pytest.mark.parametrize("error", [RuntimeError("x"), OSError(errno.EIO, "x"), ValueError()])
def test_other_errors_are_not_a_lack_of_memory(error: Exception) -> None:
    assert memory_fault(error) is None


def numbers_printed_by(code: str) -> list[int]:
    """Run code in a process with glibc's own settings, which a Ray of this process has changed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    return [int(word) for word in done.stdout.split()]


SIDE_BY_SIDE = """
import threading
from pathlib import Path
import numpy as np
from trials.device import release_free_memory

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


def test_memory_freed_by_several_threads_is_returned_to_the_system() -> None:
    """Trials of a worker run in threads, and glibc keeps an arena for each thread.

    The process is a separate one, since threads of a test process share arenas with others.
    """
    held, left = numbers_printed_by(SIDE_BY_SIDE)
    assert held > 50  # of 180 that were used
    assert left < held / 2, f"{held} MiB before, {left} MiB after the release"


KEPT = """
import ctypes
import resource
from contextlib import nullcontext
from pathlib import Path
import torch
from trials.device import freed_memory_kept

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

for option in -1, -3:  # glibc's thresholds at their start, which it else adjusts by chance
    ctypes.CDLL(None).mallopt(option, 128 << 10)

def touched(context):
    with context:
        for _ in range(5):  # the heap settles
            before = faults()
            maps = [torch.ones(1_000_000) for _ in range(16)]
            del maps
        return faults() - before

torch.ones(1_000_000)
resident = resident_mib()
print(touched(nullcontext()), touched(freed_memory_kept()), resident_mib() - resident)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_freed_memory_is_kept_in_the_block_and_returned_after_it() -> None:
    usual, kept, left_mib = numbers_printed_by(KEPT)
    assert kept < usual / 10  # page faults of 64 MB
    assert left_mib < 32
