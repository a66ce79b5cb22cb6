"""Smoothing of motion as it comes in: calm while a face is still, quick when it moves."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation


class OneEuroFilter:
    """The 1€ filter (Casiez, Roussel, Vogel: "1€ Filter", CHI 2012), for each of N values by itself.

    A low-pass filter of first order whose cutoff grows with the speed of the value: `min_cutoff + beta |speed|`.

    Args:
        min_cutoff: Hz, the cutoff at rest. Lower is calmer.
        beta: by how many Hz the cutoff grows with each unit a second. Higher is quicker.
        d_cutoff: Hz, the cutoff of the speed's own low-pass filter.
    """

    def __init__(self, min_cutoff: float, beta: float, d_cutoff: float = 1.0):
        _check_cutoffs(min_cutoff, beta, d_cutoff)
        self.min_cutoff, self.beta, self.d_cutoff = min_cutoff, beta, d_cutoff
        self.reset()

    def reset(self) -> None:
        """Forget the past, as at a cut: the next values come back as they are."""
        self._time, self._value, self._speed = None, None, None

    def filter(self, values: np.ndarray, time: float) -> np.ndarray:
        """Take the values at a time, later than the last one; at no later time the last result comes back.

        Args:
            values: (N,) or any shape that stays the same.
            time: seconds.

        Returns:
            The smoothed values, of the same shape and floating type.
        """
        values = np.asarray(values)
        dtype = values.dtype if np.issubdtype(values.dtype, np.floating) else np.float64
        if self._time is None:
            self._time, self._value, self._speed = time, values.astype(np.float64), np.zeros(values.shape)
        elif time > self._time:
            if values.shape != self._value.shape:
                raise ValueError(f"values must keep the shape {self._value.shape}, not {values.shape}.")
            interval, self._time = time - self._time, time
            change = values - self._value
            self._speed = self._speed + _alpha(self.d_cutoff, interval) * (change / interval - self._speed)
            cutoff = self.min_cutoff + self.beta * np.abs(self._speed)
            self._value = self._value + _alpha(cutoff, interval) * change
        return self._value.astype(dtype)


class RotationFilter:
    """The 1€ filter on rotations: along the shortest turn from the last result, so that no angle ever jumps.

    Args:
        min_cutoff: Hz, the cutoff at rest.
        beta: by how many Hz the cutoff grows with each radian a second.
        d_cutoff: Hz, the cutoff of the angular velocity's own low-pass filter.
    """

    def __init__(self, min_cutoff: float, beta: float, d_cutoff: float = 1.0):
        _check_cutoffs(min_cutoff, beta, d_cutoff)
        self.min_cutoff, self.beta, self.d_cutoff = min_cutoff, beta, d_cutoff
        self.reset()

    def reset(self) -> None:
        """Forget the past, as at a cut: the next rotation comes back as it is."""
        self._time, self._rotation, self._velocity = None, None, np.zeros(3)

    def filter(self, rotation: np.ndarray, time: float) -> np.ndarray:
        """Take the rotation at a time, later than the last one; at no later time the last result comes back.

        Args:
            rotation: (3, 3).
            time: seconds.

        Returns:
            (3, 3), the smoothed rotation, of the same floating type.
        """
        rotation = np.asarray(rotation)
        if rotation.shape != (3, 3):
            raise ValueError(f"rotation must be (3, 3), not {rotation.shape}.")
        dtype = rotation.dtype if np.issubdtype(rotation.dtype, np.floating) else np.float64
        if self._time is None:
            self._time, self._rotation = time, Rotation.from_matrix(rotation)
        elif time > self._time:
            interval, self._time = time - self._time, time
            change = (Rotation.from_matrix(rotation) * self._rotation.inv()).as_rotvec()
            self._velocity = self._velocity + _alpha(self.d_cutoff, interval) * (change / interval - self._velocity)
            cutoff = self.min_cutoff + self.beta * float(np.linalg.norm(self._velocity))
            self._rotation = Rotation.from_rotvec(_alpha(cutoff, interval) * change) * self._rotation
        return self._rotation.as_matrix().astype(dtype)


def _alpha(cutoff, interval: float):
    """How far a first-order low-pass filter goes towards a new value in `interval` seconds, in [0, 1]."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * interval))


def _check_cutoffs(min_cutoff: float, beta: float, d_cutoff: float) -> None:
    if min_cutoff <= 0 or beta < 0 or d_cutoff <= 0:
        raise ValueError(f"Cutoffs must be above 0 and beta not below, not {min_cutoff}, {beta}, {d_cutoff}.")
