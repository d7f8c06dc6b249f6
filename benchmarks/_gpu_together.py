"""Several concurrent trials on one device, as processes, for `gpu.py`."""

import multiprocessing
import os
import queue
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from unittest import mock

from _gpu_steps import architecture_of, make_steps, rate, warm_up

_START_S = 600.0


def _worker(name, precision, options, barrier, results):
    """Run one of several trials: warm up, wait for the others, train."""
    step, _, _ = make_steps(architecture_of(name), precision, options)
    warm_up(step, options)
    barrier.wait(timeout=_START_S)
    results.put(rate(step, options))


def measure_together(name, precision, options, trials):
    """Return the images per second of `trials` concurrent training processes."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(trials), context.Queue()
    values = (name, precision, options, barrier, results)
    processes = [context.Process(target=_worker, args=values) for _ in range(trials)]
    for process in processes:
        process.start()
    try:
        rates = [_next_rate(results, processes) for _ in processes]
    finally:
        for process in processes:
            if process.is_alive() and process.exitcode is None:
                process.join(timeout=10)
            if process.is_alive():
                process.terminate()
    return sum(rates)


def _next_rate(results, processes):
    """Return one result. Raises RuntimeError if a process failed."""
    while True:
        try:
            return results.get(timeout=5)
        except queue.Empty:
            failed = [process.exitcode for process in processes if process.exitcode]
            if failed:
                raise RuntimeError(f"a trial's process ended with code {failed[0]}") from None


@contextmanager
def mps(wanted):
    """Start NVIDIA's Multi-Process Service for the processes of this block, if wanted.

    It has its own folder for sockets and ends with the block. The settings of the GPU are not
    changed.
    """
    if not wanted:
        yield
        return
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        raise RuntimeError("nvidia-cuda-mps-control is not on the PATH")
    with tempfile.TemporaryDirectory(prefix="mps") as folder:
        variables = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        with mock.patch.dict(os.environ, variables):
            subprocess.run([control, "-d"], check=True, capture_output=True, timeout=60)
            try:
                yield
            finally:
                subprocess.run(
                    [control], input="quit\n", text=True, capture_output=True, timeout=60
                )
