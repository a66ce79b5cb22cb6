import pytest
import torch

from lirec.geometry import euler_to_matrix, intrinsics, project


def test_a_point_on_the_axis_falls_on_the_principal_point():
    K = intrinsics(torch.tensor([300.0]), torch.tensor([[64.0, 48.0]]))
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.1, 0.05, 0.0], [0.0, 0.0, 0.1]]])
    pixels = project(points, euler_to_matrix(torch.zeros(1, 3)), torch.tensor([[0.0, 0.0, 0.5]]), K)
    assert torch.allclose(pixels[0, 0], torch.tensor([64.0, 48.0, 0.5]))
    assert torch.allclose(pixels[0, 1], torch.tensor([64 + 60.0, 48 - 30.0, 0.5]))  # right and up
    assert torch.allclose(pixels[0, 2, 2], torch.tensor(0.4))  # out of the face is nearer


def test_gradients():
    torch.manual_seed(0)
    points = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    angles = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    translation = torch.tensor([[0.0, 0.1, 9.0]] * 2, dtype=torch.float64, requires_grad=True)
    focal = torch.tensor([200.0, 300.0], dtype=torch.float64, requires_grad=True)

    def run(points, angles, translation, focal):
        K = intrinsics(focal, torch.tensor([50.0, 60.0], dtype=torch.float64))
        return project(points, euler_to_matrix(angles), translation, K)

    assert torch.autograd.gradcheck(run, (points, angles, translation, focal))


def test_points_at_and_behind_the_camera_stay_finite():
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.1, 0.0, 1.0]]])
    K = intrinsics(torch.tensor([300.0]), torch.tensor([64.0, 64.0]))
    pixels = project(points, euler_to_matrix(torch.zeros(1, 3)), torch.zeros(1, 3), K)
    assert pixels.isfinite().all() and pixels[0, 1, 2] == -1


def test_autocast_does_not_lower_the_precision():
    points = torch.randn(1, 9, 3)
    pose = euler_to_matrix(torch.ones(1, 3)), torch.tensor([[0.0, 0.0, 9.0]])
    K = intrinsics(torch.tensor([1000.0]), torch.tensor([500.0, 500.0]))
    with torch.autocast("cpu", torch.bfloat16):
        half = project(points, *pose, K)
    assert torch.equal(half, project(points, *pose, K))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="points must be"):
        project(torch.zeros(5, 3), torch.eye(3)[None], torch.zeros(1, 3), torch.eye(3)[None])
    with pytest.raises(ValueError, match="focal must be"):
        intrinsics(torch.tensor(3.0), torch.zeros(2))
