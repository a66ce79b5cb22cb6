import math

import numpy as np
import pytest
import torch

from lirec.geometry import euler_to_matrix, rotation_angle
from lirec.processing.smoothing import OneEuroFilter, RotationFilter

RATE = 30


def run(smoother, values, times=None):
    times = np.arange(len(values)) / RATE if times is None else times
    return np.stack([smoother.filter(value, time) for value, time in zip(values, times, strict=True)])


def matrix(angles):
    return euler_to_matrix(torch.as_tensor(angles, dtype=torch.float64)).numpy()


def angle(a, b):
    return rotation_angle(torch.from_numpy(a), torch.from_numpy(b)).numpy()


def test_noise_on_a_still_signal_is_calmed():
    noisy = 0.4 + 0.02 * np.random.default_rng(0).standard_normal((300, 5))
    smooth = run(OneEuroFilter(0.5, 1.0), noisy)[60:]
    assert smooth.std(0).max() < 0.4 * noisy.std()
    assert np.abs(smooth.mean(0) - 0.4).max() < 0.005


def test_a_fast_ramp_lags_little_and_beta_is_why():
    # From 0 to 1 in a fifth of a second, as a mouth opens.
    times = np.arange(30) / 100
    ramp = np.clip(times / 0.2, 0, 1)[:, None]

    def lag(beta):
        smooth = run(OneEuroFilter(1.0, beta), ramp, times)[:, 0]
        reached = np.interp(0.5, smooth[: smooth.argmax() + 1], times[: smooth.argmax() + 1])
        return reached - 0.1

    assert lag(3.0) < 0.04
    assert lag(0.0) > 2 * lag(3.0)


def test_the_first_step_is_the_papers_formula():
    smoother = OneEuroFilter(1.5, 0.7, 2.0)
    assert smoother.filter(np.array([1.0, -1.0]), 10.0).tolist() == [1.0, -1.0]
    interval, change = 0.04, np.array([0.3, -0.6])
    speed = change / interval / (1 + 1 / (2 * math.pi * 2.0 * interval))
    cutoff = 1.5 + 0.7 * np.abs(speed)
    expected = [1.0, -1.0] + change / (1 + 1 / (2 * math.pi * cutoff * interval))
    np.testing.assert_allclose(smoother.filter(np.array([1.3, -1.6]), 10.04), expected)


def test_uneven_times_follow_the_clock_and_not_the_count():
    # One long step decays like many short ones that cover the same time, within the filter's own order.
    fine, coarse = OneEuroFilter(0.3, 0.0), OneEuroFilter(0.3, 0.0)
    for smoother in (fine, coarse):
        smoother.filter(np.zeros(1), 0.0)
    for index in range(10):
        last = fine.filter(np.ones(1), (index + 1) * 0.02)
    assert coarse.filter(np.ones(1), 0.2) == pytest.approx(last, rel=0.2)


@pytest.mark.parametrize("smoother", [OneEuroFilter(0.1, 0.0), RotationFilter(0.1, 0.0)])
def test_after_a_cut_nothing_of_the_past_is_left(smoother):
    first, second = matrix([0, 0, 0]), matrix([0.2, 0.5, 0.1])
    smoother.filter(first, 0.0)
    held = smoother.filter(second, 0.04)
    assert np.abs(held - first).max() < 0.1 * np.abs(second - first).max()
    np.testing.assert_array_equal(smoother.filter(second, 0.04), held)  # time that does not go on
    smoother.reset()
    np.testing.assert_allclose(smoother.filter(second, 0.0), second, atol=1e-12)


def test_types_are_kept_and_inputs_are_not_touched():
    values = np.zeros(3, np.float32)
    smoother = OneEuroFilter(1.0, 0.0)
    result = smoother.filter(values, 0.0)
    result[:] = 5
    assert smoother.filter(values, 0.1).dtype == np.float32
    assert smoother.filter(values, 0.2).tolist() == values.tolist() == [0, 0, 0]
    assert RotationFilter(1.0, 0.0).filter(np.eye(3, dtype=np.float32), 0.0).dtype == np.float32
    with pytest.raises(ValueError, match="shape"):
        smoother.filter(np.zeros(4), 0.3)
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        RotationFilter(1.0, 0.0).filter(np.zeros(3), 0.0)
    for kind in (OneEuroFilter, RotationFilter):
        with pytest.raises(ValueError, match="above 0"):
            kind(0.0, 1.0)


def test_rotation_noise_is_calmed():
    noise = np.random.default_rng(0).standard_normal((300, 3)) * 0.02
    rotations = matrix(np.array([0.1, 0.4, -0.2]) + noise)
    smooth = run(RotationFilter(0.5, 1.0), rotations)
    still = matrix([0.1, 0.4, -0.2])
    assert angle(smooth[60:], still).mean() < 0.4 * angle(rotations[60:], still).mean()
    np.testing.assert_allclose(smooth @ smooth.transpose(0, 2, 1), np.broadcast_to(np.eye(3), smooth.shape), atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_rotation_past_half_a_turn_is_continuous(axis):
    # Two turns about an axis, through ±180° three times.
    turn = np.linspace(0, 4 * np.pi, 240)
    angles = np.zeros((240, 3))
    angles[:, axis] = turn
    rotations = matrix(angles)
    smooth = run(RotationFilter(1.0, 1.0), rotations)
    step = turn[1]
    assert angle(smooth[1:], smooth[:-1]).max() < 1.2 * step  # catching up at the beginning
    assert angle(smooth, rotations).max() < 3 * step


def test_rotations_lag_as_values_do():
    # About one axis both filters are the same.
    turn = np.concatenate([np.zeros(10), np.linspace(0, 0.8, 12), np.full(20, 0.8)])
    angles = np.stack([np.zeros_like(turn), turn, np.zeros_like(turn)], 1)
    smooth = run(RotationFilter(1.0, 2.0), matrix(angles))
    expected = run(OneEuroFilter(1.0, 2.0), angles)
    np.testing.assert_allclose(smooth, matrix(expected), atol=1e-9)
