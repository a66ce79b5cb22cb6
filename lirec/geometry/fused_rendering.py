"""The CPU's way through `render`: one compiled pass for the pictures and one for the gradients."""

import numpy as np
import torch

from lirec.geometry.lighting import C0, C1, C2, C20, C22, linear_to_srgb
from lirec.geometry.parallel import as_arrays, kernel, run_split
from lirec.geometry.rasterizer import add_corner_gradients, draw

# numba's cache sees changes of this file only: after a change of those two delete __pycache__.

# The sRGB curve over the square root of linear values. It bends so little there that straight pieces stay
# within 1e-5 of it.
_CURVE = linear_to_srgb(torch.linspace(0, 1, 1025).square()).numpy()


class FusedRender(torch.autograd.Function):
    """What `render` does between the camera and its result; the arguments are those of `render`, float32.

    Gives colour, albedo, normal, light, depth and mask, then the fragments' triangle, barycentric and depth.
    """

    @staticmethod
    def forward(
        ctx,
        projected,
        normals,
        albedo,
        texture,
        light,
        triangles,
        uv,
        triangles_uv,
        triangle_mask,
        height,
        width,
        cull,
    ):
        batch = len(projected)
        # A kernel is compiled for arrays of certain types, so an empty one stands for what is not given.
        meshes = (
            projected,
            normals,
            torch.empty(0, 1, 3) if albedo is None else albedo,
            torch.empty(0, 3, 1, 1) if texture is None else texture,
            torch.empty(0, 9, 3) if light is None else light,
            triangles.long(),
            torch.empty(0, 2) if texture is None else uv.float(),
            triangles.long() if texture is None else triangles_uv.long(),
        )
        counts = torch.empty(0, dtype=torch.bool) if triangle_mask is None else triangle_mask.bool()
        planes = [torch.empty(batch, channels, height, width) for channels in (3, 3, 3, 3, 1, 1)]
        triangle = torch.empty(batch, height, width, dtype=torch.int64)
        barycentric = torch.empty(batch, height, width, 3)
        depth = torch.empty(batch, height, width)
        arrays = as_arrays(*meshes, counts, triangle, barycentric, depth, *planes)
        run_split(_draw_and_shade, batch, height, cull, _CURVE, *arrays)
        ctx.save_for_backward(*meshes, triangle, barycentric, depth, *planes[:4])
        ctx.mark_non_differentiable(planes[-1], triangle)
        ctx.set_materialize_grads(False)
        return (*planes, triangle, barycentric, depth)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        to_colour, to_albedo, to_normal, to_light, to_depth, *_, to_barycentric, to_fragment_depth = gradients
        if to_fragment_depth is not None:
            to_fragment_depth = to_fragment_depth[:, None]
            to_depth = to_fragment_depth if to_depth is None else to_depth + to_fragment_depth
        outputs = [
            torch.empty(0, 1, 1, 1) if gradient is None else gradient
            for gradient in (to_colour, to_albedo, to_normal, to_light, to_depth, to_barycentric)
        ]
        needs = ctx.needs_input_grad[:5]
        # An array without pictures again stands for "not wanted".
        wanted = [
            torch.zeros_like(value, memory_format=torch.contiguous_format) if needed else value[:0]
            for value, needed in zip(ctx.saved_tensors, needs, strict=False)
        ]
        arrays = as_arrays(*ctx.saved_tensors, *outputs, *wanted)
        # Threads must not add to the same numbers: no bands of rows, and no threads where pictures share an
        # input.
        batch = len(ctx.saved_tensors[0])
        if any(len(gradient) == 1 for gradient in wanted):
            _shade_backward(0, batch, 0, 1, *arrays)
        else:
            run_split(_shade_backward, batch, 1, *arrays)
        return (
            *(value if needed else None for value, needed in zip(wanted, needs, strict=True)),
            *[None] * 7,
        )


@kernel
def _texel(rows, columns, uv, corners, weights):
    """Where a pixel falls in a texture: left, right, upper, lower texel, and the way in between."""
    half = np.float32(0.5)
    u, v = -half, -half
    for corner in range(3):
        u += weights[corner] * uv[corners[corner], 0] * np.float32(columns)
        v += weights[corner] * uv[corners[corner], 1] * np.float32(rows)
    u = min(max(u, np.float32(0)), np.float32(columns - 1))
    v = min(max(v, np.float32(0)), np.float32(rows - 1))
    left, upper = int(u), int(v)
    # Beyond the border both neighbours are the border's texel, so that no gradient runs along it.
    right = min(left + 1, columns - 1) if u > 0 else left
    lower = min(upper + 1, rows - 1) if v > 0 else upper
    return left, right, upper, lower, u - np.float32(left), v - np.float32(upper)


@kernel
def _draw_and_shade(
    first, last, top, bottom, cull, curve,
    projected, normals, albedo, texture, light, triangles, uv, triangles_uv, counts,
    triangle, barycentric, depth,
    out_colour, out_albedo, out_normal, out_light, out_depth, out_mask,
):  # fmt: skip
    zero, one = np.float32(0), np.float32(1)
    c0, c1, c2 = np.float32(C0), np.float32(C1), np.float32(C2)
    c20, c22 = np.float32(C20), np.float32(C22)
    steps = np.float32(len(curve) - 1)
    for i in range(first, last):
        draw(i, i + 1, top, bottom, cull, projected, triangles, triangle, barycentric, depth)
        normal = normals[i]
        vertex_albedo = albedo[i if len(albedo) > 1 else 0]
        picture = texture[i if len(texture) > 1 else 0]
        lamp = light[i if len(light) > 1 else 0]
        for y in range(top, bottom):
            for x in range(triangle.shape[2]):
                f = triangle[i, y, x]
                if f < 0:
                    for k in range(3):
                        out_colour[i, k, y, x] = zero
                        out_albedo[i, k, y, x] = zero
                        out_normal[i, k, y, x] = zero
                        out_light[i, k, y, x] = zero
                    out_depth[i, 0, y, x] = zero
                    out_mask[i, 0, y, x] = zero
                    continue
                a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
                wa, wb, wc = barycentric[i, y, x, 0], barycentric[i, y, x, 1], barycentric[i, y, x, 2]
                out_depth[i, 0, y, x] = depth[i, y, x]
                out_mask[i, 0, y, x] = one if len(counts) == 0 or counts[f] else zero
                nx = wa * normal[a, 0] + wb * normal[b, 0] + wc * normal[c, 0]
                ny = wa * normal[a, 1] + wb * normal[b, 1] + wc * normal[c, 1]
                nz = wa * normal[a, 2] + wb * normal[b, 2] + wc * normal[c, 2]
                scale = one / max(np.sqrt(nx * nx + ny * ny + nz * nz), np.float32(1e-12))
                nx, ny, nz = nx * scale, ny * scale, nz * scale
                out_normal[i, 0, y, x] = nx
                out_normal[i, 1, y, x] = ny
                out_normal[i, 2, y, x] = nz
                if len(texture):
                    left, right, upper, lower, u, v = _texel(
                        picture.shape[1], picture.shape[2], uv, triangles_uv[f], barycentric[i, y, x]
                    )
                    for k in range(3):
                        above = picture[k, upper, left] * (one - u) + picture[k, upper, right] * u
                        below = picture[k, lower, left] * (one - u) + picture[k, lower, right] * u
                        out_albedo[i, k, y, x] = above * (one - v) + below * v
                elif len(albedo):
                    for k in range(3):
                        value = wa * vertex_albedo[a, k] + wb * vertex_albedo[b, k] + wc * vertex_albedo[c, k]
                        out_albedo[i, k, y, x] = value
                else:
                    for k in range(3):
                        out_albedo[i, k, y, x] = one
                for k in range(3):
                    shading = one
                    if len(light):
                        shading = (
                            c0 * lamp[0, k]
                            + c1 * (ny * lamp[1, k] + nz * lamp[2, k] + nx * lamp[3, k])
                            + c2 * (nx * ny * lamp[4, k] + ny * nz * lamp[5, k] + nx * nz * lamp[7, k])
                            + c20 * (np.float32(3) * nz * nz - one) * lamp[6, k]
                            + c22 * (nx * nx - ny * ny) * lamp[8, k]
                        )
                    out_light[i, k, y, x] = shading
                    value = min(max(shading * out_albedo[i, k, y, x], zero), one)
                    place = np.sqrt(value) * steps
                    step = min(int(place), len(curve) - 2)
                    part = place - np.float32(step)
                    out_colour[i, k, y, x] = curve[step] + (curve[step + 1] - curve[step]) * part


@kernel
def _shade_backward(
    first, last, top, bottom,
    projected, normals, albedo, texture, light, triangles, uv, triangles_uv,
    triangle, barycentric, depth, colour, pixel_albedo, pixel_normal, pixel_light,
    from_colour, from_albedo, from_normal, from_light, from_depth, from_barycentric,
    to_projected, to_normals, to_albedo, to_texture, to_light,
):  # fmt: skip
    zero, one, two, six = np.float32(0), np.float32(1), np.float32(2), np.float32(6)
    c0, c1, c2 = np.float32(C0), np.float32(C1), np.float32(C2)
    c20, c22 = np.float32(C20), np.float32(C22)
    surface = np.empty(3, np.float32)  # gradient of a pixel's albedo
    shares = np.empty(3, np.float32)  # and of its barycentrics
    for i in range(first, last):
        normal = normals[i]
        this_albedo, this_texture, this_light = (
            i if len(albedo) > 1 else 0, i if len(texture) > 1 else 0, i if len(light) > 1 else 0
        )  # fmt: skip
        lamp = light[this_light]
        for y in range(triangle.shape[1]):
            for x in range(triangle.shape[2]):
                f = triangle[i, y, x]
                if f < 0:
                    continue
                corners, weights = triangles[f], barycentric[i, y, x]
                nx, ny, nz = pixel_normal[i, 0, y, x], pixel_normal[i, 1, y, x], pixel_normal[i, 2, y, x]
                gx, gy, gz = zero, zero, zero
                if len(from_normal):
                    gx, gy, gz = from_normal[i, 0, y, x], from_normal[i, 1, y, x], from_normal[i, 2, y, x]
                for k in range(3):
                    reflected, shading = pixel_albedo[i, k, y, x], pixel_light[i, k, y, x]
                    g = zero
                    if len(from_colour):
                        value = reflected * shading
                        if value >= zero and value <= one:
                            slope = np.float32(12.92)
                            if value > np.float32(0.0031308):
                                slope = (colour[i, k, y, x] + np.float32(0.055)) / (np.float32(2.4) * value)
                            g = from_colour[i, k, y, x] * slope
                    surface[k] = g * shading
                    if len(from_albedo):
                        surface[k] += from_albedo[i, k, y, x]
                    if len(light):
                        g *= reflected
                        if len(from_light):
                            g += from_light[i, k, y, x]
                        xy, yz, xz = c2 * lamp[4, k], c2 * lamp[5, k], c2 * lamp[7, k]
                        zz, xx = six * c20 * lamp[6, k], two * c22 * lamp[8, k]
                        gx += g * (c1 * lamp[3, k] + xy * ny + xz * nz + xx * nx)
                        gy += g * (c1 * lamp[1, k] + xy * nx + yz * nz - xx * ny)
                        gz += g * (c1 * lamp[2, k] + yz * ny + xz * nx + zz * nz)
                        if len(to_light):
                            to_lamp = to_light[this_light]
                            to_lamp[0, k] += g * c0
                            to_lamp[1, k] += g * c1 * ny
                            to_lamp[2, k] += g * c1 * nz
                            to_lamp[3, k] += g * c1 * nx
                            to_lamp[4, k] += g * c2 * nx * ny
                            to_lamp[5, k] += g * c2 * ny * nz
                            to_lamp[6, k] += g * c20 * (np.float32(3) * nz * nz - one)
                            to_lamp[7, k] += g * c2 * nx * nz
                            to_lamp[8, k] += g * c22 * (nx * nx - ny * ny)
                # Through the division by the normal's length, which only the mixed normal of the corners
                # knows.
                length = zero
                for corner in range(3):
                    vertex = corners[corner]
                    along = normal[vertex, 0] * nx + normal[vertex, 1] * ny + normal[vertex, 2] * nz
                    length += weights[corner] * along
                scale = one / max(length, np.float32(1e-12))
                along = nx * gx + ny * gy + nz * gz
                gx, gy, gz = (gx - along * nx) * scale, (gy - along * ny) * scale, (gz - along * nz) * scale
                for corner in range(3):
                    vertex = corners[corner]
                    if len(to_normals):
                        to_normals[i, vertex, 0] += weights[corner] * gx
                        to_normals[i, vertex, 1] += weights[corner] * gy
                        to_normals[i, vertex, 2] += weights[corner] * gz
                    shares[corner] = gx * normal[vertex, 0] + gy * normal[vertex, 1] + gz * normal[vertex, 2]
                    if len(from_barycentric):
                        shares[corner] += from_barycentric[i, y, x, corner]
                    if len(albedo):
                        for k in range(3):
                            shares[corner] += surface[k] * albedo[this_albedo, vertex, k]
                            if len(to_albedo):
                                to_albedo[this_albedo, vertex, k] += weights[corner] * surface[k]
                if len(texture):
                    picture = texture[this_texture]
                    rows, columns = picture.shape[1], picture.shape[2]
                    left, right, upper, lower, u, v = _texel(rows, columns, uv, triangles_uv[f], weights)
                    along_u, along_v = zero, zero
                    for k in range(3):
                        g = surface[k]
                        if len(to_texture):
                            to_texture[this_texture, k, upper, left] += g * (one - u) * (one - v)
                            to_texture[this_texture, k, upper, right] += g * u * (one - v)
                            to_texture[this_texture, k, lower, left] += g * (one - u) * v
                            to_texture[this_texture, k, lower, right] += g * u * v
                        above = picture[k, upper, right] - picture[k, upper, left]
                        below = picture[k, lower, right] - picture[k, lower, left]
                        along_u += g * (above * (one - v) + below * v)
                        before = picture[k, lower, left] - picture[k, upper, left]
                        behind = picture[k, lower, right] - picture[k, upper, right]
                        along_v += g * (before * (one - u) + behind * u)
                    for corner in range(3):
                        place = triangles_uv[f, corner]
                        shares[corner] += along_u * uv[place, 0] * np.float32(columns)
                        shares[corner] += along_v * uv[place, 1] * np.float32(rows)
                if len(to_projected):
                    add_corner_gradients(
                        projected[i], corners[0], corners[1], corners[2], weights, depth[i, y, x],
                        shares, from_depth[i, 0, y, x] if len(from_depth) else zero, to_projected[i],
                    )  # fmt: skip
