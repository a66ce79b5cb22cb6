import pytest
import torch
from torch.nn.functional import normalize

from lirec.geometry import loop_subdivide, triangle_normals, vertex_normals
from tests.geometry.shapes import bumpy_sphere, sphere


def test_normals_of_a_sphere_point_outward():
    vertices, triangles = sphere(40, 60)
    normals = vertex_normals(vertices[None], triangles)[0]
    assert torch.allclose(normals, normalize(vertices, dim=-1), atol=0.02)
    outward = triangle_normals(vertices[None], triangles)[0] * vertices[triangles].mean(1)
    assert (outward.sum(-1) > 0).all()


def test_both_ways_of_computing_normals_agree():
    vertices, triangles = bumpy_sphere(20, 30, batch=3)
    plain = vertex_normals(vertices.clone().requires_grad_(), triangles).detach()
    assert torch.allclose(vertex_normals(vertices, triangles), plain, atol=1e-5)


def test_triangles_are_twice_their_area():
    vertices = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]])
    normals = triangle_normals(vertices, torch.tensor([[0, 1, 2]]))
    assert torch.equal(normals, torch.tensor([[[0.0, 0.0, 6.0]]]))


def test_a_vertex_without_triangles_has_a_zero_normal():
    vertices = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]]])
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 2]]))
    assert torch.equal(normals[0, 3], torch.zeros(3))


def test_gradients():
    vertices, triangles = bumpy_sphere(4, 5, batch=2)
    vertices = vertices.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: triangle_normals(v, triangles), vertices)
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, triangles), vertices)


def test_subdivision_of_a_closed_mesh():
    vertices, triangles = sphere(8, 12)
    finer, matrix = loop_subdivide(triangles, len(vertices))
    edges = len(triangles) * 3 // 2
    assert finer.shape == (4 * len(triangles), 3) and matrix.shape == (len(vertices) + edges, len(vertices))
    assert torch.allclose((matrix @ torch.ones(len(vertices), 1)), torch.ones(len(vertices) + edges, 1))
    smooth = matrix @ vertices
    assert smooth.norm(dim=-1).std() < vertices.norm(dim=-1).mean() * 0.05
    outward = triangle_normals(smooth[None], finer)[0] * smooth[finer].mean(1)
    assert (outward.sum(-1) > 0).all()


def test_subdivision_weights_of_a_regular_vertex():
    ring = torch.arange(6)
    triangles = torch.stack((torch.full((6,), 6), ring, (ring + 1) % 6), -1)
    finer, matrix = loop_subdivide(triangles, 7)
    matrix = matrix.to_dense()
    assert torch.allclose(matrix[6], torch.tensor([1 / 16] * 6 + [10 / 16]))  # six neighbours
    assert torch.allclose(matrix[0], torch.tensor([3 / 4, 1 / 8, 0, 0, 0, 1 / 8, 0]))  # on the border
    weights, counts = matrix[7:].unique(return_counts=True)
    assert torch.equal(weights, torch.tensor([0, 1 / 8, 3 / 8, 1 / 2]))
    assert counts[1:].tolist() == [12, 12, 12]
    assert finer.max() == 18


def test_a_flat_grid_stays_flat_and_keeps_its_corners():
    y, x = torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
    vertices = torch.stack((x, y), -1).reshape(-1, 2).float()
    corner = (torch.arange(3)[:, None] * 5 + torch.arange(4)).reshape(-1)
    triangles = torch.cat(
        (
            torch.stack((corner, corner + 1, corner + 5), -1),
            torch.stack((corner + 1, corner + 6, corner + 5), -1),
        )
    )
    finer, matrix = loop_subdivide(triangles, len(vertices))
    flat = torch.cat((matrix @ vertices, torch.zeros(matrix.shape[0], 1)), -1)
    assert (triangle_normals(flat[None], finer)[0, :, 2] > 0).all()


def test_indices_out_of_range_are_named():
    with pytest.raises(ValueError, match="indices from 0 to 2"):
        vertex_normals(torch.zeros(1, 3, 3), torch.tensor([[0, 1, 3]]))
    with pytest.raises(ValueError, match="indices from 0 to 2"):
        loop_subdivide(torch.tensor([[0, 1, 3]]), 3)
