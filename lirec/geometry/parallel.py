"""Compiled kernels, run over parts of a batch or of a picture on several threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba
import numpy as np
import torch

# All of fastmath but the promise that numbers are finite: points at infinity must fail comparisons.
FASTMATH = {"contract", "reassoc", "arcp", "nsz"}


def kernel(function: Callable) -> Callable:
    """Compile a function of arrays at its first call, and keep the result where a folder can be written."""
    compiled = {"fastmath": FASTMATH, "nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **compiled)(function)
    except RuntimeError:  # neither the package's folder nor the home can be written
        return numba.njit(**compiled)(function)


def thread_count() -> int:
    """The threads that a kernel may use: what torch and `NUMBA_NUM_THREADS` both allow."""
    return max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))


def run_split(function: Callable, batch: int, rows: int, *arguments) -> None:
    """Call `function(first, last, top, bottom, *arguments)` for all of a batch's rows.

    With one thread this is one plain call. With more, whole pictures are shared out where there are enough of
    them, else bands of rows. The threads are Python's: numba's own abort the process when two Python threads use them
    at once or when it forks, as servers and data loaders do.

    Args:
        function: a `kernel`, or another function that releases the GIL.
        batch: pictures in the batch.
        rows: rows a picture.
        arguments: handed on to it.
    """
    threads = min(thread_count(), max(batch, rows))
    if threads == 1:
        function(0, batch, 0, rows, *arguments)
        return
    if batch >= threads:
        parts = [(batch * i // threads, batch * (i + 1) // threads, 0, rows) for i in range(threads)]
    else:
        parts = [(0, batch, rows * i // threads, rows * (i + 1) // threads) for i in range(threads)]
    others = [_helpers(threads - 1).submit(function, *part, *arguments) for part in parts[1:]]
    function(*parts[0], *arguments)
    for other in others:
        other.result()


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    """Threads that stay: to start one takes as long as many a kernel does."""
    return ThreadPoolExecutor(count, thread_name_prefix="kernel")


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads stay behind in the parent


def as_arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    """Tensors as contiguous arrays for a kernel; those that are contiguous already share their memory."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
