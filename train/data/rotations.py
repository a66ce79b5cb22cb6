"""Three pictures of one person for LI-Net: a source, the same turned, and that with another expression."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lirec.errors import LirecError
from lirec.geometry import euler_to_matrix, intrinsics, project
from lirec.geometry.landmarks import PARTS
from lirec.models.morphable_model import MorphableModel
from lirec.pipelines.portrait import head_window
from lirec.pipelines.reconstruction import Face, RecAugNetPipeline
from lirec.processing.image import load_image, to_tensor
from train.data.cache import FaceBatch
from train.data.pairs import seen_alike, spoil
from train.data.skins import Dice
from train.data.synthetic import ExpressionSampler
from train.data.views import ViewDataset

KEPT = 0.75  # how often each part of the face is drawn for R
TRIES = 50  # triples in a row without faces after which something is wrong


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
        model: one that gives landmarks, as of `MorphableModel.of_landmarks`.
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


def photo_triples(
    dataset: ViewDataset,
    reconstruction: RecAugNetPipeline,
    size: int,
    scale: float,
    rise: float,
    batch_size: int,
    seed: int,
) -> Iterator[FaceTriples]:
    """
    Endless batches, on the reconstruction's device, which finds the landmarks; photos without a face are passed over.

    Args:
        size: S; scale, rise: as R's `crop_scale` and `crop_rise`.
    """  # fmt: skip
    rng, found, missed = np.random.default_rng(seed), [], 0
    for views in dataset.triples(rng):
        faces = [output.faces for output in reconstruction([load_image(view.file) for view in views])]
        if not all(faces):
            missed += 1
            if missed > TRIES:
                raise LirecError("No faces are found in these photos: is this the right set?")
            continue
        missed = 0
        found.append([group[0] for group in faces])
        if len(found) == batch_size:
            yield _collate(found, size, scale, rise, rng, reconstruction.device)
            found = []


def _collate(found: list[list[Face]], size: int, scale: float, rise: float, rng, device) -> FaceTriples:
    pictures, points = [[], [], []], [[], [], [], []]
    for faces in found:
        for place, face in enumerate(faces):
            crop = head_window(face.landmarks, scale, rise)  # cameras differ, so each photo has a window of its own
            points[place].append(crop.to_crop(face.landmarks, 1))
            if place < 3:
                pictures[place].append(crop.extract(face.image, size))

    def numbers(values):
        return torch.as_tensor(np.stack(values), dtype=torch.float32, device=device)

    source, rotated, result = (to_tensor(np.stack(stack), device) for stack in pictures)
    return FaceTriples(
        source=source,
        rotated=rotated,
        result=result,
        source_landmarks=numbers(points[0]),
        result_landmarks=numbers(points[2]),
        pose_landmarks=numbers(points[3]),
        shown=numbers(rng.uniform(size=(len(found), len(PARTS))) < KEPT),
        angles=numbers([faces[1].angles for faces in found]),
    )
