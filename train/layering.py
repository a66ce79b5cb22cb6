"""Which layer is to show what, for the networks that draw with DCNet's layers."""

import torch
import torch.nn.functional as F

from lirec import losses
from lirec.models.conditions import Surface
from lirec.models.dc_net import LAYERS
from lirec.models.layered_output import LayeredOutput


def layer_losses(output: LayeredOutput, surface: Surface) -> dict[str, torch.Tensor]:
    """
    Terms, each weighted, that keep the layers to their tasks where the picture alone would not tell.

    Args:
        output: of `LAYERS`, B pictures.
        surface: what they see of the head, at the size of the picture.
    """
    share = dict(zip(LAYERS, output.weights.split(1, 1), strict=True))
    seen = surface.mask * surface.correspondence.visible
    hidden = surface.mask - seen
    return {
        "smooth": 0.1 * losses.total_variation(output.offsets),
        # What is seen in the source is not to be painted, nor to be the other half, which in photos is not the same;
        # nor are hair and background, of which the photo knows more than a network that saw none.
        "copy": 0.05 * ((share["generated"] + share["completed"]) * seen).mean()
        + 0.02 * (share["generated"] * (1 - surface.mask)).mean(),
        "completed": 0.02 * (share["completed"] * (1 - surface.mask)).mean(),
        # Teeth and tongue that it never saw are the mesh's, which are sharp; but lips that it sees a little apart may
        # be closed. The mesh's average skin is of no help.
        "mouth": 0.06 * _mean_within(1 - share["interior"], _eroded(surface.mouth) * hidden),
        "skin": 0.05 * (share["interior"] * (1 - surface.mouth - surface.eyes)).mean(),
    }


def _mean_within(share: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of a share where the mask is; less where that is next to nothing."""
    return (share * mask).sum() / (mask.sum() + 200)


def _eroded(mask: torch.Tensor, pixels: int = 2) -> torch.Tensor:
    """A mask (B, 1, S, S) without its margin."""
    return -F.max_pool2d(-mask, 2 * pixels + 1, 1, pixels)
