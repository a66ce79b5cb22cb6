"""Masks of pictures: larger ones, whole ones, soft ones, and means of what they show."""

import torch
import torch.nn.functional as F


def grown(mask: torch.Tensor, share: float) -> torch.Tensor:
    """A mask (B, 1, S, S), larger by a share of the picture's width all round."""
    return _maximum(mask, round(share * mask.shape[3]))


def closed(mask: torch.Tensor, share: float) -> torch.Tensor:
    """A mask (B, 1, S, S) without gaps that are narrower than twice a share of the picture's width."""
    radius = round(share * mask.shape[3])
    padded = F.pad(mask, [radius] * 4)  # what is beside the picture's edge is no gap
    return F.pad(1 - _maximum(1 - _maximum(padded, radius), radius), [-radius] * 4)


def opened(mask: torch.Tensor, share: float) -> torch.Tensor:
    """A mask (B, 1, S, S) without parts that are narrower than twice a share of the picture's width."""
    return 1 - closed(1 - mask, share)


def _maximum(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """The largest values in squares round each pixel."""
    rows = F.max_pool2d(mask, (1, 2 * radius + 1), 1, (0, radius))
    return F.max_pool2d(rows, (2 * radius + 1, 1), 1, (radius, 0))


def ramp(values: torch.Tensor, ends: tuple[float, float]) -> torch.Tensor:
    """0 up to the first end, 1 from the second on."""
    return ((values - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)


def masked_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(B, 1), of values and weights (B, 1, S, S); 0 where nothing has weight."""
    return (values * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1e-6)
