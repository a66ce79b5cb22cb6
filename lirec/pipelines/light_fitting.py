"""The light in a photo, fitted to its pixels; what RecNet sees of it is the start."""

import torch
import torch.nn.functional as F

from lirec.geometry import (
    euler_to_matrix,
    fit_light,
    intrinsics,
    linear_to_srgb,
    render,
    shade,
    srgb_to_linear,
)
from lirec.models.morphable_model import MorphableModel
from lirec.models.rec_net import RecNetOutput

SIZE = 64  # px, which is enough for light
RIDGE = 0.3  # pull towards RecNet's light, of which the unseen directions remain
OUTLIER = 0.1  # difference in sRGB from which on a pixel shows something else: hair, glasses, a shadow, a highlight
ROUNDS = 3


@torch.no_grad()
def fitted_light(images: torch.Tensor, seen: RecNetOutput, model: MorphableModel) -> torch.Tensor:
    """
    The light under which the skin of reconstructed faces looks as it does in their pictures.

    Args:
        images: (B, 3, S, S) sRGB in [0, 1], the crops in which RecNet saw the faces.

    Returns:
        (B, 9, 3) spherical harmonics; RecNet's where no skin is seen.
    """
    image = F.interpolate(images.float(), (SIZE, SIZE), mode="area")
    camera = intrinsics(SIZE * seen.focal, seen.focal.new_full((len(image), 2), SIZE / 2))
    drawn = render(
        model(seen.identity, seen.expression), model.triangles, euler_to_matrix(seen.angles), seen.translation,
        camera, SIZE, SIZE, texture=model.albedo(seen.albedo), uv=model.uv, triangles_uv=model.triangles_uv,
        light=seen.light, triangle_mask=model.select_triangles("skin"),
    )  # fmt: skip
    missing = srgb_to_linear(image) - drawn.albedo * drawn.light
    normals, light = drawn.normal.movedim(1, -1), seen.light
    for _ in range(ROUNDS):
        shown = linear_to_srgb((drawn.albedo * shade(normals, light).movedim(-1, 1)).clamp(0, 1))
        error = (shown - image).abs().mean(1, keepdim=True)
        weight = drawn.mask * torch.exp(-(error / OUTLIER).square())
        light = seen.light + fit_light(drawn.albedo, drawn.normal, missing, weight, RIDGE)
    return light
