"""Values for places that have none, out of what surrounds them."""

import torch
import torch.nn.functional as F

ENOUGH = 0.05  # share of a surrounding that must be known for its mean to stand for all of it
COARSE = 28  # rows of a texture of a head, below which its surroundings grow along the rows first


def spread(premultiplied: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """
    Pull and push: values for all texels out of those that have weight, as averages of ever larger surroundings.

    Beyond a small square they grow along the rows first, which are the heights of a head: hair goes on as hair, skin
    as skin.

    Args:
        premultiplied: (B, C, S, S) values times their weights.
        weight: (B, 1, S, S) in [0, 1].

    Returns:
        (B, C, S, S); 0 if nothing has weight.
    """
    levels = [torch.cat((premultiplied, weight), 1)]
    while levels[-1].shape[2:].numel() > 1:
        square = levels[-1].shape[2] > COARSE
        pool = (2, 2) if square else (1, 2) if levels[-1].shape[3] > 1 else (2, 1)
        levels.append(F.avg_pool2d(levels[-1], pool, ceil_mode=True))
    values = levels[-1][:, :-1] / levels[-1][:, -1:].clamp_min(1e-6)
    for level in levels[-2::-1]:
        values = F.interpolate(values, level.shape[2:], mode="bilinear", align_corners=False)
        share = level[:, -1:]
        own = level[:, :-1] / share.clamp_min(1e-6)
        values = values + (share / ENOUGH).clamp(0, 1) * (own - values)
    return values
