"""Hair in a picture: it stands off the mesh, which ends at the scalp, and hangs over ears that are not seen."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from lirec.geometry import srgb_to_linear
from lirec.geometry.masks import grown, masked_mean, ramp
from lirec.geometry.view_synthesis import pixel_grid

NEAR, FAR, AWAY = 0.016, 0.07, 0.16  # of a picture's width round a head: hair from the first to the second, if any;
# from the third on, background
BARE = 0.03  # from the edge of the skin, within which a face is surely bare
CROWN, EAR, JAW = 0.7, 0.55, 0.1  # heights between chin and crown: beside the head hair is above the first, if any;
# between the others it hangs beside the face
DARK = 0.02  # added to linear colours before their logarithms, by which they are compared
LEAST = 0.15  # standard deviation of these logarithms, at least
ENOUGH = 0.001  # share of a picture that tells a colour
TOLD = (0.25, 0.5)  # how much likelier hair must be beside the head than far from it to be told, and to be sure
BANDS = 3  # of heights between ear and jaw, down to the lowest of which hair may hang
HANGING = (0.3, 0.5)  # share of what is beside the face there that is hair, where it does not hang, and where it does


@dataclass
class Hair:
    """
    The hair of B heads.

    Attributes:
        colour: (B, 3) linear RGB, as it is lit.
        trust: (B, 1, 1, 1) in [0, 1]: whether it can be told from what is behind it, and from skin.
        likelihood: (B, 1, S, S) in [0, 1]: that a pixel is hair, by its colour.
        axis: (B, 2, 2) chin and crown, x, y in picture widths.
        hanging: (B, 2, BANDS) in [0, 1]: whether it hangs so far down beside the face, left and right of this axis.
        variety: (B, 1, 1, 1) standard deviation of the logarithms of its colours.
    """

    colour: torch.Tensor
    trust: torch.Tensor
    likelihood: torch.Tensor
    axis: torch.Tensor
    hanging: torch.Tensor
    variety: torch.Tensor

    def covers(self, place: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W) in [0, 1]: whether it hangs at places (B, H, W, 2), in picture widths, beside the face."""
        height, side = upright(place, self.axis)
        band = ((EAR - height) * (BANDS / (EAR - JAW)) - 0.5).clamp(0, BANDS - 1)  # 0 in the middle of the first
        near = (1 - (band[..., None] - torch.arange(BANDS, device=band.device)).abs()).clamp_min(0)
        left, right = torch.einsum("bchwk,bsk->sbchw", near, self.hanging)
        return torch.where(side < 0, left, right) * self.trust


def find_hair(image: torch.Tensor, mask: torch.Tensor, skin: torch.Tensor, axis: torch.Tensor) -> Hair:
    """
    What surrounds the upper head is hair, if its colours are neither those of the skin nor those far from the head.

    Args:
        image: (B, 3, S, S) sRGB in [0, 1].
        mask: (B, 1, S, S) the head's mesh; skin: (B, 1, S, S) its skin.
        axis: (B, 2, 2) chin and crown, x, y in picture widths.
    """
    place = (pixel_grid(*image.shape[2:], image) + 1) / 2
    height, side = upright(place, axis)
    beside = grown(mask, FAR) - grown(mask, NEAR)
    above, away = beside * (height > CROWN), (1 - grown(mask, AWAY)) * (height > JAW)
    bare = 1 - grown(1 - skin, BARE)

    colours = (srgb_to_linear(image) + DARK).log()
    others = [_Colours.of(colours, weight).log_density(colours) for weight in (away, bare)]
    likelihood = 1.0
    for _ in range(2):  # once more without what is background or skin after all
        hair = _Colours.of(colours, above * likelihood)
        likelihood = torch.cat((hair.log_density(colours), *others), 1).softmax(1)[:, :1]
    told = masked_mean(likelihood, above) - torch.maximum(masked_mean(likelihood, away), masked_mean(likelihood, bare))
    known = (above.mean((2, 3)) > ENOUGH) & (away.mean((2, 3)) > ENOUGH)
    ends = [EAR + (JAW - EAR) * band / BANDS for band in range(BANDS + 1)]
    bands = [beside * (height < upper) * (height > lower) for upper, lower in pairwise(ends)]
    hanging = [[masked_mean(likelihood, band * half) for band in bands] for half in (side < 0, side > 0)]
    hanging = torch.stack([torch.cat(half, 1) for half in hanging], 1).cummin(2).values
    return Hair(
        colour=(hair.mean[..., 0].exp() - DARK).clamp_min(0),
        trust=(ramp(told, TOLD) * known)[..., None, None],
        likelihood=likelihood,
        axis=axis,
        hanging=ramp(hanging, HANGING),
        variety=hair.variance.mean(1).sqrt()[:, None, None, None],
    )


class _Colours:
    """Normal distributions of colours: mean (B, 3, 1), inverse covariance (B, 3, 3) and variance (B, 3)."""

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor):
        self.mean, self.inverse, self.spread = mean, covariance.inverse(), covariance.logdet()
        self.variance = covariance.diagonal(dim1=1, dim2=2)

    @classmethod
    def of(cls, colours: torch.Tensor, weight: torch.Tensor) -> "_Colours":
        """Of colours (B, 3, S, S) with weights (B, 1, S, S)."""
        pixels, weight = colours.flatten(2), weight.flatten(2)
        weight = weight / weight.sum(2, keepdim=True).clamp_min(1e-6)
        mean = (pixels * weight).sum(2, keepdim=True)
        off = pixels - mean
        return cls(mean, (off * weight) @ off.transpose(1, 2) + LEAST**2 * torch.eye(3, device=pixels.device))

    def log_density(self, colours: torch.Tensor) -> torch.Tensor:
        """(B, 1, S, S) of colours (B, 3, S, S), up to a constant."""
        off = colours.flatten(2) - self.mean
        distance = (off * (self.inverse @ off)).sum(1)
        return (-0.5 * (distance + self.spread[:, None])).view(len(off), 1, *colours.shape[2:])


def upright(place: torch.Tensor, axis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How high places (1 or B, H, W, 2) are along chin and crown, 0 to 1, and how far to the right, (B, 1, H, W)."""
    chin, up = axis[:, 0], axis[:, 1] - axis[:, 0]
    off = (place - chin[:, None, None])[:, None]
    up = up[:, None, None, None] / up.square().sum(1).clamp_min(1e-9)[:, None, None, None, None]
    x, y = off.unbind(-1)
    return x * up[..., 0] + y * up[..., 1], y * up[..., 0] - x * up[..., 1]
