"""From 68 landmarks to the head that they are of, and to the maps by which LI-Net moves pixels."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import nn

from lirec.geometry import euler_to_matrix, matrix_to_euler, project
from lirec.geometry.camera import FARTHEST, NEAREST
from lirec.geometry.landmarks import box_normalised
from lirec.geometry.view_synthesis import HeadView
from lirec.models.conditions import ConditionRenderer, DrivenMaps, SourceMaps
from lirec.models.layers import ResidualPerceptron, StaysFloat32, principal_axes
from lirec.models.morphable_model import MorphableModel

DISTANCE = 1.2  # metres from the camera to the head, unless landmarks tell another: the perspective of a portrait


@dataclass
class LandmarkLifterOutput(BaseOutput):
    """
    Args:
        identity (`torch.Tensor` of shape `(B, 80)`): α, standard deviations.
        expression (`torch.Tensor` of shape `(B, 51)`): β as regressed, a little beyond [0, 1] at times.
        angles (`torch.Tensor` of shape `(B, 3)`): pitch, yaw, roll in radians.
        distance (`torch.Tensor` of shape `(B,)`): metres from the camera, which perspective tells, `NEAREST` to
            `FARTHEST`.
    """

    identity: torch.Tensor
    expression: torch.Tensor
    angles: torch.Tensor
    distance: torch.Tensor


class LandmarkLifter(StaysFloat32, ModelMixin, ConfigMixin):
    r"""
    Landmarks to coefficients of the morphable model, a pose, and how near the camera was.

    LI-Net has no 3D, and its rotation module must paint what it cannot move. With this perceptron landmarks tell where
    the photo's pixels go when the head turns, as in JR2Net, and what comes into view.

    Args:
        width (`int`): of the features.
        depth (`int`): blocks.
        identity_count, expression_count (`int`): Numbers of coefficients.
    """

    full_precision = ("middle", "whitening")

    @register_to_config
    def __init__(self, width: int = 384, depth: int = 3, identity_count: int = 80, expression_count: int = 51):
        super().__init__()
        blocks = (ResidualPerceptron(width) for _ in range(depth))
        self.encoder = nn.Sequential(nn.Linear(68 * 2, width), *blocks, nn.LayerNorm(width))
        self.counts = (identity_count, expression_count, 3, 1)
        self.head = nn.Linear(width, sum(self.counts))
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("middle", torch.zeros(68 * 2))
        self.register_buffer("whitening", 3 * torch.eye(68 * 2))

    @torch.no_grad()
    def fit_statistics(self, landmarks: torch.Tensor, floor: float = 0.003) -> None:
        """Set landmarks (N, 68, 2) to unit variance in all directions, but where that is below `floor` sides."""
        values, vectors, self.middle[:] = principal_axes(box_normalised(landmarks).flatten(1))
        self.whitening.copy_(vectors / (values + floor**2).sqrt())

    def forward(self, landmarks: torch.Tensor) -> LandmarkLifterOutput:
        """
        Args:
            landmarks (`torch.Tensor` of shape `(B, 68, 2)`): in any unit.
        """
        points = (box_normalised(landmarks).flatten(1) - self.middle) @ self.whitening
        *parts, farther = self.head(self.encoder(points.to(self.dtype))).float().split(self.counts, 1)
        return LandmarkLifterOutput(*parts, (DISTANCE * farther[:, 0].exp()).clamp(NEAREST, FARTHEST))


@dataclass
class LiftedHead:
    """
    B heads in a picture.

    Args:
        identity: (B, 80); expression: (B, 51) in [0, 1]; rotation: (B, 3, 3).
        distance: (B,) metres from the camera; K: (B, 3, 3) its intrinsics, for a picture 1 unit wide and high.
    """

    identity: torch.Tensor
    expression: torch.Tensor
    rotation: torch.Tensor
    distance: torch.Tensor
    K: torch.Tensor

    def with_expression(self, other: "LiftedHead") -> "LiftedHead":
        """The same heads with the expressions of others."""
        return replace(self, expression=other.expression.expand(len(self.rotation), -1))

    def with_identity(self, identity: torch.Tensor) -> "LiftedHead":
        """The same heads with other shapes, (1 or B, 80)."""
        return replace(self, identity=identity.expand(len(self.rotation), -1))

    def seen_from(self, distance: torch.Tensor) -> "LiftedHead":
        """The same heads as large as they are, but in the perspective of other distances, (1 or B,) metres."""
        distance = distance.expand(len(self.rotation))
        K = self.K.clone()
        K[:, :2, :2] *= (distance / self.distance)[:, None, None]
        return replace(self, distance=distance, K=K)


class Lifting:
    """
    From landmarks to heads in a picture, and back.

    Args:
        lifter: tells of which heads landmarks are.
        model: the morphable model, where `lifter` is; where nothing is to be drawn its landmarks are enough.
    """

    def __init__(self, lifter: LandmarkLifter, model: MorphableModel):
        self.lifter, self.model = lifter, model

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def lift(self, landmarks: torch.Tensor, identity: torch.Tensor | None = None) -> LiftedHead:
        """
        Args:
            landmarks: (B, 68, 2) in picture widths.
            identity: (1 or B, 80) to be used in place of what the landmarks tell.
        """
        told = self.lifter(landmarks)
        identity = told.identity if identity is None else identity.expand(len(landmarks), -1)
        expression, rotation = told.expression.clamp(0, 1), euler_to_matrix(told.angles)
        turned = self.model(identity, expression) @ rotation.transpose(1, 2)
        seen = seen_landmarks(self.model, turned, told.angles, told.distance)
        camera = camera_through(seen, landmarks, told.distance)
        return LiftedHead(identity, expression, rotation, told.distance, camera)

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def landmarks(self, head: LiftedHead) -> torch.Tensor:
        """The landmarks (B, 68, 2) of heads, in picture widths."""
        view = self.view(head)
        points = project(view.vertices, view.rotation, view.translation, view.K)
        return self.model.landmarks(points, matrix_to_euler(view.rotation))

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def reshaped(self, source: torch.Tensor, driving: torch.Tensor) -> torch.Tensor:
        """
        The landmarks (B, 68, 2) of the source's head, where the driver's camera would see them of it.

        Args:
            source, driving: (B, 68, 2) in any unit; the result is in the driving's.
        """
        return self.landmarks(self.lift(driving).with_identity(self.lifter(source).identity))

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def in_perspective(self, landmarks: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """
        Landmarks of the source's head as they would be if its camera were as near as that of the source's picture.

        Args:
            landmarks: (B, 68, 2) of the source's head, before any camera.
            source: (B, 68, 2) in any unit.
        """
        told = self.lifter(source)
        head = self.lift(landmarks, told.identity)
        return landmarks + self.landmarks(head.seen_from(told.distance)) - self.landmarks(head)

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def view(self, head: LiftedHead) -> HeadView:
        """The heads before their cameras."""
        count = len(head.rotation)
        return HeadView(
            vertices=self.model(head.identity.expand(count, -1), head.expression),
            rotation=head.rotation,
            translation=F.pad(head.distance[:, None], (2, 0)),
            K=head.K,
        )


class LandmarkConditions(Lifting):
    """
    Draws the maps of R and G from landmarks.

    Args:
        lifter, model: as of `Lifting`, the whole model.
        size: S, width of the maps in pixels.
    """

    def __init__(self, lifter: LandmarkLifter, model: MorphableModel, size: int):
        super().__init__(lifter, model)
        self.renderer = ConditionRenderer(model, size)

    def source(self, photo: torch.Tensor, head: LiftedHead, textured: bool = True) -> SourceMaps:
        """Maps of photos (B, 3, H, H) sRGB with the heads in them; `textured` as of `ConditionRenderer.source`."""
        return self.renderer.source(photo, self.view(head), textured)

    def driven(self, source: SourceMaps, head: LiftedHead, completed: bool = False) -> DrivenMaps:
        """Maps of the same people's heads elsewhere; `completed` as of `ConditionRenderer.driven`."""
        return self.renderer.driven(source, self.view(head), completed=completed)


def seen_landmarks(
    model: MorphableModel, turned: torch.Tensor, angles: torch.Tensor, distance: torch.Tensor
) -> torch.Tensor:
    """Landmarks (B, 68, 2) in metres, in the plane of the heads' origins, of turned vertices (B, V, 3) at distances
    (B,)."""
    return model.landmarks(turned[..., :2] / (1 + turned[..., 2:] / distance[:, None, None]), angles)


def camera_through(seen: torch.Tensor, landmarks: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """
    The camera that puts points where landmarks are, as nearly as it can: a scale and a shift, by least squares.

    Args:
        seen: (B, 68, 2) metres, in the plane of the head's origin.
        landmarks: (B, 68, 2) in picture widths.
        distance: (B,) metres to the heads.

    Returns:
        (B, 3, 3) intrinsics.
    """
    middle, place = seen.mean(1), landmarks.mean(1)
    spread = seen - middle[:, None]
    scale = (spread * (landmarks - place[:, None])).sum((1, 2)) / spread.square().sum((1, 2)).clamp_min(1e-9)
    K = torch.zeros(len(seen), 3, 3, device=seen.device, dtype=seen.dtype)
    K[:, 0, 0] = K[:, 1, 1] = scale.clamp_min(1e-3) * distance
    K[:, :2, 2] = place - scale[:, None] * middle
    K[:, 2, 2] = 1
    return K
