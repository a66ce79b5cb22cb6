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
    """What a ResNet sees in a square crop, as one vector.

    The papers average the last stage over all places. Poses, shapes and expressions are told by where an eyelid or a
    lip is to within a pixel, though, so the places can be kept: channels of the second, third and last stage, reduced
    by `place_channels`, go into one hidden layer without being averaged.

    Args:
        image_size: width and height of the crops.
        layer_type, depths, hidden_sizes, embedding_size: of the `resnet`.
        place_channels: channels that are kept of the second, third and last stage's places; with none the last stage is
            averaged.
        head_width: units of the hidden layer, 0 for none (only without `place_channels`).

    Attributes:
        count: length of the vector.

    Raises:
        ValueError: `place_channels` do not fit the stages, or there is no hidden layer after them.
    """

    def __init__(
        self,
        image_size: int,
        layer_type: str,
        depths: Sequence[int],
        hidden_sizes: Sequence[int],
        embedding_size: int,
        place_channels: Sequence[int] = (),
        head_width: int = 0,
    ):
        super().__init__()
        if place_channels and (len(place_channels) != 3 or len(hidden_sizes) != 4 or not head_width):
            raise ValueError("place_channels are three numbers, for four stages and a head_width above 0.")
        self.resnet = resnet(layer_type, depths, hidden_sizes, embedding_size)
        inputs = hidden_sizes[-1]
        if place_channels:
            sizes = [-(-image_size // step) for step in (8, 16, 32)]
            inputs = sum(count * size**2 for count, size in zip(place_channels, sizes, strict=True))
        self.reduce = nn.ModuleList(
            nn.Conv2d(channels, count, 1) for channels, count in zip(hidden_sizes[1:], place_channels, strict=False)
        )
        self.hidden = nn.Linear(inputs, head_width) if head_width else None
        self.count = head_width or inputs

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """
        Args:
            images: (B, 3, image_size, image_size) sRGB crops in [0, 1].

        Returns:
            The vectors (B, count), and the ResNet's stages (B, C, h, w), the largest first.
        """
        stages = self.resnet((images - 0.5) / 0.25, output_hidden_states=True).hidden_states[1:]
        if len(self.reduce):
            kept = [reduce(stage).flatten(1) for reduce, stage in zip(self.reduce, stages[-3:], strict=True)]
            features = torch.cat(kept, 1)
        else:
            features = stages[-1].mean((2, 3))
        return features if self.hidden is None else F.gelu(self.hidden(features)), stages


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
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else network.dtype
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
