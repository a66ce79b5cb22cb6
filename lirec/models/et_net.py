"""ETNet: a crop to expression coefficients (JR2Net, "Expression tracking")."""

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import nn

from lirec.models.layers import CropFeatures


@dataclass
class ETNetOutput(BaseOutput):
    """
    Args:
        expression (`torch.Tensor` of shape `(B, 51)`): β as regressed, a little beyond [0, 1] at times.
        features (`torch.Tensor` of shape `(B, D)`): what it is regressed from; training reads more from it.
        points (`torch.Tensor` of shape `(B, P, 2)`, *optional*): those that `PointMaps` finds.
    """

    expression: torch.Tensor
    features: torch.Tensor
    points: torch.Tensor | None = None


class ETNet(ModelMixin, ConfigMixin):
    r"""
    ResNet that regresses JR2Net's β from an upright crop round the landmarks.

    The paper's ResNet-34 with its average over all places is the default; shipped weights keep the places
    (`lirec.models.layers.CropFeatures`).

    Args:
        image_size (`int`): Width and height of the crops.
        crop_scale (`float`): Side of the crops that it was trained on, over the box round the landmarks.
        layer_type (`str`): `"basic"` (ResNet-18, 34) or `"bottleneck"` (ResNet-50).
        depths, hidden_sizes (`list[int]`): Blocks and channels of the stages.
        embedding_size (`int`): Channels of the stem.
        place_channels (`list[int]`), head_width (`int`), point_count (`int`): As in `CropFeatures`.
        expression_count (`int`): Number of coefficients.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 224,
        crop_scale: float = 1.2,
        layer_type: str = "basic",
        depths: tuple[int, ...] = (3, 4, 6, 3),
        hidden_sizes: tuple[int, ...] = (64, 128, 256, 512),
        embedding_size: int = 64,
        place_channels: tuple[int, ...] = (),
        head_width: int = 0,
        point_count: int = 0,
        expression_count: int = 51,
    ):
        super().__init__()
        self.backbone = CropFeatures(
            image_size, layer_type, depths, hidden_sizes, embedding_size, place_channels, head_width, point_count
        )
        self.head = nn.Linear(self.backbone.count, expression_count)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: torch.Tensor) -> ETNetOutput:
        """
        Args:
            images (`torch.Tensor` of shape `(B, 3, image_size, image_size)`): sRGB crops in [0, 1].
        """
        features, points = self.backbone(images)
        return ETNetOutput(expression=self.head(features).float(), features=features, points=points)
