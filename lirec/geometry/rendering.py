"""Pictures of meshes: colour, albedo, normals, light, depth and mask."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from lirec.geometry.camera import project
from lirec.geometry.fused_rendering import FusedRender
from lirec.geometry.lighting import linear_to_srgb, shade
from lirec.geometry.mesh import check_mesh, check_triangles, vertex_normals
from lirec.geometry.rasterizer import Fragments, interpolate, rasterize


@dataclass
class RenderOutput:
    """What `render` gives. All are 0 in pixels that see no triangle.

    Args:
        colour: (B, 3, H, W) sRGB in [0, 1].
        albedo: (B, 3, H, W) linear RGB.
        normal: (B, 3, H, W) unit vectors in the camera frame.
        light: (B, 3, H, W) factor that the light puts on albedo, linear RGB; may be below 0 or above 1.
        depth: (B, 1, H, W) camera z in metres.
        mask: (B, 1, H, W) 1 where a triangle is seen that counts, 0 elsewhere.
        fragments: what each pixel sees, to interpolate more attributes.
    """

    colour: torch.Tensor
    albedo: torch.Tensor
    normal: torch.Tensor
    light: torch.Tensor
    depth: torch.Tensor
    mask: torch.Tensor
    fragments: Fragments


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def render(
    vertices: torch.Tensor,
    triangles: torch.Tensor,
    rotation: torch.Tensor,
    translation: torch.Tensor,
    K: torch.Tensor,
    height: int,
    width: int,
    *,
    albedo: torch.Tensor | None = None,
    texture: torch.Tensor | None = None,
    uv: torch.Tensor | None = None,
    triangles_uv: torch.Tensor | None = None,
    light: torch.Tensor | None = None,
    normals: torch.Tensor | None = None,
    triangle_mask: torch.Tensor | None = None,
    cull: bool = False,
    engine: str | None = None,
) -> RenderOutput:
    """Render a batch of meshes that share their triangles.

    In float32 on the CPU one compiled pass does all the work, and another one the gradients; the values are
    the same.

    Args:
        vertices: (B, V, 3) in the face frame, metres.
        triangles: (F, 3) vertex indices.
        rotation: (B, 3, 3) from the face frame to the camera frame.
        translation: (B, 3) in metres.
        K: (B, 3, 3) intrinsics in pixels.
        height, width: size of the pictures in pixels.
        albedo: (B or 1, V, 3) linear RGB of the vertices; white if neither this nor texture is given.
        texture: (B or 1, 3, S, T) linear RGB instead, with uv and triangles_uv.
        uv: (N, 2) texture coordinates in [0, 1].
        triangles_uv: (F, 3) rows of uv.
        light: (B or 1, 9, 3) spherical harmonics; without it colour is albedo as it is.
        normals: (B or 1, V, 3) unit normals in the face frame, if not those of the vertices.
        triangle_mask: (F,) bool, the triangles that count in the mask. The others are drawn, and hide what is
            behind them, but the mask is 0 where they are seen.
        cull: leave out triangles that are seen from behind.
        engine: of `rasterize`; naming one turns the compiled passes off.

    Returns:
        `RenderOutput`, differentiable in albedo, texture, light, normals, and in vertices and pose as far as
        they move the surface under a pixel; outlines give no gradient.
    """
    batch, count = vertices.shape[:2]
    check_mesh(vertices, triangles)
    if albedo is not None and texture is not None:
        raise ValueError("Give albedo or texture, not both.")
    if texture is not None and (uv is None or triangles_uv is None):
        raise ValueError("texture needs uv and triangles_uv.")
    if texture is not None:
        check_triangles(triangles_uv, len(uv))
        _check_shape("triangles_uv", triangles_uv, triangles.shape)
        _check_shape("texture", texture, (batch, 3, *texture.shape[2:4]))
    _check_shape("albedo", albedo, (batch, count, 3))
    _check_shape("light", light, (batch, 9, 3))
    _check_shape("normals", normals, (batch, count, 3))
    _check_shape("triangle_mask", triangle_mask, triangles.shape[:1])
    if normals is None:
        normals = vertex_normals(vertices, triangles)
    normals = (normals @ rotation.transpose(-1, -2)).expand(batch, -1, -1)
    projected = project(vertices, rotation, translation, K)

    inputs = (projected, normals, albedo, texture, light)
    given = [value for value in inputs if value is not None]
    if engine is None and all(value.device.type == "cpu" and value.dtype == torch.float32 for value in given):
        surface = (triangles, uv, triangles_uv, triangle_mask)
        *planes, triangle, barycentric, depth = FusedRender.apply(*inputs, *surface, height, width, cull)
        return RenderOutput(*planes, Fragments(triangle, barycentric, depth))

    fragments = rasterize(projected, triangles, height, width, cull, engine)
    seen = (fragments.triangle >= 0)[:, None]
    normal = functional.normalize(interpolate(fragments, triangles, normals), dim=-1)
    if texture is not None:
        places = interpolate(fragments, triangles_uv, uv[None].to(projected.dtype))
        texture = texture.expand(batch, -1, -1, -1)
        surface = functional.grid_sample(texture, places * 2 - 1, padding_mode="border", align_corners=False)
    elif albedo is not None:
        surface = interpolate(fragments, triangles, albedo).movedim(-1, 1)
    else:
        surface = torch.ones_like(normal).movedim(-1, 1)
    surface = surface * seen
    if light is not None:
        shading = shade(normal, light.expand(batch, -1, -1)).movedim(-1, 1) * seen
    else:
        shading = seen.to(surface.dtype).expand(-1, 3, -1, -1)
    colour = linear_to_srgb((surface * shading).clamp(0, 1))
    counted = seen
    if triangle_mask is not None:
        counted = seen & triangle_mask.bool()[fragments.triangle.clamp_min(0)][:, None]
    depth = torch.where(seen, fragments.depth[:, None], 0)
    return RenderOutput(
        colour, surface, normal.movedim(-1, 1), shading, depth, counted.to(surface.dtype), fragments
    )


def _check_shape(name: str, value: torch.Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a tensor has the shape, where the first number may be 1 instead."""
    if value is not None and tuple(value.shape) not in (tuple(shape), (1, *shape[1:])):
        raise ValueError(f"{name} must have shape {tuple(shape)}, but has {tuple(value.shape)}.")
