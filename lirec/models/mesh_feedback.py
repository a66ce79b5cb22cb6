"""Looking again where the head that was seen lies in the picture; RecNet and ETNet use it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from lirec.geometry import euler_to_matrix, intrinsics, project
from lirec.geometry.camera import NEAREST
from lirec.models.morphable_model import MorphableModel

TYPICAL_SCALE = 4.6  # crop sides per metre in the face's plane: a face of 15 cm in a crop 1.45 times as wide
TYPICAL_FOCAL = 6.0  # crop sides


@dataclass
class Head:
    """
    Shape, pose and camera of the heads in B crops, as a network regresses them.

    Attributes:
        identity (`(B, 80)`): α, standard deviations.
        expression (`(B, 51)`): β as regressed, a little beyond [0, 1] at times.
        angles (`(B, 3)`): pitch, yaw, roll in radians.
        translation (`(B, 3)`): metres, camera frame.
        focal (`(B,)`): focal length in crop sides; the principal point is the middle.
    """

    identity: torch.Tensor
    expression: torch.Tensor
    angles: torch.Tensor
    translation: torch.Tensor
    focal: torch.Tensor


def head_counts(identity_count: int, expression_count: int) -> tuple[int, ...]:
    """How many numbers `read_head` takes: identity, expression, angles, place, size, focal length."""
    return identity_count, expression_count, 3, 2, 1, 1


def read_head(numbers: torch.Tensor, identity_count: int, expression_count: int) -> Head:
    """Regressed numbers (B, at least `sum(head_counts(...))`) in the field's units; all 0 is a plausible face."""
    counts = head_counts(identity_count, expression_count)
    parts = numbers[:, : sum(counts)].float().split(counts, 1)
    identity, expression, angles, offset, log_scale, log_focal = parts
    # the size in the picture is plain to see, the focal length hardly: depth follows from both
    scale = TYPICAL_SCALE * log_scale.exp()
    focal = TYPICAL_FOCAL * log_focal.clamp(-math.log(6), math.log(6)).exp()
    focal = torch.maximum(focal, NEAREST * scale)  # depth at least
    translation = torch.cat((0.2 * offset / scale, focal / scale), 1)
    return Head(identity, expression, angles, translation, focal[:, 0])


class MeshFeedback(nn.Module):
    """
    Features of the crop at the places of some vertices, and how what was regressed should change because of them,
    a few times over (PyMAF, Zhang et al. 2021). An eyelid's height or a cheek's outline are told by what is seen
    there, to a fraction of a pixel; an average over the crop does not know.

    The vertices' rows of the morphable model, without which no place is known, are stored with the weights: `attach`.

    Args:
        channels: of the ResNet's maps, its stem's first.
        feature_count: length of the vector that the ResNet makes of a crop.
        number_count: of the numbers that are regressed; the first are those of `read_head`.
        identity_count, expression_count: numbers of coefficients.
        steps: how often to look.
        point_count: number of vertices.
        width: channels of the pyramid that is made of the stages.
        kept: numbers that each vertex keeps of pyramid, stem and colours.
        hidden: units of the hidden layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        feature_count: int,
        number_count: int,
        identity_count: int,
        expression_count: int,
        steps: int,
        point_count: int = 224,
        width: int = 32,
        kept: int = 12,
        hidden: int = 512,
    ):
        super().__init__()
        self.steps, self.counts = steps, (identity_count, expression_count)
        for name, rows in (("mean", 1), ("identity", identity_count), ("expression", expression_count)):
            self.register_buffer(name, torch.zeros(rows, point_count * 3))
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels[1:])
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        seen = width + channels[0] + 3
        self.keep = nn.Parameter(torch.randn(point_count, seen, kept) / seen**0.5)
        self.hidden = nn.Linear(point_count * kept + feature_count + number_count, hidden)
        self.change = nn.Linear(hidden, number_count)
        nn.init.normal_(self.change.weight, std=0.002)
        nn.init.zeros_(self.change.bias)

    @torch.no_grad()
    def attach(self, model: MorphableModel) -> None:
        """Choose the vertices: the landmarks, and others the more often the more they move."""
        moves = model.expression_basis.norm(dim=2).sum(0)
        face = model.select_vertices("skin", "brows", "lips", "eye_left", "eye_right")
        face &= model.mean_vertices[:, 2] > -0.06
        chance = face * (moves + 0.5 * moves[face].mean())
        chance[model.landmark_vertices] = 0
        landmarks = torch.unique(model.landmark_vertices)
        more = self.mean.shape[1] // 3 - len(landmarks)
        chosen = landmarks[: more + len(landmarks)]
        if more > 0:
            generator = torch.Generator().manual_seed(0)
            spread = torch.multinomial(chance.cpu(), more, generator=generator).to(landmarks)
            chosen = torch.cat((landmarks, spread))
        self.mean.copy_(model.mean_vertices[chosen].reshape(1, -1))
        self.identity.copy_(model.identity_basis[:, chosen].flatten(1))
        self.expression.copy_(model.expression_basis[:, chosen].flatten(1))

    def places(self, numbers: torch.Tensor) -> torch.Tensor:
        """Where the vertices are in the crops, (B, P, 2) in [-1, 1]."""
        head = read_head(numbers, *self.counts)
        moved = head.identity @ self.identity.float() + head.expression @ self.expression.float()
        vertices = (self.mean.float() + moved).unflatten(1, (-1, 3))
        camera = intrinsics(2 * head.focal, head.focal.new_zeros(2))
        return project(vertices, euler_to_matrix(head.angles), head.translation, camera)[..., :2].clamp(-3, 3)

    def pyramid(self, stages: Sequence[torch.Tensor]) -> torch.Tensor:
        """Stages (B, C, h, w) of a ResNet, the largest first, to one map (B, width, h, w) of the largest's size."""
        x = None
        for lateral, stage in reversed(list(zip(self.lateral, stages, strict=True))):
            x = lateral(stage) if x is None else lateral(stage) + F.interpolate(x, stage.shape[2:], mode="bilinear")
        return self.smooth(x)

    @staticmethod
    def sample(layer: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """(B, C, P) of a map (B, C, h, w) at places (B, P, 1, 2) in [-1, 1]."""
        return F.grid_sample(layer, places, padding_mode="border", align_corners=False)[..., 0]

    def forward(
        self, numbers: torch.Tensor, features: torch.Tensor, maps: Sequence[torch.Tensor], images: torch.Tensor
    ) -> list[torch.Tensor]:
        """
        Args:
            numbers: (B, N) as first regressed.
            features: (B, D) of the crops as a whole; maps: as `CropFeatures` gives them; images: (B, 3, S, S).

        Returns:
            The numbers as given and after each step. Gradients do not go from one step to the one before.
        """
        stem, *stages = maps
        colours = F.interpolate(images, stem.shape[2:], mode="area") - 0.5
        layers = self.pyramid(stages).float(), stem.float(), colours.float()
        result = [numbers.float()]
        for _ in range(self.steps):
            last = result[-1].detach()
            with torch.autocast(images.device.type, enabled=False):
                places = self.places(last)[:, :, None]
                found = torch.cat([self.sample(layer, places) for layer in layers], 1)
            found = found.to(features.dtype).permute(2, 0, 1).contiguous()  # as it is, bmm takes 20 times as long
            kept = torch.bmm(found, self.keep.to(features.dtype)).transpose(0, 1)
            hidden = torch.cat((kept.flatten(1), features, last.to(features.dtype)), 1)
            result.append(last + self.change(F.gelu(self.hidden(hidden))).float())
        return result
