"""Landmarks drawn in batches, and their frames."""

import math

import pytest
import torch

from lirec.geometry import euler_to_matrix, intrinsics, project
from lirec.geometry.landmarks import (
    PARTS,
    Frame,
    box_normalised,
    draw_landmark_lines,
)


@pytest.fixture(scope="module")
def points(morphable_model):
    """A face that looks into the camera, one with its nose to the right by 70 degrees, and one rolled: in 1."""
    angles = torch.tensor([[0.0, 0.0, 0.0], [0.0, 70.0, 0.0], [0.0, 0.0, 60.0]]) * (math.pi / 180)
    vertices = morphable_model(torch.zeros(3, 80), torch.zeros(3, 51))
    camera = intrinsics(torch.full((3,), 3.0), torch.tensor([0.5, 0.5]))
    translation = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, 3)
    return morphable_model.landmarks(project(vertices, euler_to_matrix(angles), translation, camera), angles)


def test_a_batch_is_drawn_as_each_alone_and_parts_can_be_left_out(points):
    together = draw_landmark_lines(points * 64, (64, 48))
    assert together.shape == (3, 3, 64, 48) and together.min() >= 0 and together.max() <= 1
    torch.testing.assert_close(together[1:2], draw_landmark_lines(points[1:2] * 64, (64, 48)))
    shown = torch.ones(3, len(PARTS))
    shown[0, :] = 0
    shown[1, 1:] = 0
    some = draw_landmark_lines(points * 64, (64, 48), shown)
    assert some[0].max() == 0 and torch.equal(some[2], together[2])
    assert torch.equal(some[1, 0], some[1, 2]) and some[1].max() > 0.9  # the white jaw alone


def test_drawing_tells_where_points_should_go(points):
    """The derivative of the picture's difference leads a shifted face back."""
    wanted = draw_landmark_lines(points[:1] * 32, 32, width=4)
    shift = torch.tensor([1.0, -0.7], requires_grad=True)
    difference = (draw_landmark_lines(points[:1] * 32 + shift, 32, width=4) - wanted).square().sum()
    difference.backward()
    assert shift.grad[0] > 0 > shift.grad[1]


def test_frames(points):
    frame, other = Frame.of(points), Frame.of(points.roll(1, 0))
    inside = frame.enter(points)
    assert (inside.abs().amax((1, 2)) - 0.5).abs().max() < 1e-5
    torch.testing.assert_close(frame.leave(inside), points)
    torch.testing.assert_close(box_normalised(points * 7 - 3), inside, atol=1e-5, rtol=0)
    moved = frame.moved(frame.placement(other))
    torch.testing.assert_close(moved.centre, other.centre)
    torch.testing.assert_close(moved.side, other.side)


def test_other_points_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 68, 2\)"):
        draw_landmark_lines(torch.zeros(68, 2), 8)
