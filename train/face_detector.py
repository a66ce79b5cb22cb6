"""Train the face detector on rendered faces: `python -m train.face_detector --preset cpu`."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lirec.models.face_detector import STRIDE, FaceDetector, FaceDetectorOutput
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from lirec.processing.detection import BuiltInFinder, Detection, overlap
from lirec.processing.image import to_array
from train import common
from train.data.scenes import FACE, UNSURE, FacePool, Scenery, Scenes, compose_scenes
from train.data.synthetic import HELD_OUT_SEED, SyntheticFaces

FRESH_SEED = HELD_OUT_SEED // 2  # the faces to begin with have seeds below it, later ones from here on
SPREAD = 0.1  # a heat spot's standard deviation, in face widths and heights


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser("Train the face detector on rendered faces.", "face_detector")
    add = parser.add_argument
    add("--morphable-model", default="hub/rec-aug-net/morphable_model", help="what the faces are made from")
    add("--start", help="weights to start from")
    add("--backgrounds", type=Path, help="folder of more pictures, without people")
    add("--size", type=int, default=192, help="px of a training picture, a multiple of 32")
    add("--face-size", type=int, default=160, help="px of a rendered face")
    add("--pool", type=int, default=4000, help="rendered faces to begin with")
    add("--fresh", type=int, default=4, help="of these exchanged for new ones in each step")
    add("--render-batch", type=int, default=8, help="faces rendered at once; 8 suits a CPU, hundreds a GPU")
    add("--validation-scenes", type=int, default=128)
    options = common.parse(parser, arguments)
    run = common.Run(options)

    model = common.start(FaceDetector, options)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    model, optimizer = run.prepare(model, optimizer)
    averaged = run.average(model, "face_detector")

    morphable_model = load_model(MorphableModel, options.morphable_model)
    renderer = SyntheticFaces(morphable_model, options.face_size, run.device)
    scenery = Scenery(run.device, options.backgrounds)
    seed = run.data_seed % (FRESH_SEED - options.pool)
    pool = FacePool.render(renderer, options.pool, seed, options.render_batch)
    held_out_faces = FacePool.render(renderer, 96, HELD_OUT_SEED, options.render_batch)
    held_out = compose_scenes(held_out_faces, scenery, options.validation_scenes, HELD_OUT_SEED, options.size)

    def validate() -> None:
        figures, marked = evaluate(averaged, held_out)
        run.log(**{f"validation.{name}": value for name, value in figures.items()})
        run.log_images("found", marked[:32])

    for scenes in run.steps(endless_scenes(options, pool, renderer, scenery, seed), validate):
        with run.autocast():
            output = model(scenes.image)
        losses = detection_losses(output, scenes)
        run.optimize(sum(losses.values()), optimizer)
        run.log(**losses)


def endless_scenes(
    options: argparse.Namespace, pool: FacePool, renderer: SyntheticFaces, scenery: Scenery, seed: int
) -> Iterator[Scenes]:
    """Scenes of a pool of faces that slowly changes."""
    for number in itertools.count(seed):
        yield compose_scenes(pool, scenery, options.batch_size, number, options.size)
        if options.fresh:
            fresh_seed = FRESH_SEED + number % FRESH_SEED
            pool.renew(renderer.sample(options.fresh, fresh_seed, degraded=False))


def detection_losses(output: FaceDetectorOutput, scenes: Scenes) -> dict[str, Tensor]:
    """What the network said against what is in the scenes.

    Returns:
        heat: focal loss of the face middles (Law and Deng's), per face.
        box: 1 - generalised IoU, near the middles; keypoints: mean distance there, in mean edges of the box.
    """
    height, width = output.heat.shape[1:]
    device = output.heat.device
    x = (torch.arange(width, device=device) + 0.5) * STRIDE
    y = (torch.arange(height, device=device) + 0.5) * STRIDE
    cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(1, 1, height, width, 2)

    is_face = (scenes.state == FACE)[..., None, None]
    middle = (scenes.boxes[..., :2] + scenes.boxes[..., 2:])[:, :, None, None] / 2
    edges = (scenes.boxes[..., 2:] - scenes.boxes[..., :2])[:, :, None, None].clamp_min(1)
    spread = (SPREAD * edges).clamp_min(0.6 * STRIDE)
    closeness = torch.exp(-0.5 * ((cells - middle) / spread).square().sum(-1)) * is_face  # (B, K, h, w)
    heat, owner = closeness.max(1)
    # The cell that a middle lies in is its face's, wherever in the cell it lies.
    peak = (((middle / STRIDE).floor() == (cells / STRIDE).floor()).all(-1) & is_face).any(1)
    unsure = ((cells - middle).abs() < edges / 2).all(-1) & (scenes.state == UNSURE)[..., None, None]
    counted = ~unsure.any(1) | peak

    faces = peak.sum().clamp_min(1)
    score, miss = F.logsigmoid(output.heat), F.logsigmoid(-output.heat)
    hit_loss = -(miss.exp().square() * score)
    background_loss = -(score.exp().square() * miss) * (1 - heat) ** 4
    heat_loss = (torch.where(peak, hit_loss, background_loss) * counted).sum() / faces

    weight = torch.where(peak | (heat > 0.5), heat, 0.0)
    total = weight.sum().clamp_min(1e-3)
    owner = owner[:, None]
    boxes = scenes.boxes.transpose(1, 2).gather(2, owner.flatten(2).expand(-1, 4, -1)).view_as(output.boxes)
    keypoints = scenes.keypoints.flatten(2).transpose(1, 2)  # (B, 10, K)
    keypoints = keypoints.gather(2, owner.flatten(2).expand(-1, keypoints.shape[1], -1))
    keypoints = keypoints.view_as(output.keypoints)
    edge = (boxes[:, 2:] - boxes[:, :2]).mean(1).clamp_min(1)
    distance = (output.keypoints - keypoints).abs().mean((1, 2)) / edge
    return {
        "heat": heat_loss,
        "box": ((1 - generalised_iou(output.boxes, boxes)) * weight).sum() / total,
        "keypoints": 3 * (distance * weight).sum() / total,
    }


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (B, ...) of boxes (B, 4, ...), less the share of their common hull that neither covers."""

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp_min(0).prod(1)

    shared = area(torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:]))
    union = area(a[:, :2], a[:, 2:]) + area(b[:, :2], b[:, 2:]) - shared
    hull = area(torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])).clamp_min(1e-6)
    return shared / union.clamp_min(1e-6) - (hull - union) / hull


def evaluate(model: FaceDetector, scenes: Scenes) -> tuple[dict[str, float], Tensor]:
    """Find the faces of scenes as users do.

    Returns:
        recall; precision; mean IoU of the found ones; the scenes (B, 3, S, S) with what was found framed.
    """
    finder = BuiltInFinder(model, sizes=(scenes.image.shape[-1],))
    present = found_count = 0
    overlaps: list[float] = []
    marked = scenes.image.clone()
    for index, image in enumerate(to_array(scenes.image)):
        found = finder.detect(image)
        boxes, states = scenes.boxes[index].cpu().numpy(), scenes.state[index].cpu().numpy()
        hits, found = match(found, boxes[states == FACE], boxes[states == UNSURE])
        present += int((states == FACE).sum())
        overlaps += hits
        found_count += len(found)
        for face in found:
            _frame(marked[index], face.box.round().astype(int).tolist(), face.score)
    figures = {
        "recall": len(overlaps) / max(present, 1),
        "precision": len(overlaps) / max(found_count, 1),
        "iou": sum(overlaps) / max(len(overlaps), 1),
    }
    return figures, marked


def match(found: list[Detection], faces: np.ndarray, unsure: np.ndarray) -> tuple[list[float], list[Detection]]:
    """Compare what was found with boxes (N, 4) px of faces and (M, 4) of what may be called one or not.

    Returns:
        IoU of each face that was found, by a detection of its own; the detections that count: not those that hit no
        face, but something unsure.
    """
    free, overlaps = list(range(len(found))), []
    for box in faces:
        best = max(free, key=lambda number: overlap(found[number].box, box)[0], default=None)
        if best is not None and (shared := overlap(found[best].box, box)[0]) >= 0.5:
            overlaps.append(shared)
            free.remove(best)
    neither = {number for number in free for box in unsure if overlap(found[number].box, box)[0] >= 0.3}
    return overlaps, [face for number, face in enumerate(found) if number not in neither]


def _frame(image: Tensor, box: list[int], score: float) -> None:
    """Draw a box on (3, S, S), the greener the surer."""
    size = image.shape[-1] - 1
    left, top, right, bottom = (min(max(edge, 0), size) for edge in box)
    colour = image.new_tensor([1 - score, score, 0])[:, None]
    image[:, top, left:right] = image[:, bottom, left:right] = colour
    image[:, top:bottom, left] = image[:, top:bottom, right] = colour


if __name__ == "__main__":
    common.command(main)
