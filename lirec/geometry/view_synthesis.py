"""Where the pixels of a driven view come from in the source picture (JR2Net, equation 2)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lirec.geometry.rasterizer import Fragments

DEPTH_TOLERANCE = 0.005  # metres that a point may lie behind what the source sees there
REACH = 0.25  # of a picture's width round the mesh, over which its motion fades out


@dataclass
class HeadView:
    """
    B heads before their cameras.

    Args:
        vertices: (B, V, 3) metres, face frame.
        rotation: (B, 3, 3) to the camera frame.
        translation: (B, 3) metres.
        K: (B, 3, 3) intrinsics of a picture that is 1 unit wide and high.
    """

    vertices: torch.Tensor
    rotation: torch.Tensor
    translation: torch.Tensor
    K: torch.Tensor


@dataclass
class Correspondence:
    """
    Where each of H x W pixels of a driven view is found in the source.

    Args:
        grid: (B, H, W, 2) x, y in [-1, 1] as `grid_sample(align_corners=False)` reads them. Beyond the mesh the
            mesh's motion goes on and fades, so that far from it a pixel is found where it is.
        visible: (B, 1, H, W) the co-visible mask C: 1 where the mesh is seen and the source sees that point too.
    """

    grid: torch.Tensor
    visible: torch.Tensor


def pixel_grid(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(1, height, width, 2): the grid that finds each pixel where it is."""
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) * (2 / height) - 1
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) * (2 / width) - 1
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]


def warp(image: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Look pictures or features (B, C, h, w) up at a grid (B, H, W, 2), bilinearly; at the rim they go on."""
    return F.grid_sample(image, grid.to(image.dtype), padding_mode="border", align_corners=False)


def enlarge(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pictures, features or shares (B, C, h, w) at another size."""
    planes = x.reshape(-1, 1, *x.shape[2:])  # one by one they take a CPU half as long
    return F.interpolate(planes, size, mode="bilinear", align_corners=False).view(*x.shape[:2], *size)


def dense_correspondence(
    fragments: Fragments,
    points: torch.Tensor,
    source_depth: torch.Tensor,
    source_front: torch.Tensor,
    coarse: Correspondence | None = None,
) -> Correspondence:
    """
    Equation 2 for a surface that may deform: a pixel of the driven view sees a point of the mesh, and that point of
    the source's mesh, which has the source's own expression and pose, is projected into the source.

    Args:
        fragments: what the driven view sees of the mesh (H x W pixels).
        points: (B, H, W, 3) the source's projected vertices there: x, y in picture widths, depth in metres.
        source_depth: (B, 1, h, w) metres behind which the source sees nothing, of `hiding_depth`.
        source_front: (B, F) the triangles that turn their front to the source, of `seen_from_front`.
        coarse: the same in a smaller picture, which tells the motion beyond the mesh, where it is known already.
    """
    seen = fragments.triangle >= 0
    grid = points[..., :2] * 2 - 1
    before = F.grid_sample(source_depth, grid, mode="nearest", align_corners=False)[:, 0]
    facing = torch.take_along_dim(source_front, fragments.triangle.clamp_min(0).flatten(1), 1).view_as(seen)
    inside = (grid.abs() <= 1).all(-1)
    unhidden = (before == 0) | (points[..., 2] < before + DEPTH_TOLERANCE)
    visible = (seen & facing & inside & unhidden)[:, None].to(grid.dtype)
    known = seen[:, None].to(grid.dtype)
    if coarse is None:
        return Correspondence(extend(grid, known), visible)
    motion = (coarse.grid - pixel_grid(*coarse.grid.shape[1:3], grid)).movedim(-1, 1)
    beyond = pixel_grid(*seen.shape[1:], grid) + enlarge(motion, seen.shape[1:]).movedim(1, -1)
    return Correspondence(torch.where(seen[..., None], grid, beyond), visible)


def seen_from_front(points: torch.Tensor, triangles: torch.Tensor, mirrored: bool = False) -> torch.Tensor:
    """
    (B, F): whether triangles (F, 3) turn their front to the camera.

    Args:
        points: (B, V, 3) projected vertices; where `mirrored`, of a mirrored mesh, whose triangles turn the other way.
    """
    a, b, c = points[:, triangles, :2].unbind(2)
    area = (b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0]
    return area > 0 if mirrored else area < 0


def hiding_depth(fragments: Fragments) -> torch.Tensor:
    """(B, 1, H, W): the depth in metres of what a view sees, 0 where that is nothing.

    Where a surface is steep its depth differs within a pixel, so of a pixel and its neighbours the farthest counts.
    """
    depth = torch.where(fragments.depth.isinf(), 0, fragments.depth)[:, None]
    return F.max_pool2d(depth, 3, 1, 1)


def extend(grid: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """
    A grid (B, H, W, 2) that is right where known (B, 1, H, W) is 1, with its motion carried on to the other pixels.

    Pull and push: what is unknown gets the mean of ever larger neighbourhoods, and no motion where even the largest
    knows none.
    """
    height, width = known.shape[2:]
    rest = pixel_grid(height, width, grid)
    motion = (grid - rest).permute(0, 3, 1, 2) * known
    pyramid = [torch.cat((motion, known), 1)]
    for _ in range(max(round(math.log2(REACH * width)), 0)):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2, ceil_mode=True, count_include_pad=False))
    filled = torch.zeros_like(pyramid[-1][:, :2])
    for level in reversed(pyramid):
        if filled.shape[2:] != level.shape[2:]:
            filled = enlarge(filled, level.shape[2:])
        weight = level[:, 2:]
        filled = filled + (level[:, :2] - weight * filled)  # weight * mean + (1 - weight) * what is behind
    return filled.permute(0, 2, 3, 1) + rest


def reproject(
    depth: torch.Tensor, K_driven: torch.Tensor, K_source: torch.Tensor, relative: torch.Tensor
) -> torch.Tensor:
    """
    Equation 2 as it stands, for a rigid head: `p_s ~ K_s P_rel D_t(p_t) K_t⁻¹ p_t`.

    Args:
        depth: (B, 1, H, W) the driven view's depth map in metres.
        K_driven, K_source: (B, 3, 3) intrinsics of pictures 1 unit wide and high.
        relative: (B, 4, 4) from the driven view's camera frame to the source's.

    Returns:
        (B, H, W, 2) grid for `warp`; it means something only where there is depth.
    """
    height, width = depth.shape[2:]
    pixels = (pixel_grid(height, width, depth) + 1) / 2
    pixels = torch.cat((pixels, torch.ones_like(pixels[..., :1])), -1).flatten(1, 2)
    points = pixels @ torch.linalg.inv(K_driven).transpose(1, 2) * depth.flatten(2).transpose(1, 2)
    points = points @ relative[:, :3, :3].transpose(1, 2) + relative[:, None, :3, 3]
    points = points @ K_source.transpose(1, 2)
    grid = points[..., :2] / points[..., 2:].clamp_min(1e-6) * 2 - 1
    return grid.view(len(depth), height, width, 2)
