"""Looking at a rendered face through another window: shifted, zoomed, turned or mirrored, the truth with it."""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F

from lirec.geometry.rotation import euler_to_matrix, matrix_to_euler
from lirec.models.morphable_model import MorphableModel
from lirec.models.rec_net import RecNetOutput
from train.data.cache import FaceBatch
from train.data.skins import Dice

CROP_SCALE = 1.35  # side of the crop that RecNet looks at, over the landmarks' box


def mirror(batch: FaceBatch, chosen: torch.Tensor, model: MorphableModel) -> FaceBatch:
    """The mirror image of the pictures where `chosen (B,)` is True."""
    names = {"albedo": "albedo_coefficients"}  # of RecNetOutput, where FaceBatch has another
    fields = ("identity", "expression", "albedo", "angles", "translation", "focal", "light")
    truth = RecNetOutput(**{field: getattr(batch, names.get(field, field)) for field in fields})
    mirrored = {names.get(field, field): value for field, value in truth.mirrored(model).items()}
    landmarks = batch.landmarks[:, MIRRORED_LANDMARKS]
    mirrored["landmarks"] = torch.stack((batch.image.shape[3] - landmarks[..., 0], landmarks[..., 1]), 2)
    image = batch.image.clone()
    image[chosen] = image[chosen].flip(3)

    def where_chosen(name):
        old = getattr(batch, name)
        return torch.where(chosen.reshape(-1, *[1] * (old.ndim - 1)), mirrored[name], old)

    return replace(batch, image=image, **{name: where_chosen(name) for name in mirrored})


MIRRORED_LANDMARKS = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


def upright_axes(angle: torch.Tensor) -> torch.Tensor:
    """
    Matrices (B, 2, 2) from windows to pictures: what is turned counter-clockwise by `angle` (B,) radians there is
    upright in the window; y is down.
    """
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack((torch.stack((cosine, sine), 1), torch.stack((-sine, cosine), 1)), 1)


def cut_out(
    images: torch.Tensor, shift: torch.Tensor, side: torch.Tensor, angle: torch.Tensor, size: int
) -> torch.Tensor:
    """The windows (B, 3, size, size) of pictures (B, 3, S, S); the others as of `look_through`."""
    matrix = torch.cat((upright_axes(angle) * side[:, None, None], 2 * shift[..., None]), 2)
    grid = F.affine_grid(matrix, (len(images), 3, size, size), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def look_through(
    batch: FaceBatch, shift: torch.Tensor, side: torch.Tensor, angle: torch.Tensor, size: int
) -> tuple[FaceBatch, torch.Tensor]:
    """
    The window of each picture that `Crop` would cut: centred `shift` from the middle, `side` wide, turned by `angle`.

    Args:
        batch: pictures of width S.
        shift (`(B, 2)`), side (`(B,)`): in picture widths.
        angle (`(B,)`): radians; what is turned counter-clockwise by it becomes upright.
        size: pixels of the new pictures.

    Returns:
        The new batch and the camera's turn `(B, 3, 3)`: normals in the new camera are `n @ turnᵀ` of those in the old.
    """
    to_picture = upright_axes(angle)

    # the camera turns towards the window's middle, then rolls
    ray = torch.cat((shift / batch.focal[:, None], torch.ones_like(side)[:, None]), 1)
    turn = _turn_to_axis(F.normalize(ray, dim=1))
    roll = torch.zeros_like(turn)
    roll[:, :2, :2] = to_picture.transpose(1, 2)
    roll[:, 2, 2] = 1
    turn = roll @ turn
    scale = batch.image.shape[3]
    points = ((batch.landmarks / scale - 0.5 - shift[:, None]) @ to_picture) / side[:, None, None] + 0.5
    return replace(
        batch,
        image=cut_out(batch.image, shift, side, angle, size),
        angles=matrix_to_euler(turn @ euler_to_matrix(batch.angles)),
        translation=(turn @ batch.translation[..., None])[..., 0],
        focal=batch.focal / side,
        landmarks=points * size,
    ), turn


def _turn_to_axis(ray: torch.Tensor) -> torch.Tensor:
    """The smallest rotation (B, 3, 3) that takes unit rays (B, 3) to the optical axis."""
    x, y, z = ray.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack(  # of the axis x × (0, 0, 1)
        (torch.stack((zero, zero, -x), 1), torch.stack((zero, zero, -y), 1), torch.stack((x, y, zero), 1)), 1
    )
    eye = torch.eye(3, device=ray.device).expand(len(ray), 3, 3)
    return eye + cross + cross @ cross / (1 + z)[:, None, None]


def random_window(batch: FaceBatch, dice: Dice, size: int) -> tuple[FaceBatch, torch.Tensor]:
    """
    Windows as the pipeline cuts them: two thirds upright and well placed, as round landmarks that are known
    already, the rest as round a detector's box.
    """
    loose = dice.chance(0.35)
    roll = batch.angles[:, 2]
    low, high = batch.landmarks.amin(1), batch.landmarks.amax(1)
    scale = batch.image.shape[3]
    box_side = (high - low).amax(1) / scale
    shift = ((low + high) / 2 / scale - 0.5) + dice.normal(0, 1, 2) * torch.where(loose > 0, 0.045, 0.015)[
        :, None
    ]
    side = CROP_SCALE * box_side * torch.exp(dice.normal() * torch.where(loose > 0, 0.1, 0.04))
    angle = torch.where(loose > 0, dice.normal(0, math.radians(6)), roll + dice.normal(0, math.radians(3)))
    return look_through(batch, shift, side, angle, size)
