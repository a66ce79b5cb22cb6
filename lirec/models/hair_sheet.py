"""Hair, of which a morphable model has none: a sheet that stands and hangs round the head, and turns with it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lirec.geometry import interpolate, linear_to_srgb, project, rasterize
from lirec.geometry.masks import closed, grown, masked_mean, opened, ramp
from lirec.geometry.mesh import grid_triangles
from lirec.geometry.view_synthesis import DEPTH_TOLERANCE, HeadView, pixel_grid, warp
from lirec.models.hair import CROWN, EAR, Hair, upright

NODES = 48  # of the sheet along each side of a picture
RIM = 0.012  # of a picture's width inside the head's outline: the sheet begins there, and is as far away as the head is
TEMPLES = (0.3, 0.9)  # heights between chin and crown, between which the outline tells that distance
SLOPE = 0.01  # squared heads: how little the outline must spread sideways to tell a slope
TOP = (0.45, 0.65)  # heights between chin and crown, below the first of which there is only hair that hangs
TOLD, SURE = (0.3, 0.7), (0.5, 0.65)  # likelihoods of hair, and of its hanging at a side
SHINES, NEAR = (0.2, 0.5), 0.1  # likelihoods of hair above a head, below which hair shines; so many picture widths off
GAP, STREAK = 0.03, 0.02  # of a picture's width, half that of gaps in hair near a head, and of what is too thin
WITHIN = (0.65, 0.95)  # share of a pixel's surroundings: what is at the edge of hair shows some of the background
VARIETY = (0.8, 0.72)  # of hair's colours: from the first on they are those of several things
PASSES = (0.2, 0.5)  # shares above a pixel, with which it is not joined to the hair there, and with which it is
FAR = (0.95, 0.75)  # heads beside the face, from the first of which on nothing is hair, and up to the second all is
LOW = (-1.0, -0.6)  # heights, below the first of which nothing is, and above the second all
BESIDE = (0.1, 0.3)  # heights, above the second of which nothing but hair is beside a head
SHOULDERS = (-0.45, 0.0)  # heights, below the first of which hair stays with the body, and above the second turns
EDGE_ON = (0.4, 0.65)  # cosines of a turn, up to which the sheet is seen from its edge, and from which on it is drawn
BORDER = 0.03  # of a picture's width, over which the sheet fades: nobody knows how it goes on
SOME, STRANDS = (0.1, 0.4), 0.012  # share of a pixel; of a picture's width, round it
NOTICED = 0.02  # share of a sheet's most opaque pixel, below which there is no hair


@dataclass
class HairSheet:
    """
    The hair round B heads in their pictures.

    Args:
        share: (B, 1, S, S) in [0, 1]: how much of a pixel it is.
        points: (B, N, 3) nodes in the camera frame; places: (1, N, 2) where they are in the picture, in its widths.
        turning: (B, N, 1) in [0, 1]: whether they go with the head, or stay with the body.
        short: (B, 1, S, S) in [0, 1]: where it is at sides at which none hangs down to the jaw.
        colour: (B, 3) sRGB; trust: (B, 1, 1, 1) in [0, 1]: whether it is the hair's.
    """

    share: torch.Tensor
    points: torch.Tensor
    places: torch.Tensor
    turning: torch.Tensor
    short: torch.Tensor
    colour: torch.Tensor
    trust: torch.Tensor


@dataclass
class MovedHair:
    """
    Args:
        grid: (B, H, W, 2) where pixels of B driven views are found in the source, as of `Correspondence`.
        share: (B, 1, H, W) in [0, 1]: how much of these pixels is hair, and not hidden by the head.
        colour: (B, 3, 1, 1) sRGB.
        around: (B, 1, H, W) in [0, 1]: where nothing but hair of that colour may stand before the scene.
    """

    grid: torch.Tensor
    share: torch.Tensor
    colour: torch.Tensor
    around: torch.Tensor

    @property
    def extent(self) -> torch.Tensor:
        """(B, 1, H, W) in [0, 1]: where it is at all."""
        return extent(self.share)


def extent(share: torch.Tensor) -> torch.Tensor:
    """Where there is any of a share (B, 1, H, W) of pixels, and near it, where strands are too thin to be told."""
    return grown(ramp(share, SOME), STRANDS)


def find_sheet(hair: Hair, depth: torch.Tensor, ears: torch.Tensor, view: HeadView) -> HairSheet | None:
    """
    The sheet is as far from the camera as the outline of the head is, and slanted as that is from left to right.

    Args:
        hair: what was found in the pictures.
        depth: (B, 1, S, S) metres, of `hiding_depth`.
        ears: (B, 1, S, S) 1 where the head's are, which hair may cover.
        view: the heads as they are in the pictures.

    Returns:
        None if no head has hair that can be told from all else.
    """
    head = (depth > 0) * (1 - ears)
    place = (pixel_grid(*depth.shape[2:], depth) + 1) / 2
    height, side = upright(place, hair.axis)
    outer = F.avg_pool2d(grown(1 - head, RIM), 3, 1, 1, count_include_pad=False)
    edge = torch.minimum(place, 1 - place).amin(-1)[:, None]
    told, inner = ramp(hair.likelihood, TOLD), 1 - outer
    shines = ramp(hair.likelihood, SHINES).cummax(2).values * (height > CROWN)
    whole = closed(torch.stack((told, shines, inner * (height > CROWN))).amax(0), GAP)
    told = torch.maximum(told, whole * grown(head, NEAR) * (height > EAR))
    told = torch.minimum(told, opened(torch.maximum(told, inner), STREAK))
    within = F.avg_pool2d(told, 5, 1, 2, count_include_pad=False)
    there = torch.maximum(hair.covers(place), hair.trust * ramp(height, TOP))
    share = ramp(within, WITHIN) * ramp(there * ramp(hair.variety, VARIETY), SURE) * outer
    share = share * ramp(side.abs(), FAR) * ramp(height, LOW) * ramp(edge, (0, BORDER))
    share = _hanging(share, share * (height > EAR))
    if share.max() < NOTICED:
        return None
    long = (hair.hanging[:, half, -1, None, None, None] for half in range(2))
    short = extent(share) * (1 - torch.where(side < 0, *long))

    rim = head * outer * (height > TEMPLES[0]) * (height < TEMPLES[1])
    middle, near = (masked_mean(values, rim)[..., None, None] for values in (side, depth))
    slope = masked_mean((side - middle) * (depth - near), rim) / (masked_mean((side - middle) ** 2, rim) + SLOPE)
    distance = near + slope[..., None, None] * (side - middle)

    nodes = torch.linspace(0, 1, NODES, device=depth.device)
    places = torch.stack(torch.meshgrid(nodes, nodes, indexing="ij")[::-1], -1).view(1, -1, 2)
    distance, height = (
        warp(values, (places[None] * 2 - 1).expand(len(values), -1, -1, -1))[:, 0, 0, :, None]
        for values in (distance, height)
    )
    rays = torch.cat((places, torch.ones_like(places[..., :1])), 2) @ view.K.inverse().transpose(1, 2)
    turning = ramp(height, SHOULDERS)
    turning = turning * turning * (3 - 2 * turning)
    return HairSheet(share, rays * distance, places, turning, short, linear_to_srgb(hair.colour), hair.trust)


def _hanging(share: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
    """Of shares (B, 1, S, S) those that hang down from roots, without gaps and at 45° at most: no dark shoulders."""
    rows = [root[:, :, 0]]
    for here, own in zip(share.unbind(2)[1:], root.unbind(2)[1:], strict=True):
        rows.append(torch.maximum(own, here * ramp(F.max_pool1d(rows[-1], 3, 1, 1), PASSES)))
    return torch.stack(rows, 2)


def move(sheet: HairSheet, source: HeadView, view: HeadView, depth: torch.Tensor, axis: torch.Tensor) -> MovedHair:
    """
    The sheet in driven views.

    Args:
        sheet: one row or B.
        source: the heads as they are in the sheet's pictures; view: as they are driven.
        depth: (B, 1, H, W) metres at which the driven heads are seen, infinite elsewhere.
        axis: (B, 2, 2) their chins and crowns, x, y in picture widths.
    """
    height, width = depth.shape[2:]
    on_head = (sheet.points - source.translation[:, None]) @ source.rotation
    turned = on_head @ view.rotation.transpose(1, 2) + view.translation[:, None]
    points = sheet.points + sheet.turning * (turned - sheet.points)
    camera = torch.eye(3, device=depth.device).expand_as(view.K)
    pixels = project(points, camera, torch.zeros_like(view.translation), view.K)
    triangles = grid_triangles(NODES, NODES).to(depth.device)
    fragments = rasterize(pixels * pixels.new_tensor([width, height, 1]), triangles, height, width)
    nodes = torch.cat((sheet.places.expand(len(sheet.turning), -1, -1), sheet.turning), 2)
    seen = interpolate(fragments, triangles, nodes.expand(len(points), -1, -1))
    grid, turning = seen[..., :2] * 2 - 1, seen[..., 2]
    facing = ramp((view.rotation * source.rotation)[:, 2].sum(1), EDGE_ON)[:, None, None]
    hidden = turning * torch.maximum(1 - facing, (fragments.depth > depth[:, 0] + DEPTH_TOLERANCE).to(facing.dtype))
    shown = (fragments.triangle >= 0) * (1 - hidden)
    share = F.grid_sample(sheet.share.expand(len(points), -1, -1, -1), grid, align_corners=False)
    height_on_head, _ = upright((pixel_grid(height, width, depth) + 1) / 2, axis)
    around = sheet.trust * ramp(height_on_head, BESIDE) * depth.isinf()
    return MovedHair(grid, share * shown[:, None], sheet.colour[..., None, None], around)
