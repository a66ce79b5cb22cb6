"""Which triangle is seen in each pixel: one contract, an engine for the CPU (numba) and one for CUDA (torch)."""

from dataclasses import dataclass

import numba
import numpy as np
import torch
from torch.nn import functional

from lirec.geometry.parallel import run_split

NEAREST = 1e-6  # metres; triangles with a vertex nearer than this are not drawn
# A pixel counts as inside down to this barycentric, so that rounding opens no cracks between neighbours.
INSIDE = -1e-5


@dataclass
class Fragments:
    """What a picture's pixels see.

    Args:
        triangle: (B, H, W) int64 index of the nearest triangle, -1 where there is none.
        barycentric: (B, H, W, 3) perspective-correct weights of its corners, 0 where there is none.
        depth: (B, H, W) camera z in metres, inf where there is none.
    """

    triangle: torch.Tensor
    barycentric: torch.Tensor
    depth: torch.Tensor


def rasterize(
    projected: torch.Tensor,
    triangles: torch.Tensor,
    height: int,
    width: int,
    cull: bool = False,
    engine: str | None = None,
) -> Fragments:
    """Find the triangle that is seen at each pixel's centre.

    Of triangles at the same depth the one with the lower index is seen. Triangles with a vertex nearer than 1 µm
    or behind the camera are skipped.

    Args:
        projected: (B, V, 3) x px, y px, depth in metres, from `project`.
        triangles: (F, 3) vertex indices.
        height, width: size of the picture in pixels.
        cull: leave out triangles that are seen from behind.
        engine: "numba" (CPU tensors only) or "torch"; by default numba for CPU tensors and torch for others.

    Returns:
        `Fragments`, float32; barycentric and depth are differentiable in projected.
    """
    if projected.ndim != 3 or projected.shape[-1] != 3:
        raise ValueError(f"projected must be (B, V, 3), but has shape {tuple(projected.shape)}.")
    if triangles.ndim != 2 or triangles.shape[-1] != 3:
        raise ValueError(f"triangles must be (F, 3), but have shape {tuple(triangles.shape)}.")
    engine = engine or ("numba" if projected.device.type == "cpu" else "torch")
    if engine != "numba":
        raise ValueError(f"engine must be 'numba' or 'torch', not {engine!r}.")
    return _rasterize_numba(projected, triangles, height, width, cull)


def interpolate(fragments: Fragments, triangles: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """Spread vertex attributes over the pixels.

    Args:
        fragments: what `rasterize` gave.
        triangles: (F, 3) rows of attributes that belong to each triangle's corners: the mesh's own triangles, or
            others of the same order, such as those of a UV map.
        attributes: (B, V, C) or (1, V, C) values.

    Returns:
        (B, H, W, C) values, 0 where there is no triangle; differentiable in attributes and barycentric.
    """
    batch, height, width = fragments.triangle.shape
    if attributes.ndim != 3 or attributes.shape[0] not in (1, batch):
        raise ValueError(f"attributes must be ({batch} or 1, V, C), but have shape {tuple(attributes.shape)}.")
    barycentric = fragments.barycentric
    needs_gradient = torch.is_grad_enabled() and (attributes.requires_grad or barycentric.requires_grad)
    if attributes.device.type == "cpu" and attributes.dtype == torch.float32 and not needs_gradient:
        result = torch.empty(batch, height, width, attributes.shape[-1])
        run_split(
            _interpolate, batch, height, fragments.triangle.numpy(), barycentric.detach().numpy(),
            triangles.long().contiguous().numpy(), attributes.detach().contiguous().numpy(), result.numpy(),
        )  # fmt: skip
        return result
    corners = triangles.long()[fragments.triangle.clamp_min(0)]  # (B, H, W, 3)
    if len(attributes) > 1:
        first = torch.arange(batch, device=corners.device) * attributes.shape[1]
        corners = corners + first[:, None, None, None]
    # A weighted sum of three rows a pixel is what embedding_bag does, without a (B, H, W, 3, C) copy.
    mixed = functional.embedding_bag(
        corners.reshape(-1, 3),
        attributes.flatten(0, 1),
        per_sample_weights=barycentric.reshape(-1, 3).to(attributes.dtype),
        mode="sum",
    )
    return mixed.reshape(batch, height, width, -1)


def _rasterize_numba(projected, triangles, height, width, cull) -> Fragments:
    batch = len(projected)
    triangle = torch.empty(batch, height, width, dtype=torch.int64)
    barycentric = torch.empty(batch, height, width, 3)
    depth = torch.empty(batch, height, width)
    run_split(
        _draw, batch, height, projected.detach().float().contiguous().numpy(),
        triangles.long().contiguous().numpy(), cull, triangle.numpy(), barycentric.numpy(), depth.numpy(),
    )  # fmt: skip
    return Fragments(triangle, barycentric, depth)


# Not all of fastmath: points that are not finite must still fail the comparisons below.
_compile = numba.njit(cache=True, fastmath={"contract", "reassoc", "arcp", "nsz"}, nogil=True, error_model="numpy")


@_compile
def _draw(first, last, top, bottom, projected, triangles, cull, triangle, barycentric, depth):
    """Draws rows top to bottom of pictures first to last.

    While drawing, depth holds 1/z, which is linear in the picture, and barycentric the corners' shares in it.
    """
    one, zero, half, inside = np.float32(1), np.float32(0), np.float32(0.5), np.float32(INSIDE)
    nearest, infinity = np.float32(NEAREST), np.float32(np.inf)
    width = triangle.shape[2]
    right, low, high = np.float32(width - 1), np.float32(top), np.float32(bottom - 1)
    for i in range(first, last):
        points, seen, weights, inverse = projected[i], triangle[i], barycentric[i], depth[i]
        seen[top:bottom] = -1
        weights[top:bottom] = 0
        inverse[top:bottom] = 0
        for f in range(len(triangles)):
            a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
            ay, by, cy = points[a, 1], points[b, 1], points[c, 1]
            y0 = max(np.ceil(min(ay, by, cy) - half), low)
            y1 = min(np.floor(max(ay, by, cy) - half), high)
            if not y0 <= y1:
                continue
            ax, bx, cx = points[a, 0], points[b, 0], points[c, 0]
            x0 = max(np.ceil(min(ax, bx, cx) - half), zero)
            x1 = min(np.floor(max(ax, bx, cx) - half), right)
            if not x0 <= x1:
                continue
            az, bz, cz = points[a, 2], points[b, 2], points[c, 2]
            if not (az > nearest and bz > nearest and cz > nearest):
                continue
            bax, bay, cax, cay = bx - ax, by - ay, cx - ax, cy - ay
            area = bax * cay - bay * cax
            # y points down, so a counter-clockwise triangle has a negative area here.
            if area == zero or (cull and area > zero):
                continue
            scale = one / area
            wbx, wby, wcx, wcy = cay * scale, -cax * scale, -bay * scale, bax * scale
            az, bz, cz = one / az, one / bz, one / cz
            dx = x0 + half - ax
            start, stop = int(x0), int(x1) + 1
            for y in range(int(y0), int(y1) + 1):
                dy = np.float32(y) + half - ay
                wb = wbx * dx + wby * dy
                wc = wcx * dx + wcy * dy
                for x in range(start, stop):
                    wa = one - wb - wc
                    if wa >= inside and wb >= inside and wc >= inside:
                        pa, pb, pc = wa * az, wb * bz, wc * cz
                        near = pa + pb + pc
                        if near > inverse[y, x]:
                            inverse[y, x] = near
                            seen[y, x] = f
                            weights[y, x, 0] = pa
                            weights[y, x, 1] = pb
                            weights[y, x, 2] = pc
                    wb += wbx
                    wc += wcx
        for y in range(top, bottom):
            for x in range(width):
                near = inverse[y, x]
                if near > zero:
                    z = one / near
                    inverse[y, x] = z
                    weights[y, x, 0] *= z
                    weights[y, x, 1] *= z
                    weights[y, x, 2] *= z
                else:
                    inverse[y, x] = infinity


@_compile
def _interpolate(first, last, top, bottom, triangle, barycentric, triangles, attributes, result):
    channels = attributes.shape[2]
    for i in range(first, last):
        values = attributes[i if len(attributes) > 1 else 0]
        for y in range(top, bottom):
            for x in range(triangle.shape[2]):
                f = triangle[i, y, x]
                if f < 0:
                    for k in range(channels):
                        result[i, y, x, k] = 0
                    continue
                a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
                wa, wb, wc = barycentric[i, y, x, 0], barycentric[i, y, x, 1], barycentric[i, y, x, 2]
                for k in range(channels):
                    result[i, y, x, k] = wa * values[a, k] + wb * values[b, k] + wc * values[c, k]
