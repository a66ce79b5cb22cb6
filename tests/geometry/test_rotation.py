import math

import pytest
import torch

from lirec.geometry import euler_to_matrix, matrix_to_euler, rotation_angle


def test_euler_angles_come_back():
    angles = (torch.rand(500, 3, dtype=torch.float64) * 2 - 1) * torch.tensor([1.55, 3.1, 3.1])
    matrices = euler_to_matrix(angles)
    assert torch.allclose(matrix_to_euler(matrices), angles, atol=1e-7)
    assert torch.allclose(matrices @ matrices.mT, torch.eye(3, dtype=torch.float64).expand(500, 3, 3))
    assert torch.allclose(torch.linalg.det(matrices), torch.ones(500, dtype=torch.float64))


def test_looking_straight_up_or_down_still_gives_the_same_rotation():
    angles = torch.tensor([[math.pi / 2, 0.4, 0.3], [-math.pi / 2, -0.7, 0.2]], dtype=torch.float64)
    matrices = euler_to_matrix(angles)
    again = matrix_to_euler(matrices)
    assert torch.equal(again[:, 2], torch.zeros(2, dtype=torch.float64))
    assert torch.allclose(euler_to_matrix(again), matrices, atol=1e-7)


@pytest.mark.parametrize(
    ("angles", "nose"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, -1.0)),  # towards the camera
        ((0.0, 0.5, 0.0), (math.sin(0.5), 0.0, -math.cos(0.5))),  # to the picture's right
        ((0.5, 0.0, 0.0), (0.0, math.sin(0.5), -math.cos(0.5))),  # down
    ],
)
def test_where_the_nose_goes(angles, nose):
    matrix = euler_to_matrix(torch.tensor(angles))
    assert torch.allclose(matrix @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor(nose), atol=1e-6)


def test_roll_turns_the_head_counter_clockwise():
    top = euler_to_matrix(torch.tensor([0.0, 0.0, 0.3])) @ torch.tensor([0.0, 1.0, 0.0])
    assert top[0] < 0 and top[1] < 0  # the top of the head goes to the left of straight up


def test_angle_between_rotations():
    base = euler_to_matrix(torch.randn(4, 3, dtype=torch.float64))
    for angle in (1e-9, 0.3, 3.0, math.pi):
        turn = euler_to_matrix(torch.tensor([0.0, 0.0, angle], dtype=torch.float64))
        turn = turn @ euler_to_matrix(torch.zeros(3, dtype=torch.float64)).mT
        expected = torch.full((4,), angle, dtype=torch.float64)
        assert torch.allclose(rotation_angle(turn @ base, base), expected, rtol=1e-6, atol=1e-12)


def test_gradients():
    angles = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    other = euler_to_matrix(torch.randn(3, 3, dtype=torch.float64))
    assert torch.autograd.gradcheck(euler_to_matrix, angles)
    assert torch.autograd.gradcheck(lambda a: matrix_to_euler(euler_to_matrix(a)), angles)
    assert torch.autograd.gradcheck(lambda a: rotation_angle(euler_to_matrix(a), other), angles)


def test_same_rotation_has_finite_gradients():
    angles = torch.zeros(1, 3, requires_grad=True)
    rotation_angle(euler_to_matrix(angles), euler_to_matrix(torch.zeros(1, 3))).sum().backward()
    assert angles.grad.isfinite().all()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="pitch, yaw, roll"):
        euler_to_matrix(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        matrix_to_euler(torch.zeros(2, 3))
