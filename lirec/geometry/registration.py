"""Laying one shape upon another: similarity alignment, ICP and distances to a surface."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from lirec.geometry.parallel import as_arrays, kernel


@dataclass
class Similarity:
    """A turn, a scaling and a shift: `scale * rotation @ point + translation`.

    Args:
        scale: (...) factors.
        rotation: (..., D, D) rotations.
        translation: (..., D) shifts.
    """

    scale: torch.Tensor
    rotation: torch.Tensor
    translation: torch.Tensor

    def apply(self, points: torch.Tensor) -> torch.Tensor:
        """Move points (..., N, D)."""
        turned = points @ self.rotation.transpose(-1, -2)
        return self.scale[..., None, None] * turned + self.translation[..., None, :]


@dataclass
class IcpResult:
    """What `icp` gives.

    Args:
        transform: the motion that lays the source upon the target, of scale 1.
        distance: (N,) distances of the moved source points to the target's surface.
        iterations: how many steps were made.
    """

    transform: Similarity
    distance: torch.Tensor
    iterations: int


def similarity_align(
    source: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None, scale: bool = True
) -> Similarity:
    """The similarity that lays points upon points with the least squared error (Umeyama's method).

    Args:
        source, target: (..., N, D) points that belong together.
        weights: (..., N) weights that are not negative; all the same if not given.
        scale: False to turn and shift only.

    Returns:
        `Similarity` that moves source to target; never a mirror image.
    """
    if source.shape != target.shape or source.ndim < 2:
        raise ValueError(
            "source and target must both be (..., N, D), "
            f"but are {tuple(source.shape)} and {tuple(target.shape)}."
        )
    if weights is None:
        weights = source.new_ones(source.shape[:-1])
    weights = (weights / weights.sum(-1, keepdim=True))[..., None]
    source_centre = (weights * source).sum(-2, keepdim=True)
    target_centre = (weights * target).sum(-2, keepdim=True)
    source, target = source - source_centre, target - target_centre
    u, values, v = torch.linalg.svd(target.transpose(-1, -2) @ (weights * source))
    sign = torch.ones_like(values)
    sign[..., -1] = torch.linalg.det(u @ v).sign()
    rotation = u @ (sign[..., None] * v)
    if scale:
        spread = (weights * source.square()).sum((-1, -2))
        factor = (values * sign).sum(-1) / spread.clamp_min(torch.finfo(source.dtype).tiny)
    else:
        factor = torch.ones_like(values[..., 0])
    moved_centre = Similarity(factor, rotation, torch.zeros_like(source_centre[..., 0, :])).apply(
        source_centre
    )
    return Similarity(factor, rotation, (target_centre - moved_centre)[..., 0, :])


def icp(
    source_points: torch.Tensor,
    target_vertices: torch.Tensor,
    target_triangles: torch.Tensor,
    iterations: int = 30,
    keep: float = 1.0,
    tolerance: float = 1e-7,
) -> IcpResult:
    """Move points rigidly onto a surface, by point-to-plane steps to the closest places on it.

    It finds the nearest good fit only: bring the shapes together first, with `similarity_align`.

    Args:
        source_points: (N, 3) in metres.
        target_vertices: (V, 3) in metres.
        target_triangles: (F, 3) vertex indices.
        iterations: the most steps to make.
        keep: share of the points, the closest ones, that a step heeds; less than 1 where parts do not match.
        tolerance: stop when a step turns by less than this angle in radians and shifts by less than this
            length.

    Returns:
        `IcpResult`, on the CPU, in source_points' type.
    """
    surface = _Surface(target_vertices, target_triangles)
    points = source_points.detach().cpu().double().numpy()
    rotation, translation, steps = np.eye(3), np.zeros(3), 0
    heeded = max(6, round(keep * len(points)))
    while steps < iterations:
        steps += 1
        moved = points @ rotation.T + translation
        place, triangle, distance = surface.closest(moved)
        normal = surface.normals[triangle]
        if heeded < len(points):
            best = np.argpartition(distance, heeded - 1)[:heeded]
            moved, place, normal = moved[best], place[best], normal[best]
        # For a small turn w about the centre and a shift d: normal · (moved + w × arm + d - place) = 0.
        centre = moved.mean(0)
        arm = moved - centre
        design = np.concatenate((np.cross(arm, normal), normal), 1)
        motion = np.linalg.lstsq(design, ((place - moved) * normal).sum(1), rcond=1e-8)[0]
        turn = _rotation_vector_to_matrix(motion[:3])
        rotation = turn @ rotation
        translation = turn @ (translation - centre) + centre + motion[3:]
        if np.abs(motion).max() < tolerance:
            break
    distance = surface.closest(points @ rotation.T + translation)[2]
    dtype = source_points.dtype
    transform = Similarity(
        torch.ones((), dtype=dtype),
        torch.from_numpy(rotation).to(dtype),
        torch.from_numpy(translation).to(dtype),
    )
    return IcpResult(transform, torch.from_numpy(distance).to(dtype), steps)


def point_to_surface_distance(
    points: torch.Tensor, vertices: torch.Tensor, triangles: torch.Tensor
) -> torch.Tensor:
    """Exact distances of points to a mesh's surface.

    Args:
        points: (N, 3).
        vertices: (V, 3).
        triangles: (F, 3) vertex indices.

    Returns:
        (N,) distances, on the CPU, in the type of points.
    """
    distance = _Surface(vertices, triangles).closest(points.detach().cpu().double().numpy())[2]
    return torch.from_numpy(distance).to(points.dtype)


class _Surface:
    """A mesh that can be asked for its closest places, (V, 3) and (F, 3)."""

    def __init__(self, vertices: torch.Tensor, triangles: torch.Tensor):
        if vertices.ndim != 2 or triangles.ndim != 2 or len(triangles) == 0:
            raise ValueError(
                "A surface needs vertices (V, 3) and triangles (F, 3), "
                f"but they are {tuple(vertices.shape)} and {tuple(triangles.shape)}."
            )
        vertices, triangles = as_arrays(vertices.cpu().double(), triangles.cpu().long())
        self.corners = vertices[triangles]  # (F, 3, 3)
        a, b, c = self.corners.transpose(1, 0, 2)
        normals = np.cross(b - a, c - a)
        self.normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
        centres = self.corners.mean(1)
        reach = np.linalg.norm(self.corners - centres[:, None], axis=2).max(1)
        # Few triangles are large, and only these must be looked for far from their centres.
        sizes = np.ceil(np.log2(np.maximum(reach / max(np.median(reach), 1e-300), 1)))
        groups = (np.flatnonzero(sizes == size) for size in np.unique(sizes))
        self.groups = [(group, cKDTree(centres[group]), reach[group].max()) for group in groups]

    def closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The closest place (N, 3), its triangle (N,) and its distance (N,) for points (N, 3)."""
        places = np.empty_like(points)
        found = np.empty(len(points), np.int64)
        distances = np.full(len(points), np.inf)
        for group, tree, reach in self.groups:
            open_points, count = np.arange(len(points)), 8
            while len(open_points):
                count = min(count, len(group))
                bounds, candidates = tree.query(points[open_points], np.arange(1, count + 1))
                _closest(points, open_points, group[candidates], self.corners, places, found, distances)
                if count == len(group):
                    break
                # A triangle comes no closer than its centre less the largest triangle's reach.
                open_points = open_points[bounds[:, -1] - reach < distances[open_points]]
                count *= 4
        return places, found, distances


def _rotation_vector_to_matrix(vector: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@kernel
def _closest(points, chosen, candidates, corners, places, found, distances):
    """The closest of the candidate triangles for each chosen point, if closer than what is found; region by region."""
    for row in range(len(chosen)):
        i = chosen[row]
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        best = distances[i] ** 2
        for column in range(candidates.shape[1]):
            f = candidates[row, column]
            ax, ay, az = corners[f, 0, 0], corners[f, 0, 1], corners[f, 0, 2]
            ux, uy, uz = corners[f, 1, 0] - ax, corners[f, 1, 1] - ay, corners[f, 1, 2] - az
            vx, vy, vz = corners[f, 2, 0] - ax, corners[f, 2, 1] - ay, corners[f, 2, 2] - az
            wx, wy, wz = px - ax, py - ay, pz - az
            uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
            # Dot products of the two edges with the way from each corner to the point.
            ua, va = ux * wx + uy * wy + uz * wz, vx * wx + vy * wy + vz * wz
            ub, vb, uc, vc = ua - uu, va - uv, ua - uv, va - vv
            outside_c, outside_b, outside_a = ua * vb - ub * va, uc * va - ua * vc, ub * vc - uc * vb
            s, t = 0.0, 0.0  # the place is a + s u + t v
            if ua <= 0 and va <= 0:
                pass
            elif ub >= 0 and vb <= ub:
                s = 1.0
            elif vc >= 0 and uc <= vc:
                t = 1.0
            elif outside_c <= 0 and ua >= 0 and ub <= 0:
                s = ua / (ua - ub)
            elif outside_b <= 0 and va >= 0 and vc <= 0:
                t = va / (va - vc)
            elif outside_a <= 0 and vb - ub >= 0 and uc - vc >= 0:
                t = (vb - ub) / (vb - ub + uc - vc)
                s = 1 - t
            else:
                scale = 1 / (outside_a + outside_b + outside_c)
                s, t = outside_b * scale, outside_c * scale
            x, y, z = ax + s * ux + t * vx, ay + s * uy + t * vy, az + s * uz + t * vz
            square = (px - x) ** 2 + (py - y) ** 2 + (pz - z) ** 2
            if square < best:
                best = square
                places[i, 0], places[i, 1], places[i, 2] = x, y, z
                found[i] = f
        distances[i] = np.sqrt(best)
