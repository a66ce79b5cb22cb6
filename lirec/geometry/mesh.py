"""Triangle meshes: normals and subdivision."""

import numpy as np
import torch

from lirec.geometry.parallel import as_arrays, kernel, run_split


def triangle_normals(vertices: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Normals of triangles, twice as long as the triangle's area; outward for counter-clockwise triangles.

    Args:
        vertices: (B, V, 3).
        triangles: (F, 3) vertex indices.

    Returns:
        (B, F, 3) vectors, differentiable in vertices.
    """
    _check(vertices, triangles)
    a, b, c = vertices[:, triangles.T].unbind(1)
    return torch.linalg.cross(b - a, c - a)


def vertex_normals(vertices: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Unit normals of vertices: the mean of their triangles' normals, weighted by area.

    Args:
        vertices: (B, V, 3).
        triangles: (F, 3) vertex indices.

    Returns:
        (B, V, 3) unit vectors, differentiable in vertices; zero for a vertex without area around it.
    """
    _check(vertices, triangles)
    needs_gradient = torch.is_grad_enabled() and vertices.requires_grad
    if vertices.device.type == "cpu" and vertices.dtype in (torch.float32, torch.float64) and not needs_gradient:
        normals = vertices.new_empty(vertices.shape)
        run_split(_vertex_normals, len(vertices), 1, *as_arrays(vertices, triangles.long(), normals))
        return normals
    faces = triangle_normals(vertices, triangles)
    corners = triangles.long().T.reshape(-1)
    normals = torch.zeros_like(vertices).index_add(1, corners, faces.repeat(1, 3, 1))
    return normals / torch.linalg.vector_norm(normals, dim=-1, keepdim=True).clamp_min(1e-20)


@kernel
def _vertex_normals(first, last, top, bottom, vertices, triangles, normals):
    for i in range(first, last):
        normal = normals[i]
        normal[:] = 0
        vertex = vertices[i]
        for f in range(len(triangles)):
            a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
            x, y, z = vertex[a, 0], vertex[a, 1], vertex[a, 2]
            ux, uy, uz = vertex[b, 0] - x, vertex[b, 1] - y, vertex[b, 2] - z
            vx, vy, vz = vertex[c, 0] - x, vertex[c, 1] - y, vertex[c, 2] - z
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            for corner in (a, b, c):
                normal[corner, 0] += nx
                normal[corner, 1] += ny
                normal[corner, 2] += nz
        for v in range(len(normal)):
            x, y, z = normal[v, 0], normal[v, 1], normal[v, 2]
            scale = 1 / max(np.sqrt(x * x + y * y + z * z), 1e-20)
            normal[v, 0] *= scale
            normal[v, 1] *= scale
            normal[v, 2] *= scale


def _check(vertices: torch.Tensor, triangles: torch.Tensor) -> None:
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise ValueError(f"vertices must be (B, V, 3), but have shape {tuple(vertices.shape)}.")
    if triangles.ndim != 2 or triangles.shape[-1] != 3:
        raise ValueError(f"triangles must be (F, 3), but have shape {tuple(triangles.shape)}.")
