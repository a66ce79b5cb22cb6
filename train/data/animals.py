"""Faces of no person, for the face detector: rendered heads with an animal's proportions and fur."""

import torch
import torch.nn.functional as F
from torch import Tensor

from train.data.skins import Dice, column

COATS = (
    (0.95, 0.93, 0.88), (0.75, 0.6, 0.4), (0.55, 0.38, 0.22), (0.3, 0.2, 0.13), (0.08, 0.07, 0.07), (0.5, 0.5, 0.5),
)  # fmt: skip


def animal_heads(patch: Tensor, landmarks: Tensor, generator: torch.Generator) -> Tensor:
    """
    Args:
        patch: (B, 4, S, S) sRGB in [0, 1] and foreground of rendered heads.
        landmarks: (B, 68, 2) px.

    Returns:
        (B, 4, S, S): eyes near to each other as a monkey's or far apart as a dog's, the middle of the face long or
        short, fur round the face and some on it, sometimes a dark nose.
    """
    dice = Dice(len(patch), generator)
    nose, eyes = landmarks[:, 30:36].mean(1), landmarks[:, 36:48].mean(1)
    span = (landmarks[:, 45] - landmarks[:, 36]).norm(dim=1).clamp_min(2.0)  # between the eyes' outer corners
    origin = torch.stack((landmarks[:, 27:31, 0].mean(1), eyes[:, 1]), 1)
    # in spans, from the middle between the eyes
    places = (_pixels(patch) - origin[:, None, None]) / span[:, None, None, None]
    patch = _reshape(patch, places, origin, span, dice)

    coat = torch.tensor(COATS, device=patch.device)
    fur, marks = (coat[dice.choice([1.0] * len(COATS))] for _ in range(2))
    hairs = _hairs(places, dice)
    spotted = torch.sigmoid(6 * (dice.noise(*patch.shape[2:], 12, 12) - column(dice.uniform(0.3, 2.5))))
    tone = column(fur) + spotted * (column(marks) - column(fur))
    furry = (tone * (1 + column(dice.uniform(0.1, 0.4)) * hairs)).clamp(0, 1)

    radii = torch.stack((dice.uniform(0.5, 0.75), dice.uniform(0.55, 0.95)), 1)
    middle = torch.stack((torch.zeros_like(span), dice.uniform(0.25, 0.5)), 1)
    reach = ((places - middle[:, None, None]) / radii[:, None, None]).norm(dim=3)[:, None] + 0.12 * hairs
    skin = torch.sigmoid((1 - reach) * column(dice.uniform(4, 20)))
    face = patch[:, :3] * (1 + hairs * column(dice.uniform(0, 0.12)))
    tint = column(dice.uniform(0, 0.8) * dice.chance(0.6))
    face = face + tint * (face.mean(1, keepdim=True) * (0.4 + 1.2 * tone) - face)
    # smaller than an open mouth, so that it is not taken for a sign of animals
    tip = ((_pixels(patch) - nose[:, None, None]) / span[:, None, None, None]).norm(dim=3)[:, None]
    muzzle = torch.sigmoid((column(dice.uniform(0.06, 0.12)) - tip) * 30) * column(dice.chance(0.4))
    face = face * (1 - 0.85 * muzzle)
    return torch.cat([(skin * face + (1 - skin) * furry).clamp(0, 1), patch[:, 3:]], 1)


def _pixels(patch: Tensor) -> Tensor:
    """(S, S, 2) x and y of the pixels' middles."""
    axis = torch.arange(patch.shape[3], device=patch.device) + 0.5
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)


def _reshape(patch: Tensor, places: Tensor, origin: Tensor, span: Tensor, dice: Dice) -> Tensor:
    """Other proportions: `places` (B, S, S, 2) of the wanted picture are looked up elsewhere in the given one."""
    near = dice.chance(0.75) > 0
    squeeze = torch.where(near, dice.uniform(1.3, 2.0), dice.uniform(0.35, 0.6))[:, None, None]
    length = torch.where(near, dice.uniform(0.8, 1.1), dice.uniform(0.55, 1.3))[:, None, None]
    closeness = torch.exp(-places.square().sum(3) / 0.7)
    x = places[..., 0] * (1 + (squeeze - 1) * closeness)
    y = places[..., 1] * (1 + (length - 1) * torch.exp(-places.square().sum(3) / 1.5))
    wanted = torch.stack((x, y), 3) * span[:, None, None, None] + origin[:, None, None]
    grid = wanted * (2 / patch.shape[3]) - 1
    return F.grid_sample(patch, grid, padding_mode="border", align_corners=False)


def _hairs(places: Tensor, dice: Dice) -> Tensor:
    """(B, 1, S, S) of about unit variance: fine strokes that lead away from the middle of the face."""
    strokes = dice.noise(64, 640, 5, 1.5)
    angle = torch.atan2(places[..., 0], 0.4 - places[..., 1]) / torch.pi
    distance = places.norm(dim=3) / 1.5 - 1
    grid = torch.stack((angle, distance), 3)
    return F.grid_sample(strokes, grid, padding_mode="reflection", align_corners=False)
