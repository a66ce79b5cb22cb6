"""What RecNet and ETNet have in common: numbers regressed from a crop by a ResNet, which may look again."""

import torch
from diffusers import ConfigMixin, ModelMixin
from torch import nn

from lirec.models.layers import CropFeatures
from lirec.models.mesh_feedback import MeshFeedback
from lirec.models.morphable_model import MorphableModel


class CropRegressor(ModelMixin, ConfigMixin):
    """
    A ResNet, a linear layer on the average of its last stage, and `MeshFeedback` where the configuration has some.

    A subclass registers the configuration, with the names that `_build` reads, and calls it.
    """

    def _build(self, number_count: int) -> None:
        """Make the layers that regress so many numbers, the first of which are those of `read_head`."""
        config = self.config
        self.backbone = CropFeatures(
            config.layer_type, config.depths, config.hidden_sizes, config.embedding_size, config.head_width
        )
        self.head = nn.Linear(self.backbone.count, number_count)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.feedback = None
        if config.feedback_steps:
            self.feedback = MeshFeedback(
                (config.embedding_size, *config.hidden_sizes),
                self.backbone.count,
                number_count,
                config.identity_count,
                config.expression_count,
                config.feedback_steps,
            )

    def attach(self, model: MorphableModel) -> None:
        """Give `MeshFeedback`, if there is any, its vertices; before the first training."""
        if self.feedback is not None:
            self.feedback.attach(model)

    def _looks(self, images: torch.Tensor) -> list[torch.Tensor]:
        """
        The numbers (B, N) that were seen in crops (B, 3, S, S), sRGB in [0, 1]: at first, and after each step of
        `MeshFeedback`.
        """
        features, maps = self.backbone(images)
        numbers = self.head(features)
        return [numbers] if self.feedback is None else self.feedback(numbers, features, maps, images)
