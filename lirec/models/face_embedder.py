"""FaceEmbedder: a face crop to a unit vector, near for pictures of one person; trained on rendered people."""

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from lirec.models.layers import resnet


class FaceEmbedder(ModelMixin, ConfigMixin):
    r"""
    ResNet whose pooled features become a unit vector; the cosine of two says how alike two people are.

    It takes the place of the face recognition networks that JR2Net's identity loss and metrics use, whose weights are
    not free. Its features at each stage also serve as a perceptual loss.

    Args:
        image_size (`int`): Width and height of the crops.
        crop_scale (`float`): Side of the crops over the box round the landmarks.
        layer_type, depths, hidden_sizes, embedding_size: as in [`RecNet`].
        dimension (`int`): Length D of the vectors.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 112,
        crop_scale: float = 1.35,
        layer_type: str = "basic",
        depths: tuple[int, ...] = (1, 1, 1, 1),
        hidden_sizes: tuple[int, ...] = (32, 64, 128, 256),
        embedding_size: int = 32,
        dimension: int = 128,
    ):
        super().__init__()
        self.backbone = resnet(layer_type, depths, hidden_sizes, embedding_size)
        self.head = nn.Linear(hidden_sizes[-1] * 4, dimension)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Crops `(B, 3, S, S)`, sRGB in [0, 1], to unit vectors `(B, D)`; S is brought to `image_size`."""
        features = F.adaptive_avg_pool2d(self.features(images)[-1], 2).flatten(1)
        return F.normalize(self.head(features).float(), dim=1)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The four stages' features `(B, C, h, w)`, fine to coarse, for perceptual losses."""
        size = self.config.image_size
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
        states = self.backbone((images - 0.5) / 0.25, output_hidden_states=True).hidden_states
        return list(states[1:])
