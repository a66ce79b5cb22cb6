"""The texture of a reconstructed face, taken from its photo."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from lirec.geometry import (
    interpolate,
    linear_to_srgb,
    project,
    rasterize,
    shade,
    vertex_normals,
)
from lirec.geometry.filling import spread
from lirec.models.morphable_model import ISLANDS, MorphableModel, mirrored_skin

GRAZING = 0.25  # cosine below which a surface is too slanted to be read off the photo
DEPTH_TOLERANCE = 0.004  # metres
OUTLINE = 7  # margin along the outline, in 384ths of the head's extent


def photo_texture(
    image: np.ndarray,
    model: MorphableModel,
    vertices: torch.Tensor,
    rotation: torch.Tensor,
    translation: torch.Tensor,
    intrinsics: torch.Tensor,
    albedo: torch.Tensor,
    light: torch.Tensor,
    size: int = 1024,
) -> np.ndarray:
    """
    Paint the model's texture with a photo.

    What the photo shows is copied; what it does not show is taken from the other half of the face where that is
    seen. Beyond both the colours at the border go on, with the detail of the albedo model under the photo's light.
    Eyes, teeth and tongue come from the albedo model, since they move under the lids and lips.

    Args:
        image: (H, W, 3) uint8 sRGB.
        vertices: (V, 3) metres, face frame.
        rotation, translation, intrinsics: (3, 3), (3,), (3, 3) of the photo's camera.
        albedo: (3, T, T) linear RGB, of `MorphableModel.albedo`.
        light: (9, 3).
        size: width and height of the texture.

    Returns:
        (size, size, 3) uint8 sRGB.
    """
    inner = model.select_triangles(
        "mouth_cavity", "eye_cavity", "tongue", "teeth_upper", "teeth_lower", "eye_left", "eye_right"
    )
    triangles, triangles_uv = model.triangles[~inner], model.triangles_uv[~inner]
    texels = torch.cat((model.uv * size, torch.ones_like(model.uv[:, :1])), 1)[None]
    fragments = rasterize(texels, triangles_uv, size, size)
    painted = fragments.triangle[0] >= 0

    normals = vertex_normals(vertices[None], model.triangles) @ rotation.T
    projected = project(vertices[None], rotation[None], translation[None], intrinsics[None])
    values = interpolate(fragments, triangles, torch.cat((projected, normals), 2))[0]
    place, depth, normal = values[..., :2], values[..., 2], F.normalize(values[..., 3:], dim=2)

    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    height, width = image.shape[:2]
    grid = place / torch.tensor([width, height]) * 2 - 1
    colour = F.grid_sample(picture, grid[None], padding_mode="border", align_corners=False)[0]

    towards = F.normalize(-(torch.cat((place, torch.ones_like(depth)[..., None]), 2) @ intrinsics.inverse().T), dim=2)
    cosine = (normal * towards).sum(2)
    in_picture = (grid.abs() < 1).all(2)
    seen = painted & in_picture & _unhidden(projected, model.triangles, place, depth)
    weight = ((cosine - GRAZING) / 0.25).clamp(0, 1) * seen
    weight = _soften(weight, size // 64)

    shaded = shade(normal[None], light[None])[0].permute(2, 0, 1).clamp_min(0.02)
    base = F.interpolate(albedo[None], (size, size), mode="bilinear", align_corners=False)[0]
    lit = linear_to_srgb((base * shaded).clamp(0, 1))
    model_colour = _match(lit, colour, weight).clamp_min(0.02)

    mirrored_weight = mirrored_skin(weight)
    mirrored = _match_sides(mirrored_skin(colour), model_colour, mirrored_weight)
    known = weight + (1 - weight) * mirrored_weight
    copied = colour * weight + mirrored * (1 - weight) * mirrored_weight
    # beyond what is known its colours go on (hair over the crown, skin to the ears), with the model's own detail
    spread_model, spread_copied = (
        spread(values[None], known[None, None])[0] for values in (model_colour * known, copied)
    )
    detail = model_colour / spread_model.clamp_min(0.05)
    result = copied + (1 - known) * spread_copied * detail.clamp(0.6, 1.5)

    # what lies inside is seen under the face's mean light
    mean_light = (lit * weight).sum((1, 2)) / weight.sum().clamp_min(1)
    mean_base = (linear_to_srgb(base) * weight).sum((1, 2)) / weight.sum().clamp_min(1)
    gain = (mean_light / mean_base.clamp_min(0.02)).clamp(0.3, 1.3)[:, None, None]
    for u, v, w, h in ISLANDS.values():
        box = (
            slice(int(v * size) - 2, int((v + h) * size) + 3),
            slice(int(u * size) - 2, int((u + w) * size) + 3),
        )
        result[:, *box] = linear_to_srgb(base[:, *box]) * gain
    return (result.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _unhidden(projected, triangles, place, depth, pixels: int = 384) -> torch.Tensor:
    """(S, S) bool: texels that no other part of the mesh hides from the camera, and that are well inside its outline:
    near it the photo may already show what is behind."""
    low, high = projected[0, :, :2].amin(0), projected[0, :, :2].amax(0)
    scale = pixels / (high - low).max()
    local = torch.cat(((projected[..., :2] - low) * scale, projected[..., 2:]), 2)
    front = rasterize(local, triangles, pixels, pixels).depth.nan_to_num(posinf=1e6)[None]
    nearest = -F.max_pool2d(-front, 3, 1, 1)[0, 0]
    farthest = F.max_pool2d(F.pad(front, (OUTLINE,) * 4, value=1e6), 2 * OUTLINE + 1, 1)[0, 0]
    column, row = ((place - low) * scale).long().clamp(0, pixels - 1).unbind(2)
    return (depth < nearest[row, column] + DEPTH_TOLERANCE) & (farthest[row, column] < 1e6)


def _soften(weight: torch.Tensor, radius: int) -> torch.Tensor:
    """Fade a mask out towards its edge, inwards."""
    if radius < 1:
        return weight
    width = 2 * radius + 1  # rows, then columns: the same mean as of a square, in a fraction of the time
    blurred = F.avg_pool2d(weight[None, None], (width, 1), 1, (radius, 0))
    blurred = F.avg_pool2d(blurred, (1, width), 1, (0, radius))[0, 0]
    return weight * ((blurred - 0.5) * 2).clamp(0, 1)


def _match(source: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`source (3, S, S)` with mean and spread of `target` where `weight` is, channel by channel."""
    total = weight.sum().clamp_min(1)
    mean_source, mean_target = ((x * weight).sum((1, 2)) / total for x in (source, target))
    spread_source, spread_target = (
        (((x - mean[:, None, None]) ** 2 * weight).sum((1, 2)) / total).sqrt().clamp_min(1e-3)
        for x, mean in ((source, mean_source), (target, mean_target))
    )
    gain = (spread_target / spread_source).clamp(0.7, 1.4)
    return (source - mean_source[:, None, None]) * gain[:, None, None] + mean_target[:, None, None]


def _match_sides(mirrored: torch.Tensor, model_colour: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The mirrored half under the light of the side it goes to: the model's brightness tells the difference."""
    brightness = model_colour.mean(0, keepdim=True)  # of single channels the ratio makes seams in loud colours
    ratio = brightness.clamp_min(0.05) / brightness.flip(2).clamp_min(0.05)
    size = ratio.shape[1]
    smooth = F.interpolate(
        F.adaptive_avg_pool2d(ratio[None], size // 32), (size, size), mode="bilinear", align_corners=False
    )[0]
    return mirrored * smooth.clamp(0.75, 1.3)
