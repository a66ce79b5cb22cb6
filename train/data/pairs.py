"""Two frames of one person, a source and a target, for DCNet: out of rendered clips, or out of videos."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from lirec.errors import LirecError
from lirec.geometry import euler_to_matrix, intrinsics, matrix_to_euler, project
from lirec.geometry.view_synthesis import HeadView
from lirec.models.morphable_model import MorphableModel
from lirec.pipelines.portrait import head_window
from lirec.pipelines.reconstruction import RecAugNetPipeline
from lirec.processing.image import to_tensor
from train.data.augment import look_through, mirror
from train.data.cache import FaceBatch
from train.data.degradations import jpeg
from train.data.skins import Dice, column
from train.data.voxceleb2 import VoxCeleb2Dataset, read_frame

TRIES = 50  # clips in a row without faces after which something is wrong


@dataclass
class FacePairs:
    """
    Args:
        source, target: (B, 3, S, S) sRGB in [0, 1].
        source_view, target_view: the heads in them, as a regressor would see them: of one shape, with its errors.
    """

    source: torch.Tensor
    target: torch.Tensor
    source_view: HeadView
    target_view: HeadView


def rendered_pairs(
    batch: FaceBatch, model: MorphableModel, generator: torch.Generator, size: int, varied: bool = True
) -> FacePairs:
    """
    Pairs out of clips of two frames.

    Args:
        batch: 2B pictures, neighbours being frames of one clip.
        size: S.
        varied: cut, mirror and tint the pictures at random, and put a regressor's errors into the views.
    """
    count = len(batch) // 2
    dice = Dice(2 * count, generator, repeats=2)
    batch = seen_alike(batch, model, dice, size, varied)
    view = mistaken_view(batch, model, dice) if varied else true_view(batch, model)
    first = (torch.rand(count, generator=generator, device=dice.device) < 0.5).long() if varied else 0
    source = torch.arange(count, device=dice.device) * 2 + first
    target = source + 1 - 2 * first

    def of(rows):
        return HeadView(**{name: value[rows] for name, value in vars(view).items()})

    image = batch.image[source]
    if varied:
        image = spoil(image, Dice(count, generator))
    return FacePairs(image, batch.image[target], of(source), of(target))


def seen_alike(batch: FaceBatch, model: MorphableModel, dice: Dice, size: int, varied: bool) -> FaceBatch:
    """Clips `size` px wide; if varied, each cut, mirrored and tinted at random, all its frames in one way.

    Args:
        dice: gives neighbours of one clip the same.
    """
    if varied:
        batch = mirror(batch, dice.chance(0.5) > 0, model)
        side = dice.uniform(0.78, 1.0)
        batch, _ = look_through(batch, dice.uniform(-0.5, 0.5, 2) * (1 - side)[:, None], side, 0 * side, size)
        return replace(batch, image=tint(batch.image, dice))
    if batch.image.shape[3] == size:
        return batch
    whole = torch.ones(len(batch), device=batch.image.device)
    return look_through(batch, torch.stack((0 * whole, 0 * whole), 1), whole, 0 * whole, size)[0]


def true_view(batch: FaceBatch, model: MorphableModel) -> HeadView:
    """The heads as they were rendered."""
    camera = intrinsics(batch.focal, batch.focal.new_full((len(batch), 2), 0.5))
    return HeadView(
        model(batch.identity, batch.expression), euler_to_matrix(batch.angles), batch.translation, camera
    )


def mistaken_view(batch: FaceBatch, model: MorphableModel, dice: Dice) -> HeadView:
    """
    The heads as RecNet might see them.

    It errs alike in both frames (a shape near the mean, expressions too weak, a turn) and a little in each by itself;
    the landmarks, which it sees best, stay nearly where they are.
    """
    single = Dice(len(batch), dice.generator)
    identity = batch.identity * dice.uniform(0.2, 0.9, 1) + dice.normal(0, 0.3, batch.identity.shape[1])
    errs = dice.chance(0.4)[:, None] * dice.normal(0, 0.1, 51)
    errs = errs + single.chance(0.4)[:, None] * single.normal(0, 0.06, 51)
    expression = (batch.expression * dice.uniform(0.6, 1.1, 1) + errs).clamp(0, 1)
    angles = batch.angles + dice.normal(0, 0.025, 3) + single.normal(0, 0.012, 3)
    view = true_view(replace(batch, identity=identity, expression=expression, angles=angles), model)
    scale = batch.image.shape[3]
    shift = (dice.normal(0, 0.004, 1, 2) + single.normal(0, 0.002, 1, 2)) + 0 * batch.landmarks
    wanted = batch.landmarks / scale + shift
    view.translation = place_on_landmarks(view, wanted, model)
    return view


def place_on_landmarks(view: HeadView, wanted: torch.Tensor, model: MorphableModel) -> torch.Tensor:
    """Translations (B, 3) with which heads' landmarks have the middle and the spread of wanted ones, (B, 68, 2) in
    picture widths."""
    angles, translation = matrix_to_euler(view.rotation), view.translation
    for _ in range(2):  # as the distance changes, so does the perspective
        found = model.landmarks(project(view.vertices, view.rotation, translation, view.K), angles)
        spread = [(points - points.mean(1, keepdim=True)).square().mean((1, 2)).sqrt() for points in (found, wanted)]
        translation = translation * (spread[0] / spread[1])[:, None]
        missing = (wanted - found).mean(1) * translation[:, 2:] / view.K[:, 0, :1]
        translation = translation + F.pad(missing, (0, 1))
    return translation


def tint(images: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Other exposure, contrast, colours; the same for both frames of a pair."""
    images = (images + 1e-4) ** torch.exp(column(dice.normal(0, 0.2)))
    images = (images - 0.5) * column(dice.uniform(0.7, 1.25)) + 0.5 + column(dice.normal(0, 0.05))
    images = images * torch.exp(column(dice.normal(0, 0.07, 3)))
    grey = images.mean(1, keepdim=True)
    saturation = torch.where(dice.chance(0.12) > 0, 0.0, dice.uniform(0.3, 1.4))
    return (grey + (images - grey) * column(saturation)).clamp(0, 1)


def spoil(images: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Noise and compression of the source; the target stays as it is, and teaches to remove them."""
    noise = torch.randn(images.shape, generator=dice.generator, device=images.device)
    images = (images + noise * column(dice.uniform(0, 0.03) * dice.chance(0.4))).clamp(0, 1)
    rows = torch.nonzero(dice.chance(0.3)).flatten()
    if len(rows):
        images[rows] = jpeg(images[rows], dice.uniform(50, 95)[rows])
    return images


def video_pairs(
    dataset: VoxCeleb2Dataset, reconstruction: RecAugNetPipeline, size: int, scale: float, rise: float, batch_size: int,
    seed: int,
) -> Iterator[FacePairs]:
    """
    Endless pairs of frames of one clip, on the pipeline's device; clips without a face in both are passed over.

    Args:
        size: S; scale, rise: as DCNet's `crop_scale` and `crop_rise`.

    Raises:
        LirecError: many clips in a row show no face.
    """
    rng = np.random.default_rng(seed)
    found, missed = [], 0
    while True:
        clip = dataset.clips[rng.integers(len(dataset.clips))]
        frames = [read_frame(clip, place) for place in rng.uniform(0, 1, 2)]
        faces = [output.faces for output in reconstruction(frames)]
        if not all(faces):
            missed += 1
            if missed > TRIES:
                raise LirecError("No faces are found in these clips: is this the right set?")
            continue
        missed = 0
        crop = head_window(faces[0][0].landmarks, scale, rise)
        found.append((crop, [group[0] for group in faces]))
        if len(found) == batch_size:
            yield _collate(found, size, reconstruction)
            found = []


def head_view(faces, crops, model: MorphableModel, device, identities=None) -> HeadView:
    """Reconstructed faces as their crops see them; with the shapes of `identities`' faces where those are given."""

    def stack(rows):
        return torch.as_tensor(np.stack(rows), dtype=torch.float32, device=device)

    identity = stack([face.identity for face in identities or faces])
    return HeadView(
        vertices=model(identity, stack([face.expression for face in faces])),
        rotation=stack([face.rotation for face in faces]),
        translation=stack([face.translation for face in faces]),
        K=stack([crop.matrix(1) @ face.intrinsics for crop, face in zip(crops, faces, strict=True)]),
    )


def _collate(found, size, reconstruction) -> FacePairs:
    crops = [crop for crop, _ in found]
    first, second = ([faces[k] for _, faces in found] for k in range(2))
    model, device = reconstruction.morphable_model, reconstruction.device
    pictures = [
        to_tensor(np.stack([crop.extract(f.image, size) for crop, f in zip(crops, faces, strict=True)]), device)
        for faces in (first, second)
    ]
    return FacePairs(*pictures, head_view(first, crops, model, device), head_view(second, crops, model, device, first))
