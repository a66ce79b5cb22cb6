import pytest
import torch

from lirec.geometry import (
    euler_to_matrix,
    icp,
    point_to_surface_distance,
    rotation_angle,
    similarity_align,
)
from tests.geometry.shapes import sphere


def head() -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth shape without symmetry, in metres."""
    vertices, triangles = sphere(40, 60)
    x, y, z = vertices.unbind(-1)
    vertices = (
        vertices * torch.tensor([0.8, 1.2, 1.0]) * (1 + 3 * z.clamp_min(0) * (x + 0.05) + 2 * y * z)[:, None]
    )
    return vertices, triangles


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("scale", [False, True])
def test_a_similarity_is_found_again(dimensions, scale):
    torch.manual_seed(0)
    source = torch.randn(4, 20, dimensions, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, dimensions, dimensions, dtype=torch.float64))[0]
    rotation[..., 0] *= torch.linalg.det(rotation)[:, None]
    factor = torch.rand(4, dtype=torch.float64) + 0.5 if scale else torch.ones(4, dtype=torch.float64)
    shift = torch.randn(4, dimensions, dtype=torch.float64)
    target = factor[:, None, None] * source @ rotation.mT + shift[:, None]
    found = similarity_align(source, target, scale=scale)
    assert torch.allclose(found.rotation, rotation) and torch.allclose(found.scale, factor)
    assert torch.allclose(found.apply(source), target)
    one = similarity_align(source[0], target[0], scale=scale)
    assert torch.allclose(one.apply(source[0]), target[0])


def test_weights_leave_points_out_and_mirrors_are_refused():
    torch.manual_seed(0)
    source = torch.randn(10, 3)
    target = source + 1
    target[:3] = 9
    weights = torch.ones(10)
    weights[:3] = 0
    found = similarity_align(source, target, weights)
    assert torch.allclose(found.apply(source[3:]), target[3:], atol=1e-5)
    mirrored = similarity_align(source, source * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.allclose(torch.linalg.det(mirrored.rotation), torch.tensor(1.0))


def test_alignment_has_gradients():
    torch.manual_seed(0)
    source = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, t: similarity_align(s, t).apply(s), (source, target))


def test_icp_finds_the_pose_of_a_shape():
    vertices, triangles = head()
    torch.manual_seed(0)
    corners = vertices[triangles[torch.randint(len(triangles), (1500,))]]
    weights = torch.rand(1500, 3, 1)
    points = (corners * weights / weights.sum(1, keepdim=True)).sum(1)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    turn = flip @ euler_to_matrix(torch.tensor([0.1, -0.15, 0.1]))
    moved = (points - 0.01) @ turn
    result = icp(moved, vertices, triangles, iterations=60)
    assert rotation_angle(result.transform.rotation, turn) < 1e-3
    assert torch.allclose(result.transform.apply(moved), points, atol=1e-4)
    assert result.distance.max() < 1e-4 and result.transform.scale == 1 and 1 < result.iterations <= 60


def test_icp_can_leave_out_what_does_not_match():
    vertices, triangles = head()
    points = vertices + 0.003
    points[:200] += 0.05
    result = icp(points, vertices, triangles, iterations=60, keep=0.8)
    assert torch.allclose(result.transform.apply(points)[200:], vertices[200:], atol=2e-3)


def test_distances_to_a_surface_are_exact():
    torch.manual_seed(0)
    vertices, triangles = head()
    points = 0.15 * torch.randn(200, 3)
    # A dense sampling of every triangle bounds the distance from above, and nearly reaches it.
    u, v = torch.meshgrid(torch.linspace(0, 1, 9), torch.linspace(0, 1, 9), indexing="ij")
    inside = u + v <= 1.001
    weights = torch.stack((1 - u - v, u, v), -1)[inside]
    samples = (weights @ vertices[triangles]).reshape(-1, 3)
    sampled = torch.stack([(samples - point).norm(dim=-1).min() for point in points])
    exact = point_to_surface_distance(points, vertices, triangles)
    assert (exact <= sampled + 1e-6).all() and torch.allclose(exact, sampled, atol=2e-3)
    assert point_to_surface_distance(vertices, vertices, triangles).max() < 1e-7


def test_distances_to_a_triangle_beside_large_ones():
    vertices = torch.tensor([[0.0, 0.0, 0.0], [100.0, 0.0, 0.0], [0.0, 100.0, 0.0]])
    vertices = torch.cat((vertices, torch.rand(300, 3) * 0.1 + torch.tensor([1.0, 1.0, 5.0])))
    triangles = torch.cat((torch.tensor([[0, 1, 2]]), 3 + torch.arange(300).reshape(-1, 3)))
    assert torch.allclose(
        point_to_surface_distance(torch.tensor([[1.0, 1.0, 2.0], [-3.0, 50.0, 4.0]]), vertices, triangles),
        torch.tensor([2.0, 5.0]),
    )


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="source and target"):
        similarity_align(torch.zeros(3, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="A surface needs"):
        point_to_surface_distance(torch.zeros(3, 3), torch.zeros(4, 3), torch.zeros(0, 3, dtype=torch.int64))
