"""Networks that judge pictures and landmarks; needed for training only."""

import torch
from torch import nn

from lirec.geometry.landmarks import box_normalised
from lirec.models.layers import ResidualPerceptron, convolution


class PatchDiscriminator(nn.Module):
    """
    PatchGAN (Isola et al. 2017): whether each patch of a picture looks real.

    Args:
        channels: of the pictures.
        width: channels at half the resolution.
        depth: times that the resolution is halved; 3 gives patches of 70 pixels.
    """

    def __init__(self, channels: int = 3, width: int = 64, depth: int = 3):
        super().__init__()
        layers = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, depth):
            inner, outer = width * 2 ** (level - 1), width * 2**level
            layers += [nn.Conv2d(inner, outer, 4, 2, 1), nn.GroupNorm(min(8, outer // 4), outer), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(width * 2 ** (depth - 1), 1, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures (B, channels, H, W) in [0, 1] to scores (B, 1, h, w), h = H / 2 ** depth, > 0 for real."""
        return self.layers(images * 2 - 1)


class LandmarkClassifier(nn.Module):
    """
    Cid of LI-Net: whose landmarks these are.

    Args:
        people: that are told apart.
        width: F, of the identity features.
    """

    def __init__(self, people: int, width: int = 128):
        super().__init__()
        self.features = nn.Sequential(
            nn.Flatten(), nn.Linear(68 * 2, width), nn.SiLU(), ResidualPerceptron(width), nn.LayerNorm(width)
        )
        self.classify = nn.Linear(width, people)

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Landmarks (B, 68, 2) to identity features (B, F), and logits (B, people)."""
        features = self.features(3 * box_normalised(points))
        return features, self.classify(features)


class LandmarkDiscriminator(nn.Module):
    """Dr of LI-Net: whether landmarks look like those of a face."""

    def __init__(self, width: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(68 * 2, width), nn.LeakyReLU(0.2), ResidualPerceptron(width), nn.Linear(width, 1)
        )

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Landmarks (B, 68, 2) to logits (B, 1), > 0 for real."""
        return self.layers(3 * box_normalised(points))


class PoseRegressor(nn.Module):
    """
    Dp of LI-Net: the pose of a face in a picture.

    Args:
        width: channels at half the resolution.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        steps = ((3, width), (width, 2 * width), (2 * width, 4 * width), (4 * width, 4 * width))
        self.layers = nn.Sequential(
            *(convolution(inner, outer, stride=2) for inner, outer in steps),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(64 * width, 3),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, H, W) in [0, 1] to pitch, yaw and roll (B, 3) in radians."""
        return self.layers(images * 2 - 1)
