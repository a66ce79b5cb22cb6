"""Values that go on where there are none."""

import torch

from lirec.geometry.filling import spread


def test_known_values_stay_and_the_nearest_go_on():
    weight = torch.zeros(1, 1, 64, 64)
    weight[..., :8], weight[..., -8:] = 1, 1
    values = torch.zeros(1, 2, 64, 64)
    values[:, 0, :, :8], values[:, 1, :, -8:] = 3, 5
    filled = spread(values * weight, weight)
    torch.testing.assert_close(filled * weight, values)
    assert (filled[:, 0, :, 12] > 2.5).all() and (filled[:, 0, :, -12] < 0.5).all()
    assert (filled[:, 1, :, -12] > 4).all()
    assert (filled >= 0).all() and (filled[:, 0] <= 3).all() and (filled[:, 1] <= 5).all()


def test_along_the_rows_first():
    weight = torch.zeros(1, 1, 64, 64)
    weight[..., 28:36] = 1
    height = torch.arange(64.0)[:, None].expand(1, 1, 64, 64)
    filled = spread(height * weight, weight)
    assert (filled[..., 2] - height[..., 2]).abs().mean() < 3  # the colours of its own height, not their mean


def test_nothing_known_gives_nothing():
    assert (spread(torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)) == 0).all()
