"""ETNet: a crop to expression coefficients (JR2Net, "Expression tracking")."""

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput

from lirec.models.crop_regressor import CropRegressor
from lirec.models.mesh_feedback import Head, head_counts, read_head


@dataclass
class ETNetOutput(BaseOutput):
    """
    Args:
        expression (`torch.Tensor` of shape `(B, 51)`): β as regressed, a little beyond [0, 1] at times.
        heads (`list[Head]`): all that is regressed, before and after each step of `MeshFeedback`; while no gradients
            are recorded, after the last alone.
    """

    expression: torch.Tensor
    heads: list[Head]


class ETNet(CropRegressor):
    r"""
    ResNet that regresses JR2Net's β from an upright crop round the landmarks.

    The paper's ResNet-34 with its average over all places is the default. Shape, pose and camera are regressed too,
    since `MeshFeedback`, which shipped weights have, needs to know where the face is.

    Args:
        image_size (`int`): Width and height of the crops.
        crop_scale (`float`): Side of the crops that it was trained on, over the box round the landmarks.
        layer_type (`str`): `"basic"` (ResNet-18, 34) or `"bottleneck"` (ResNet-50).
        depths, hidden_sizes (`list[int]`): Blocks and channels of the stages.
        embedding_size (`int`): Channels of the stem.
        head_width (`int`): Units of a hidden layer after the average over all places; the paper's network has none.
        feedback_steps (`int`): How often `MeshFeedback` looks again; the paper's network does not.
        identity_count, expression_count (`int`): Numbers of coefficients.
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
        head_width: int = 0,
        feedback_steps: int = 0,
        identity_count: int = 80,
        expression_count: int = 51,
    ):
        super().__init__()
        self._build(sum(head_counts(identity_count, expression_count)))

    def forward(self, images: torch.Tensor) -> ETNetOutput:
        """
        Args:
            images (`torch.Tensor` of shape `(B, 3, image_size, image_size)`): sRGB crops in [0, 1].
        """
        looks = self._looks(images)
        counts = self.config.identity_count, self.config.expression_count
        heads = [read_head(numbers, *counts) for numbers in (looks if torch.is_grad_enabled() else looks[-1:])]
        return ETNetOutput(expression=heads[-1].expression, heads=heads)
