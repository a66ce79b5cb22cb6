"""Landmark error and detection rate on photos with known landmarks.

    python -m train.evaluate.landmarks --data DIR [--people 100-196] [--json landmarks.json]

DIR holds pictures and `landmarks68.csv` (see `train.data.folder`).
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from lirec import LirecError, RecAugNetPipeline
from lirec.geometry import matrix_to_euler
from lirec.metrics import box_overlap, failure_rate, landmark_error
from lirec.models.morphable_model import MorphableModel
from train.common import command
from train.data import FacePhoto, open_dataset
from train.evaluate.report import Report

YAW_BINS = (0, 15, 30, 45, 60, 90)
"""Edges in degrees."""
FOUND = 0.4
"""A face is found when the box of one overlaps the true one by this much (intersection over union)."""


def main(arguments: list[str] | None = None) -> Report:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of pictures with landmarks68.csv")
    parser.add_argument("--weights", default="hub/rec-aug-net", help="folder or Hub id of the pipeline")
    parser.add_argument("--people", help="first and last person, by the number before _ in a file name: 0-99")
    parser.add_argument("--limit", type=int, help="measure at most so many pictures, evenly spread")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    photos = Photos(options.data, options.people, options.limit)
    pipeline = RecAugNetPipeline.from_pretrained(options.weights).to(options.device)
    report = evaluate(pipeline, photos)
    report.command = "python -m train.evaluate.landmarks --data DIR"
    for name in ("people", "limit"):
        if getattr(options, name):
            report.command += f" --{name} {getattr(options, name)}"
    print(report)
    if options.json:
        report.save(options.json)
    return report


class Photos:
    """The pictures of a folder that have landmarks, of some people, at most `limit`.

    Raises:
        LirecError: none are left.
    """

    def __init__(self, root: str | Path, people: str | None = None, limit: int | None = None):
        self.faces = open_dataset("folder", root)
        self.numbers = self.faces.labelled
        if not self.numbers:
            raise LirecError(f"No picture in {root} has landmarks: put a landmarks68.csv there.")
        if people:
            match = re.fullmatch(r"(\d+)-(\d+)", people)
            if not match:
                raise LirecError(f"--people is {people!r}, but must be two numbers, like 0-99.")
            first, last = map(int, match.groups())
            self.numbers = [i for i in self.numbers if first <= self._person(i) <= last]
        if limit:
            keep = np.linspace(0, len(self.numbers) - 1, min(limit, len(self.numbers))).astype(int)
            self.numbers = [self.numbers[i] for i in keep]
        if not self.numbers:
            raise LirecError(f"No picture in {root} is of the people {people}.")

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[FacePhoto]:
        return (self.faces[i] for i in self.numbers)

    def _person(self, index: int) -> int:
        identity = self.faces.identity(self.faces.files[index])
        return int(identity) if identity is not None and identity.isdigit() else -1


@torch.no_grad()
def evaluate(pipeline: RecAugNetPipeline, photos: Iterable[FacePhoto]) -> Report:
    """Measure a pipeline on photos that have landmarks."""
    truth, boxes, given, found, hit, middle = [], [], [], [], [], []
    moved_hit, moved_middle_hit = [], []
    for number, photo in enumerate(photos):
        height, width = photo.image.shape[:2]
        middle.append(torch.tensor((width / 4, height / 4, width * 3 / 4, height * 3 / 4)))
        truth.append(torch.from_numpy(photo.landmarks))
        boxes.append(torch.from_numpy(photo.box))
        given.append(_landmarks(pipeline, photo.image, boxes[-1]))
        points = _find(pipeline, photo.image, boxes[-1])
        hit.append(points is not None)
        found.append(torch.full((68, 2), torch.nan) if points is None else points)
        image, box = move(photo.image, boxes[-1], seed=number)
        height, width = image.shape[:2]
        quarter = torch.tensor((width * 3 / 8, height * 3 / 8, width * 5 / 8, height * 5 / 8))
        moved_hit.append(_find(pipeline, image, box) is not None)
        moved_middle_hit.append(float(box_overlap(quarter, box)) >= FOUND)
    truth, boxes, given, found, middle = map(torch.stack, (truth, boxes, given, found, middle))
    hit, middle_hit = torch.tensor(hit), box_overlap(middle, boxes) >= FOUND
    moved_hit, moved_middle_hit = torch.tensor(moved_hit), torch.tensor(moved_middle_hit)
    mean = mean_landmarks(pipeline.morphable_model)
    in_box, in_middle = place(mean, boxes), place(mean, middle)
    everyone = torch.ones_like(hit)

    count = len(truth)
    report = Report(
        title=f"Landmarks on {count} photos: mean distance, in % of sqrt(box area) if nothing else is said",
        command="",
        baseline="the mean face from the front, stretched into the box; as found box, the picture's middle",
    )

    def add_errors(name: str, chosen: torch.Tensor, normaliser: str = "box") -> None:
        for points, words in (("all", "all 68"), ("inner", "inner 51")):
            errors, trivial = (landmark_error(x, truth, normaliser, points)[chosen] for x in (given, in_box))
            figures = 100 * errors.mean(), 100 * trivial.mean()
            report.add(name.replace("LANDMARKS", words), *figures, "%", len(errors))

    def add_rate(name: str, chosen: torch.Tensor, hit=hit, middle_hit=middle_hit) -> None:
        rates = (100 * hits[chosen].double().mean() for hits in (hit, middle_hit))
        report.add(name, *rates, "%", int(chosen.sum()))

    add_errors("box given, LANDMARKS", everyone)
    add_errors("box given, LANDMARKS, % of inter-ocular", everyone, "inter-ocular")
    failures = (100 * failure_rate(landmark_error(points, truth)) for points in (given, in_box))
    report.add("box given, error above 8 %", *failures, "%", count)
    add_rate("faces found", everyone)
    add_rate("faces found, photo moved", everyone, moved_hit, moved_middle_hit)
    for points, words in (("all", "all 68"), ("inner", "inner 51")):
        errors = landmark_error(found, truth, points=points)[hit]
        trivial = landmark_error(in_middle, truth, points=points)[middle_hit]
        report.add(f"box found, {words}", 100 * errors.mean(), 100 * trivial.mean(), "%", len(errors))

    yaw = landmark_yaw(truth, mean_points(pipeline.morphable_model)).abs().rad2deg()
    for low, high in pairwise(YAW_BINS):
        chosen = (yaw >= low) & ((yaw < high) | (high == YAW_BINS[-1]))
        add_errors(f"box given, LANDMARKS, |yaw| {low}-{high}°", chosen)
        add_rate(f"faces found, |yaw| {low}-{high}°", chosen)
    return report


def mean_points(model: MorphableModel) -> torch.Tensor:
    """(51, 3) the inner landmarks of the mean face, metres."""
    return model.mean_vertices[model.landmark_vertices[17:]].detach().cpu().float()


def mean_landmarks(model: MorphableModel) -> torch.Tensor:
    """(68, 2) landmarks of the mean face seen from the front, in a box from (0, 0) to (1, 1)."""
    flat = model.mean_vertices[None, :, :2].float() * torch.tensor(
        [1.0, -1.0], device=model.mean_vertices.device
    )
    points = model.landmarks(flat, flat.new_zeros(1, 3))[0].cpu()
    return (points - points.amin(0)) / (points.amax(0) - points.amin(0))


def place(landmarks: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Stretch landmarks (68, 2) in the unit box into boxes (B, 4): (B, 68, 2)."""
    return boxes[:, None, :2] + landmarks * (boxes[:, None, 2:] - boxes[:, None, :2])


def landmark_yaw(landmarks: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Yaw in radians of true landmarks (B, 68, 2), to which inner points (51, 3) of the mean face are fitted.

    So photos are binned by their truth, and not by what a network says of them. Perspective is neglected.
    """
    target = landmarks[:, 17:] - landmarks[:, 17:].mean(1, keepdim=True)
    source = (points - points.mean(0)).expand(len(target), -1, -1)
    rows = torch.linalg.lstsq(source, target).solution.transpose(
        1, 2
    )  # (B, 2, 3) scaled first rows of a rotation
    u, _, v = torch.linalg.svd(rows, full_matrices=False)
    rows = u @ v
    rotation = torch.cat((rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]), 1)
    return matrix_to_euler(rotation)[:, 1]


def move(image: np.ndarray, box: torch.Tensor, seed: int) -> tuple[np.ndarray, torch.Tensor]:
    """Put a photo somewhere into a grey picture of twice its size; its face box moves with it.

    Photos cropped around faces show little of a detector: whoever points at the middle finds every face.
    """
    height, width = image.shape[:2]
    x, y = np.random.default_rng(seed).integers(0, (width + 1, height + 1))
    canvas = np.full((2 * height, 2 * width, 3), 128, np.uint8)
    canvas[y : y + height, x : x + width] = image
    return canvas, box + torch.tensor((x, y, x, y))


def _find(pipeline: RecAugNetPipeline, image: np.ndarray, box: torch.Tensor) -> torch.Tensor | None:
    """(68, 2) of the face that the pipeline finds where the true box is."""
    faces = pipeline(image).faces
    if not faces:
        return None
    overlaps = box_overlap(torch.stack([torch.as_tensor(face.box).float() for face in faces]), box)
    best = int(overlaps.argmax())
    return torch.as_tensor(faces[best].landmarks).cpu().float() if overlaps[best] >= FOUND else None


def _landmarks(pipeline: RecAugNetPipeline, image: np.ndarray, box: torch.Tensor) -> torch.Tensor:
    """(68, 2) what the pipeline says of the face in a box."""
    face = pipeline(image, boxes=[box.tolist()]).faces[0]
    return torch.as_tensor(face.landmarks).cpu().float()


if __name__ == "__main__":
    command(main)
