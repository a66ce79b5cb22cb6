"""Compiled kernels."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from lirec.geometry import parallel
from lirec.geometry.parallel import kernel, run_split


def double(values):
    for i in range(len(values)):
        values[i] *= 2


def test_kernels_work_where_nothing_can_be_kept(monkeypatch):
    compile_function = numba.njit

    def read_only(*arguments, **settings):
        if settings.get("cache"):
            raise RuntimeError("no locator available")
        return compile_function(*arguments, **settings)

    monkeypatch.setattr(numba, "njit", read_only)
    values = np.arange(3.0)
    kernel(double)(values)
    assert values.tolist() == [0, 2, 4]


@kernel
def count_up(first, last, top, bottom, values):
    for i in range(first, last):
        for row in range(top, bottom):
            values[i, row] += 1


def counted(batch, rows=50):
    values = np.zeros((batch, rows))
    run_split(count_up, batch, rows, values)
    return bool((values == 1).all())


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(parallel, "thread_count", lambda: 2)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_every_row_is_done_once(two_threads, batch):
    assert counted(batch)


def test_many_at_once(two_threads):
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(counted, [1, 3] * 40))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_after_a_fork(two_threads):
    assert counted(1)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(counted, (1,)).get(timeout=30)


def test_what_fails_in_a_thread_fails_here(two_threads):
    def fails(first, last, top, bottom):
        if top > 0:
            raise ValueError("the lower half")

    with pytest.raises(ValueError, match="lower half"):
        run_split(fails, 1, 50)
