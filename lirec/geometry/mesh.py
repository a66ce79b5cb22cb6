"""Triangle meshes: grids, normals and subdivision."""

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
    check_mesh(vertices, triangles)
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
    check_mesh(vertices, triangles)
    needs_gradient = torch.is_grad_enabled() and vertices.requires_grad
    if vertices.device.type == "cpu" and not needs_gradient:
        normals = vertices.new_empty(vertices.shape)
        run_split(_vertex_normals, len(vertices), 1, *as_arrays(vertices, triangles.long(), normals))
        return normals
    faces = triangle_normals(vertices, triangles)
    corners = triangles.long().T.reshape(-1)
    normals = torch.zeros_like(vertices).index_add(1, corners, faces.repeat(1, 3, 1))
    return normals / torch.linalg.vector_norm(normals, dim=-1, keepdim=True).clamp_min(1e-20)


def loop_subdivide(triangles: torch.Tensor, vertex_count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of Loop subdivision, with Warren's weights.

    Each triangle becomes four. Old vertices keep their indices and new ones, one an edge, come after them.
    Edges that do not have two triangles are smoothed along the border only; vertices where borders cross or
    end stay put.

    Args:
        triangles: (F, 3) vertex indices.
        vertex_count: V, the mesh's number of vertices.

    Returns:
        (4F, 3) triangles, and a sparse float32 matrix (W, V): `matrix @ attributes` are the new mesh's
        attributes, for attributes (V, C) of any kind.
    """
    check_triangles(triangles.cpu(), vertex_count)
    corners = triangles.cpu().long().numpy()
    # Half edge i of a triangle leads from corner i to the next one and lies opposite the one after.
    half_edges = np.stack((corners, np.roll(corners, -1, 1)), -1).reshape(-1, 2)
    opposite = np.roll(corners, -2, 1).reshape(-1)
    edges, edge_of, uses = np.unique(np.sort(half_edges, 1), axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.reshape(-1)
    inner, border = uses == 2, uses != 2

    numbers = np.arange(len(edges))
    inner_halves = inner[edge_of]
    entries = [  # (row, column, weight) of the new vertices
        (
            np.repeat(vertex_count + numbers, 2),
            edges.reshape(-1),
            np.repeat(np.where(inner, 3 / 8, 1 / 2), 2),
        ),
        (vertex_count + edge_of[inner_halves], opposite[inner_halves], np.full(inner_halves.sum(), 1 / 8)),
    ]
    both_ways = np.concatenate((edges, edges[:, ::-1]))
    is_border = np.concatenate((border, border))
    neighbours = np.bincount(both_ways[:, 0], minlength=vertex_count)
    border_neighbours = np.bincount(both_ways[is_border, 0], minlength=vertex_count)
    smooth = (border_neighbours == 0) & (neighbours > 0)
    on_border = border_neighbours == 2
    beta = np.where(neighbours == 3, 3 / 16, 3 / (8 * np.maximum(neighbours, 1)))
    start, end = both_ways.T
    from_smooth, along_border = smooth[start], on_border[start] & is_border
    own = np.where(smooth, 1 - neighbours * beta, np.where(on_border, 3 / 4, 1))
    entries += [  # and of the old ones
        (np.arange(vertex_count), np.arange(vertex_count), own),
        (start[from_smooth], end[from_smooth], beta[start[from_smooth]]),
        (start[along_border], end[along_border], np.full(along_border.sum(), 1 / 8)),
    ]
    rows, columns, weights = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack((rows, columns))),
        torch.from_numpy(weights.astype(np.float32)),
        (vertex_count + len(edges), vertex_count),
        device=triangles.device,
        check_invariants=False,
    ).coalesce()

    middle = vertex_count + edge_of.reshape(-1, 3)
    (a, b, c), (ab, bc, ca) = corners.T, middle.T
    finer = np.stack(((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)), 0)  # (4, 3, F)
    finer = finer.transpose(2, 0, 1).reshape(-1, 3)
    return torch.from_numpy(np.ascontiguousarray(finer)).to(triangles), matrix


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


def check_mesh(vertices: torch.Tensor, triangles: torch.Tensor) -> None:
    """Raise ValueError unless vertices are (B, V, 3) and triangles (F, 3) point to them."""
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise ValueError(f"vertices must be (B, V, 3), but have shape {tuple(vertices.shape)}.")
    check_triangles(triangles, vertices.shape[1])


def check_triangles(triangles: torch.Tensor, count: int) -> None:
    """Raise ValueError unless triangles are (F, 3) indices below count.

    Kernels do not look where they read. Off the CPU only the shape is checked: looking would mean waiting.
    """
    if triangles.ndim != 2 or triangles.shape[-1] != 3:
        raise ValueError(f"triangles must be (F, 3), but have shape {tuple(triangles.shape)}.")
    if triangles.device.type == "cpu" and len(triangles):
        low, high = triangles.aminmax()
        if low < 0 or high >= count:
            raise ValueError(f"triangles must be indices from 0 to {count - 1}, not {low} to {high}.")


def grid_triangles(rows: int, columns: int, closed: bool = False) -> torch.Tensor:
    """Triangles (F, 3) of a grid of vertices; closed joins the last column to the first."""
    last = columns if closed else columns - 1
    r, c = torch.meshgrid(torch.arange(rows - 1), torch.arange(last), indexing="ij")
    a, b = (r * columns + c).flatten(), (r * columns + (c + 1) % columns).flatten()
    return torch.cat((torch.stack((a, a + columns, b), 1), torch.stack((b, a + columns, b + columns), 1)))
