"""Masks of pictures: larger ones, and means of what they show."""

import torch
import torch.nn.functional as F


def grown(mask: torch.Tensor, share: float) -> torch.Tensor:
    """A mask (B, 1, S, S), larger by a share of the picture's width all round."""
    radius = round(share * mask.shape[3])
    rows = F.max_pool2d(mask, (1, 2 * radius + 1), 1, (0, radius))
    return F.max_pool2d(rows, (2 * radius + 1, 1), 1, (radius, 0))


def masked_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(B, 1), of values and weights (B, 1, S, S); 0 where nothing has weight."""
    return (values * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1e-6)
