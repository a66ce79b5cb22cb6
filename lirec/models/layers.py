"""Blocks that more than one network uses."""

from collections.abc import Sequence

from transformers import ResNetConfig, ResNetModel


def resnet(layer_type: str, depths: Sequence[int], hidden_sizes: Sequence[int], embedding_size: int) -> ResNetModel:
    """A ResNet without its classifier (He et al. 2016), untrained.

    Args:
        layer_type: "bottleneck" (ResNet-50) or "basic" (ResNet-18, 34).
        depths, hidden_sizes: blocks and channels of the stages.
        embedding_size: channels of the stem.
    """
    config = ResNetConfig(
        embedding_size=embedding_size, hidden_sizes=list(hidden_sizes), depths=list(depths), layer_type=layer_type
    )
    return ResNetModel(config)
