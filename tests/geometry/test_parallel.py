"""Compiled kernels."""

import numba
import numpy as np

from lirec.geometry.parallel import kernel


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
