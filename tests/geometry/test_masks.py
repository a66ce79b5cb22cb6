"""Masks that grow, and lose their gaps or their thin parts."""

import pytest
import torch

from lirec.geometry.masks import closed, grown, masked_mean, opened

SIZE = 50


def box(top, left, bottom, right):
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., top:bottom, left:right] = 1
    return mask


def test_grown_by_a_share_of_the_width():
    torch.testing.assert_close(grown(box(20, 20, 30, 30), 0.06), box(17, 17, 33, 33))


def test_a_picture_too_small_for_a_pixel_stays():
    mask = box(20, 20, 30, 30)[..., :40, :40]
    for change in (grown, closed, opened):
        torch.testing.assert_close(change(mask, 0.01), mask)


@pytest.mark.parametrize(("gap", "stays"), [(5, False), (7, True)])
def test_closed_fills_narrow_gaps_and_leaves_the_outline(gap, stays):
    whole = box(10, 10, 40, 40)
    split = whole - box(10, 20, 40, 20 + gap)
    torch.testing.assert_close(closed(split, 0.06), split if stays else whole)


@pytest.mark.parametrize(("width", "stays"), [(5, False), (7, True)])
def test_opened_removes_narrow_parts_and_leaves_the_outline(width, stays):
    whole = box(10, 10, 40, 30)
    more = torch.maximum(whole, box(20, 30, 20 + width, 45))
    torch.testing.assert_close(opened(more, 0.06), more if stays else whole)


def test_the_edge_of_the_picture_is_neither_gap_nor_thin():
    at_edge = box(0, 0, SIZE, 2)
    for change in (closed, opened):
        torch.testing.assert_close(change(at_edge, 0.06), at_edge)


def test_masked_mean():
    values = torch.arange(SIZE, dtype=torch.float32).expand(1, 1, SIZE, SIZE)
    torch.testing.assert_close(masked_mean(values, box(0, 10, SIZE, 13)), torch.tensor([[11.0]]))
    assert masked_mean(values, box(0, 0, 0, 0)) == 0
