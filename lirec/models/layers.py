"""Blocks that more than one network uses."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from transformers import ResNetConfig, ResNetModel


class StaysFloat32:
    """A network that computes in float32 wherever it is moved: its coordinates are off by pixels in half precision."""

    def _apply(self, fn, recurse: bool = True):
        def kept(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return tensor.float().to(moved.device) if moved.dtype in (torch.float16, torch.bfloat16) else moved

        return super()._apply(kept, recurse)


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


class CropFeatures(nn.Module):
    """What a ResNet sees in a square crop: one vector, the average of its last stage, and maps.

    Args:
        layer_type, depths, hidden_sizes, embedding_size: of the `resnet`.
        head_width: units of a hidden layer after the average, 0 for none.

    Attributes:
        count: length of the vector.
    """

    def __init__(
        self,
        layer_type: str,
        depths: Sequence[int],
        hidden_sizes: Sequence[int],
        embedding_size: int,
        head_width: int = 0,
    ):
        super().__init__()
        self.resnet = resnet(layer_type, depths, hidden_sizes, embedding_size)
        self.hidden = nn.Linear(hidden_sizes[-1], head_width) if head_width else None
        self.count = head_width or hidden_sizes[-1]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """
        Args:
            images: (B, 3, H, W) sRGB crops in [0, 1].

        Returns:
            The vectors (B, count), and the maps (B, C, h, w) of stem and stages, the largest first; the stem's are
            taken before they are pooled.
        """
        stem = self.resnet.embedder.embedder((images - 0.5) / 0.25)
        maps = [stem]
        x = self.resnet.embedder.pooler(stem)
        for stage in self.resnet.encoder.stages:
            x = stage(x)
            maps.append(x)
        features = x.mean((2, 3))
        return features if self.hidden is None else F.gelu(self.hidden(features)), maps


def convolution(channels: int, out_channels: int, stride: int = 1, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, group normalisation and SiLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride, padding, dilation),
        nn.GroupNorm(min(8, out_channels // 4), out_channels),
        nn.SiLU(),
    )


class Modulation(nn.Module):
    """Normalised activations, multiplied and shifted element-wise by what a condition says (SPADE, Park et al. 2019).

    Args:
        channels: of the activations; condition_channels: of the condition, which has their size.
        hidden: channels in between.
    """

    def __init__(self, channels: int, condition_channels: int, hidden: int = 16):
        super().__init__()
        self.norm = nn.GroupNorm(min(8, channels // 4), channels, affine=False)
        self.hidden = nn.Conv2d(condition_channels, hidden, 3, padding=1)
        self.scale_and_shift = nn.Conv2d(hidden, 2 * channels, 1)
        nn.init.normal_(self.scale_and_shift.weight, std=0.02)
        nn.init.zeros_(self.scale_and_shift.bias)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        scale, shift = self.scale_and_shift(F.relu(self.hidden(condition))).chunk(2, 1)
        return self.norm(x) * (1 + scale) + shift


class ModulatedBlock(nn.Module):
    """A residual block of two convolutions with a `Modulation` before each; it begins as the identity."""

    def __init__(self, channels: int, condition_channels: int):
        super().__init__()
        hidden = max(16, channels // 4)
        self.first_modulation = Modulation(channels, condition_channels, hidden)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second_modulation = Modulation(channels, condition_channels, hidden)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(self.second.weight, std=0.01)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        y = self.first(F.silu(self.first_modulation(x, condition)))
        return x + self.second(F.silu(self.second_modulation(y, condition)))


def for_network(x: torch.Tensor, network) -> torch.Tensor:
    """Planes (B, C, H, W), channels last, in the type that a network computes in: autocast's, or its weights'."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else next(network.parameters()).dtype
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def principal_axes(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Variances (C,), axes as columns (C, C) and mean (C,) of rows (N, C)."""
    middle = rows.mean(0)
    centred = (rows - middle).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
    return values.clamp_min(0).to(rows.dtype), vectors.to(rows.dtype), middle


class ResidualPerceptron(nn.Module):
    """Two linear layers on normalised features (B, C), added to them; it begins near the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        nn.init.normal_(self.layers[-1].weight, std=0.1 / width**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class AdaptiveBlock(nn.Module):
    """A residual block of two convolutions before each of which every channel is normalised, and given the mean and
    deviation that a style asks for (AdaIN, Huang and Belongie 2017); it begins near the identity.

    Args:
        channels: of the activations.
        style: length of the style vector.
    """

    def __init__(self, channels: int, style: int):
        super().__init__()
        self.statistics = nn.Linear(style, 4 * channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(self.second.weight, std=0.01)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Activations (B, C, H, W), style (B, D)."""
        scale1, shift1, scale2, shift2 = self.statistics(style)[..., None, None].chunk(4, 1)
        y = self.first(F.silu(F.instance_norm(x) * (1 + scale1) + shift1))
        return x + self.second(F.silu(F.instance_norm(y) * (1 + scale2) + shift2))
