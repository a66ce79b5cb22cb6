"""A small network that finds faces: one pass over a picture of any size, on a CPU in a few milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import nn

STRIDE = 8  # px of the input that one cell of the output stands for

# The five key points, named as the picture shows them (its left is the person's right).
KEYPOINTS = ("eye_left", "eye_right", "nose_tip", "mouth_left", "mouth_right")


@dataclass
class FaceDetectorOutput(BaseOutput):
    """What each of the (H / 8, W / 8) cells says about the face whose middle lies in it.

    Args:
        heat: (B, h, w) logit of such a face being there.
        boxes: (B, 4, h, w) x1, y1, x2, y2 of its 68 landmarks' bounding box, px of the input, float32.
        keypoints: (B, 5, 2, h, w) x, y of its `KEYPOINTS`, px of the input, float32.
    """

    heat: torch.Tensor
    boxes: torch.Tensor
    keypoints: torch.Tensor


@dataclass
class FoundFaces:
    """The faces of one picture, best first.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 px.
        scores: (N,) in [0, 1].
        keypoints: (N, 5, 2) px.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    keypoints: torch.Tensor


class FaceDetector(ModelMixin, ConfigMixin):
    """A fully convolutional detector of face middles, with box and key points at each (after CenterNet).

    A pyramid down to stride 32 sees faces from 16 px to the whole picture; its levels are summed at stride 8,
    where every output is read. One face gives one peak of heat: no anchors, and little to suppress.

    Args:
        channels: feature maps at strides 8, 16 and 32.
        stem_channels: feature maps at strides 2 and 4.
        threshold: the score from which a peak counts as a face.
    """

    @register_to_config
    def __init__(self, channels: int = 64, stem_channels: int = 32, threshold: float = 0.36):
        super().__init__()
        self.stem = nn.Sequential(
            ConvBlock(3, stem_channels, stride=2),
            ConvBlock(stem_channels, stem_channels, stride=2),
        )
        self.down8 = nn.Sequential(ConvBlock(stem_channels, channels, stride=2), Residual(channels))
        self.down16 = nn.Sequential(ConvBlock(channels, channels, stride=2), Residual(channels))
        self.down32 = nn.Sequential(ConvBlock(channels, channels, stride=2), Residual(channels))
        self.merge16 = ConvBlock(channels, channels)
        self.merge8 = ConvBlock(channels, channels)
        self.head = ConvBlock(channels, channels)
        self.predict = nn.Conv2d(channels, 1 + 4 + 2 * len(KEYPOINTS), 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        nn.init.zeros_(self.predict.bias)
        # Hardly any cell holds a face's middle; starting from that keeps the first steps calm.
        nn.init.constant_(self.predict.bias[:1], -4.0)

    def forward(self, images: torch.Tensor) -> FaceDetectorOutput:
        """
        Args:
            images: (B, 3, H, W) sRGB in [0, 1], H and W multiples of 32.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % 32 or images.shape[3] % 32:
            shape = tuple(images.shape)
            raise ValueError(f"images must be (B, 3, H, W), H and W multiples of 32, not {shape}.")
        level8 = self.down8(self.stem((images - 0.5) * 4))
        level16 = self.down16(level8)
        level32 = self.down32(level16)
        level16 = self.merge16(level16 + F.interpolate(level32, scale_factor=2))
        level8 = self.merge8(level8 + F.interpolate(level16, scale_factor=2))
        prediction = self.predict(self.head(level8)).float()

        heat, reach, points = prediction.split([1, 4, 2 * len(KEYPOINTS)], dim=1)
        height, width = heat.shape[2:]
        x = (torch.arange(width, device=heat.device, dtype=torch.float32) + 0.5) * STRIDE
        y = (torch.arange(height, device=heat.device, dtype=torch.float32) + 0.5) * STRIDE
        cells = torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]
        # Distances to the four edges; 4 STRIDE is a face of common size.
        left_top, right_bottom = (4 * STRIDE * reach.clamp(-6, 6).exp()).chunk(2, dim=1)
        extent = (left_top + right_bottom)[:, None]
        return FaceDetectorOutput(
            heat=heat[:, 0],
            boxes=torch.cat([cells - left_top, cells + right_bottom], dim=1),
            keypoints=cells[:, None] + points.unflatten(1, (len(KEYPOINTS), 2)) * extent.detach(),
        )

    @torch.no_grad()
    def find(self, images: torch.Tensor, threshold: float | None = None, limit: int = 64) -> list[FoundFaces]:
        """The peaks of heat, picture by picture.

        Args:
            images: (B, 3, H, W) sRGB in [0, 1], H and W multiples of 32.
            threshold: the least score; the model's own when None.
            limit: the most faces of one picture.
        """
        threshold = self.config.threshold if threshold is None else threshold
        output = self(images.to(self.dtype))
        scores = output.heat.sigmoid()
        peaks = scores * (F.max_pool2d(scores, 3, stride=1, padding=1) == scores)
        best, cells = peaks.flatten(1).topk(min(limit, peaks[0].numel()))
        boxes = output.boxes.flatten(2).transpose(1, 2)
        keypoints = output.keypoints.flatten(3).permute(0, 3, 1, 2)
        found = []
        for index in range(len(images)):
            keep = best[index] >= threshold
            chosen = cells[index][keep]
            found.append(FoundFaces(boxes[index][chosen], best[index][keep], keypoints[index][chosen]))
        return found


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )


class Residual(nn.Module):
    """x + two convolutions of x."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = ConvBlock(channels, channels)
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.relu(features + self.second(self.first(features)))
