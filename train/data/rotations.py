"""Three frames of one scene for LI-Net's pictures: a source, the same turned, and that with another expression."""

from dataclasses import dataclass

import torch

from lirec.geometry import euler_to_matrix, intrinsics, project
from lirec.geometry.landmarks import PARTS
from lirec.models.morphable_model import MorphableModel
from train.data.cache import FaceBatch
from train.data.pairs import seen_alike, spoil
from train.data.skins import Dice
from train.data.synthetic import ExpressionSampler

KEPT = 0.75  # how often each part of the face is drawn for R


@dataclass
class FaceTriples:
    """
    B triples of pictures (B, 3, S, S), sRGB in [0, 1], of one person before one camera each. Landmarks are (B, 68, 2),
    in picture widths.

    Attributes:
        source: expression 1, pose 1.
        rotated: expression 1, pose 2.
        result: expression 2, pose 2.
        source_landmarks, result_landmarks: of those pictures, as they are found: with small errors.
        pose_landmarks: pose 2 with any other expression, for R.
        shown: (B, 9) 0 for parts of the pose landmarks that are left out.
        angles: (B, 3) of pose 2, radians.
    """

    source: torch.Tensor
    rotated: torch.Tensor
    result: torch.Tensor
    source_landmarks: torch.Tensor
    result_landmarks: torch.Tensor
    pose_landmarks: torch.Tensor
    shown: torch.Tensor
    angles: torch.Tensor

    def __len__(self):
        return len(self.source)


def rendered_triples(
    batch: FaceBatch,
    model: MorphableModel,
    expressions: ExpressionSampler,
    generator: torch.Generator,
    size: int,
    varied: bool = True,
) -> FaceTriples:
    """
    Triples out of clips of three frames (`rotation_clips`).

    Args:
        batch: 3 B pictures, neighbours being frames of one clip.
        model: one that gives landmarks, as of `landmark_model`.
        expressions: of the poses that R is told.
        size: S.
        varied: cut, mirror and tint the pictures at random, and put errors into the landmarks.
    """
    count = len(batch) // 3
    batch = seen_alike(batch, model, Dice(3 * count, generator, repeats=3), size, varied)
    first = torch.arange(count, device=batch.image.device) * 3
    dice = Dice(count, generator)
    source = batch.image[first]
    identity, points = batch.identity[first], batch.landmarks / size
    source_landmarks, result_landmarks = points[first], points[first + 2]
    if varied:
        source = spoil(source, dice)
        # T never knows quite who the source is.
        identity = identity + dice.chance(0.5)[:, None] * dice.normal(0, 0.25, identity.shape[1])
        result_landmarks = landmarks_of(batch, first + 2, model, identity, batch.expression[first + 2])
        source_landmarks, result_landmarks = (
            given + dice.normal(0, 0.002, 68, 2) for given in (source_landmarks, result_landmarks)
        )
    return FaceTriples(
        source=source,
        rotated=batch.image[first + 1],
        result=batch.image[first + 2],
        source_landmarks=source_landmarks,
        result_landmarks=result_landmarks,
        pose_landmarks=landmarks_of(batch, first + 1, model, identity, expressions.sample(dice)),
        shown=(dice.uniform(0, 1, len(PARTS)) < KEPT).float() if varied else torch.ones_like(points[first, :9, 0]),
        angles=batch.angles[first + 1],
    )


def landmarks_of(batch: FaceBatch, rows: torch.Tensor, model: MorphableModel, identity, expression) -> torch.Tensor:
    """(B, 68, 2) in picture widths: of heads with given coefficients, where those of rows (B,) are."""
    angles, focal = batch.angles[rows], batch.focal[rows]
    camera = intrinsics(focal, focal.new_full((len(rows), 2), 0.5))
    vertices = model(identity, expression)
    return model.landmarks(project(vertices, euler_to_matrix(angles), batch.translation[rows], camera), angles)
