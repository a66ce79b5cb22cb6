"""Which triangle each pixel sees: one contract, an engine for the CPU (numba) and one for CUDA (torch)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from lirec.geometry.mesh import check_triangles
from lirec.geometry.parallel import as_arrays, kernel, run_split

NEAREST = 1e-6  # metres; triangles with a vertex nearer than this are not drawn
# A pixel counts as inside down to this barycentric, so that rounding opens no cracks between neighbours.
INSIDE = -1e-5
PAIRS = 1 << 22  # pixel and triangle pairs that the torch engine tests at a time, to bound its memory


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

    Of triangles at the same depth the one with the lower index is seen. Triangles with a vertex nearer than
    1 µm or behind the camera are skipped.

    Args:
        projected: (B, V, 3) x px, y px, depth in metres, from `project`.
        triangles: (F, 3) vertex indices.
        height, width: size of the picture in pixels.
        cull: leave out triangles that are seen from behind.
        engine: "numba" (CPU tensors only) or "torch"; by default numba for CPU tensors and torch for others.

    Returns:
        `Fragments`; barycentric and depth are differentiable in projected.
    """
    if projected.ndim != 3 or projected.shape[-1] != 3:
        raise ValueError(f"projected must be (B, V, 3), but has shape {tuple(projected.shape)}.")
    check_triangles(triangles, projected.shape[1])
    on_cpu = projected.device.type == "cpu"
    engine = engine or ("numba" if on_cpu else "torch")
    if engine not in ("numba", "torch") or (engine == "numba" and not on_cpu):
        raise ValueError(f"engine must be 'torch', or 'numba' for tensors on the CPU, not {engine!r}.")
    if engine == "numba":
        return Fragments(*_Rasterize.apply(projected, triangles.long(), height, width, cull))
    triangle = _rasterize_torch(projected.detach().float(), triangles.long(), height, width, cull)
    return _measure(projected, triangles.long(), triangle)


def interpolate(fragments: Fragments, triangles: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """Spread vertex attributes over the pixels.

    Args:
        fragments: what `rasterize` gave.
        triangles: (F, 3) rows of attributes that belong to each triangle's corners: the mesh's own triangles,
            or others of the same order, such as those of a UV map.
        attributes: (B, V, C) or (1, V, C) values.

    Returns:
        (B, H, W, C) values, 0 where there is no triangle; differentiable in attributes and barycentric.
    """
    batch = len(fragments.triangle)
    if attributes.ndim != 3 or attributes.shape[0] not in (1, batch):
        raise ValueError(
            f"attributes must be ({batch} or 1, V, C), but have shape {tuple(attributes.shape)}."
        )
    check_triangles(triangles, attributes.shape[1])
    if attributes.device.type == "cpu":
        if fragments.triangle.numel() and fragments.triangle.max() >= len(triangles):
            raise ValueError(f"The fragments see more triangles than the {len(triangles)} given.")
        weights = fragments.barycentric.to(attributes.dtype)
        return _Interpolate.apply(weights, attributes, fragments.triangle, triangles.long())
    return _interpolate_torch(fragments, triangles.long(), attributes)


def _interpolate_torch(
    fragments: Fragments, triangles: torch.Tensor, attributes: torch.Tensor
) -> torch.Tensor:
    batch, height, width = fragments.triangle.shape
    corners = triangles[fragments.triangle.clamp_min(0)]  # (B, H, W, 3)
    if len(attributes) > 1:
        first = torch.arange(batch, device=corners.device) * attributes.shape[1]
        corners = corners + first[:, None, None, None]
    # A weighted sum of three rows a pixel is what embedding_bag does, without a (B, H, W, 3, C) copy.
    mixed = functional.embedding_bag(
        corners.reshape(-1, 3),
        attributes.flatten(0, 1),
        per_sample_weights=fragments.barycentric.reshape(-1, 3).to(attributes.dtype),
        mode="sum",
    )
    return mixed.reshape(batch, height, width, -1)


def _measure(projected: torch.Tensor, triangles: torch.Tensor, triangle: torch.Tensor) -> Fragments:
    """The fragments of pixels whose triangles (B, H, W) are known, differentiable in projected."""
    picture, y, x = (triangle >= 0).nonzero(as_tuple=True)
    rows = triangles[triangle[picture, y, x]]
    a, b, c = projected[picture[:, None], rows].unbind(1)  # three times (N, 3)
    ab, ac = (b - a)[:, :2], (c - a)[:, :2]
    dx, dy = x + 0.5 - a[:, 0], y + 0.5 - a[:, 1]
    area = _cross(ab, ac)
    wb = (ac[:, 1] * dx - ac[:, 0] * dy) / area
    wc = (ab[:, 0] * dy - ab[:, 1] * dx) / area
    shares = torch.stack((1 - wb - wc, wb, wc), -1) / torch.stack((a[:, 2], b[:, 2], c[:, 2]), -1)
    z = 1 / shares.sum(-1)
    barycentric = projected.new_zeros(*triangle.shape, 3).index_put((picture, y, x), shares * z[:, None])
    depth = projected.new_full(triangle.shape, torch.inf).index_put((picture, y, x), z)
    return Fragments(triangle, barycentric, depth)


def _rasterize_torch(projected, triangles, height, width, cull) -> torch.Tensor:
    """The nearest triangle of each pixel, (B, H, W).

    All pixels in all triangles' bounding boxes are tested side by side. The nearest is found by a scattered
    minimum over keys that hold the depth in the upper 32 bits and the triangle's index in the lower ones.
    """
    batch = len(projected)
    a, b, c = projected[:, triangles.T].unbind(1)  # three times (B, F, 3)
    low = torch.minimum(torch.minimum(a, b), c)
    high = torch.maximum(torch.maximum(a, b), c)
    last = projected.new_tensor([width - 1, height - 1])
    low_pixel = torch.maximum((low[..., :2] - 0.5).ceil(), torch.zeros_like(last))
    high_pixel = torch.minimum((high[..., :2] - 0.5).floor(), last)
    area = _cross(b - a, c - a)
    drawn = (low_pixel <= high_pixel).all(-1) & (low[..., 2] > NEAREST) & (area != 0)
    if cull:
        drawn &= area < 0
    picture, index = drawn.nonzero(as_tuple=True)
    a, b, c, area = a[drawn], b[drawn], c[drawn], area[drawn]
    first = low_pixel[drawn].long()
    size = high_pixel[drawn].long() - first + 1
    scale = (1 / area)[:, None]
    ab, ac = (b - a)[:, :2], (c - a)[:, :2]
    # Corner a, steps of two barycentrics along x and y, 1/z of the corners: what a pixel's test needs.
    setup = torch.cat(
        (
            a[:, :2],
            ac[:, 1:] * scale, -ac[:, :1] * scale, -ab[:, 1:] * scale, ab[:, :1] * scale,
            1 / a[:, 2:], 1 / b[:, 2:], 1 / c[:, 2:],
        ),
        -1,
    )  # fmt: skip
    empty = torch.iinfo(torch.int64).max
    keys = torch.full((batch * height * width,), empty, dtype=torch.int64, device=projected.device)
    end = (size[:, 0] * size[:, 1]).cumsum(0)
    total = int(end[-1]) if len(end) else 0
    for start in range(0, total, PAIRS):
        pair = torch.arange(start, min(start + PAIRS, total), device=projected.device)
        box = torch.searchsorted(end, pair, right=True)
        pair = pair - (end - size[:, 0] * size[:, 1])[box]
        x = first[box, 0] + pair % size[box, 0]
        y = first[box, 1] + pair // size[box, 0]
        ax, ay, wbx, wby, wcx, wcy, az, bz, cz = setup[box].unbind(-1)
        dx, dy = x + 0.5 - ax, y + 0.5 - ay
        wb = wbx * dx + wby * dy
        wc = wcx * dx + wcy * dy
        wa = 1 - wb - wc
        inside = (wa >= INSIDE) & (wb >= INSIDE) & (wc >= INSIDE)
        # The bits of positive floats are ordered as the floats are; nearer means a larger 1/z.
        inverse = (wa * az + wb * bz + wc * cz).view(torch.int32).long()
        key = torch.where(inside, (0x7FFFFFFF - inverse) << 32 | index[box], empty)
        keys.scatter_reduce_(0, (picture[box] * height + y) * width + x, key, "amin")
    return torch.where(keys == empty, -1, keys & 0xFFFFFFFF).reshape(batch, height, width)


def _cross(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


class _Rasterize(torch.autograd.Function):
    """The numba engine."""

    @staticmethod
    def forward(ctx, projected, triangles, height, width, cull):
        batch = len(projected)
        triangle = torch.empty(batch, height, width, dtype=torch.int64)
        barycentric = torch.empty(batch, height, width, 3)
        depth = torch.empty(batch, height, width)
        arrays = as_arrays(projected.float(), triangles, triangle, barycentric, depth)
        run_split(draw, batch, height, cull, *arrays)
        barycentric, depth = barycentric.to(projected.dtype), depth.to(projected.dtype)
        ctx.save_for_backward(projected, triangles, triangle, barycentric, depth)
        ctx.mark_non_differentiable(triangle)
        return triangle, barycentric, depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, _, to_barycentric, to_depth):
        to_projected = torch.zeros_like(ctx.saved_tensors[0], memory_format=torch.contiguous_format)
        arrays = as_arrays(*ctx.saved_tensors, to_barycentric, to_depth, to_projected)
        # No bands of rows: two threads must not add to the same vertices.
        run_split(_draw_backward, len(to_projected), 1, *arrays)
        return to_projected, None, None, None, None


@kernel
def draw(first, last, top, bottom, cull, projected, triangles, triangle, barycentric, depth):
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


class _Interpolate(torch.autograd.Function):
    """`interpolate` on the CPU."""

    @staticmethod
    def forward(ctx, barycentric, attributes, triangle, triangles):
        ctx.save_for_backward(barycentric, attributes, triangle, triangles)
        batch, height, width = triangle.shape
        values = attributes.new_empty(batch, height, width, attributes.shape[-1])
        arrays = as_arrays(triangle, barycentric, triangles, attributes, values)
        run_split(_interpolate, batch, height, *arrays)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        barycentric, attributes, triangle, triangles = ctx.saved_tensors
        to_barycentric = torch.zeros_like(barycentric, memory_format=torch.contiguous_format)
        to_attributes = torch.zeros_like(attributes, memory_format=torch.contiguous_format)
        arrays = as_arrays(
            triangle, barycentric, triangles, attributes, gradient, to_barycentric, to_attributes
        )
        # Threads must not add to the same rows: no bands, and no threads where pictures share attributes.
        if len(attributes) > 1:
            run_split(_interpolate_backward, len(triangle), 1, *arrays)
        else:
            _interpolate_backward(0, len(triangle), 0, 1, *arrays)
        return to_barycentric, to_attributes, None, None


@kernel
def add_corner_gradients(points, a, b, c, shares, z, to_shares, to_z, to_points):
    """Carries the gradients of a pixel's three barycentrics and depth on to the corners a, b, c."""
    bax, bay = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
    cax, cay = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1]
    scale = 1 / (bax * cay - bay * cax)
    wbx, wby, wcx, wcy = cay * scale, -cax * scale, -bay * scale, bax * scale
    mean = z * to_z
    for corner in range(3):
        mean += shares[corner] * to_shares[corner]
    # Gradients of the three barycentrics in the picture, as steps along x and y ...
    ga = (to_shares[0] - mean) * z / points[a, 2]
    gb = (to_shares[1] - mean) * z / points[b, 2]
    gc = (to_shares[2] - mean) * z / points[c, 2]
    gx = ga * (-wbx - wcx) + gb * wbx + gc * wcx
    gy = ga * (-wby - wcy) + gb * wby + gc * wcy
    # ... where moving a corner acts as moving the pixel the other way, by the corner's weight.
    for corner, vertex in enumerate((a, b, c)):
        weight = shares[corner] * points[vertex, 2] / z
        to_points[vertex, 0] -= weight * gx
        to_points[vertex, 1] -= weight * gy
        to_points[vertex, 2] -= (to_shares[corner] - mean) * shares[corner] / points[vertex, 2]


@kernel
def _draw_backward(
    first,
    last,
    top,
    bottom,
    projected,
    triangles,
    triangle,
    barycentric,
    depth,
    to_barycentric,
    to_depth,
    to_projected,
):
    for i in range(first, last):
        for y in range(triangle.shape[1]):
            for x in range(triangle.shape[2]):
                f = triangle[i, y, x]
                if f >= 0:
                    add_corner_gradients(
                        projected[i], triangles[f, 0], triangles[f, 1], triangles[f, 2],
                        barycentric[i, y, x], depth[i, y, x],
                        to_barycentric[i, y, x], to_depth[i, y, x], to_projected[i],
                    )  # fmt: skip


@kernel
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


@kernel
def _interpolate_backward(
    first,
    last,
    top,
    bottom,
    triangle,
    barycentric,
    triangles,
    attributes,
    gradient,
    to_barycentric,
    to_attributes,
):
    for i in range(first, last):
        shared = i if len(attributes) > 1 else 0
        values, to_values = attributes[shared], to_attributes[shared]
        for y in range(triangle.shape[1]):
            for x in range(triangle.shape[2]):
                f = triangle[i, y, x]
                if f < 0:
                    continue
                for corner in range(3):
                    vertex, weight, total = triangles[f, corner], barycentric[i, y, x, corner], 0.0
                    for k in range(attributes.shape[2]):
                        value = gradient[i, y, x, k]
                        to_values[vertex, k] += weight * value
                        total += value * values[vertex, k]
                    to_barycentric[i, y, x, corner] = total
