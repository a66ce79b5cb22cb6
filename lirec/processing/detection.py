"""Faces found in a picture, from one of two sources behind one interface.

A face box is the bounding box of the face's 68 landmarks: brow to chin, without forehead and ears.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from PIL import Image

from lirec.errors import LirecError
from lirec.processing.crop import Crop
from lirec.processing.image import to_tensor

if TYPE_CHECKING:
    from lirec.models.face_detector import FaceDetector


@dataclass
class Detection:
    """One face.

    Args:
        box: (4,) float32 x1, y1, x2, y2 px, the bounding box of its 68 landmarks; it may leave the picture.
        score: in [0, 1], how sure the detector is.
        landmarks: (5, 2) float32 px: eye centres, nose tip, mouth corners, each from the picture's left to
            its right; None from a detector that does not tell.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray | None = None


class FaceFinder(Protocol):
    """Anything that finds faces."""

    def detect(self, image: np.ndarray) -> list[Detection]:
        """The faces of a picture (H, W, 3) uint8, largest first; an empty list when there is none."""
        ...


class BuiltInFinder:
    """Finds faces with lirec's own network, which needs nothing but its weights.

    The picture is looked at in several sizes: small, where large faces show, and larger, for small ones. What may be
    a face is then looked at again close up, in two sizes and mirrored: a chance likeness seldom stands all of them. The
    score is the geometric mean of the first look and the mean of the others.

    Args:
        model: the network, in eval mode, on the device and in the precision to use.
        sizes: longest edges, px, to look at, rising; but for the first, none above the picture's own.
        threshold: the least score of a face; the model's own when None.
    """

    CLOSE_UPS = ((2.0, 128), (1.8, 192))
    """Side over the face box, and px, of the windows for the second look."""
    CANDIDATE = 0.7
    """What the first look must give, as a share of the threshold, for a second one."""

    def __init__(
        self, model: FaceDetector, sizes: tuple[int, ...] = (192, 512), threshold: float | None = None
    ):
        self.model = model
        self.sizes = sizes
        self.threshold = threshold

    def detect(self, image: np.ndarray) -> list[Detection]:
        threshold = self.model.config.threshold if self.threshold is None else self.threshold
        found = []
        for size in self._looks(image):
            canvas, scale, shift = letterbox(image, size)
            faces = self.model.find(to_tensor(canvas, self.model.device), self.CANDIDATE * threshold)[0]
            boxes = (faces.boxes.cpu().numpy() - np.tile(shift, 2)) / scale
            keypoints = (faces.keypoints.cpu().numpy() - shift) / scale
            found += [
                Detection(box.astype(np.float32), float(score), points.astype(np.float32))
                for box, score, points in zip(boxes, faces.scores.float().cpu(), keypoints, strict=True)
            ]
        found = suppress(found)
        for face, second in zip(found, self._look_again(image, found), strict=True):
            face.score = math.sqrt(face.score * second)
        return largest_first([face for face in found if face.score >= threshold])

    def _look_again(self, image: np.ndarray, found: list[Detection]) -> list[float]:
        """The mean score that the model gives each face, at its place, in close-ups and their mirror images."""
        scores = np.zeros((len(found), 2 * len(self.CLOSE_UPS)))
        for column, (scale, size) in enumerate(self.CLOSE_UPS if found else ()):
            crops = [Crop.from_box(face.box, scale) for face in found]
            patches = np.stack([crop.extract(image, size) for crop in crops])
            both = np.concatenate((patches, patches[:, :, ::-1]))
            looks = self.model.find(to_tensor(both, self.model.device), threshold=0.05)
            for row, (face, crop) in enumerate(zip(found, crops, strict=True)):
                box = crop.to_crop(face.box.reshape(2, 2), size).ravel()
                mirrored = np.array([size - box[2], box[1], size - box[0], box[3]])
                for side, place in enumerate((box, mirrored)):
                    look = looks[row + side * len(found)]
                    agreeing = [
                        float(score)
                        for other, score in zip(look.boxes.cpu().numpy(), look.scores.float().cpu(), strict=True)
                        if overlap(other, place)[0] > 0.5
                    ]
                    scores[row, 2 * column + side] = max(agreeing, default=0.0)
        return scores.mean(1).tolist()

    def _looks(self, image: np.ndarray) -> list[int]:
        """The longest edges to look at: none that shows nothing new, or only a little more."""
        edge = max(image.shape[:2])
        looks = [self.sizes[0]]
        for size in self.sizes[1:]:
            if min(size, edge) > 1.2 * looks[-1]:
                looks.append(min(size, edge))
        return looks


class FaceAlignmentFinder:
    """Finds faces with a detector of the face-alignment package.

    Args:
        detector: "blazeface" (fast, faces from about a tenth of the picture) or "sfd" (slow, small ones too).
        device: where it runs, "cpu" or "cuda".
        threshold: the least score of a face.

    Raises:
        LirecError: its weights are neither cached nor to be fetched.
    """

    def __init__(self, detector: str = "blazeface", device: str = "cpu", threshold: float = 0.5):
        if detector not in FACE_ALIGNMENT_DETECTORS:
            names = " or ".join(FACE_ALIGNMENT_DETECTORS)
            raise LirecError(f"face-alignment's detector is {names}, not {detector}.")
        self.name = detector
        self.detector = _face_alignment_detector(detector, str(device), threshold)

    def detect(self, image: np.ndarray) -> list[Detection]:
        # BlazeFace only looks at the middle square of a picture, SFD slows down with its area.
        size = BLAZEFACE_SIZE if self.name == "blazeface" else SFD_SIZE
        canvas, scale, shift = letterbox(image, size, square=self.name == "blazeface")
        with torch.no_grad():
            rows = self.detector.detect_from_image(canvas)
        found = []
        for row in np.asarray(rows, dtype=np.float32).reshape(-1, 5):
            box = (row[:4] - np.tile(shift, 2)) / scale
            found.append(Detection(to_face_box(box, self.name), float(row[4])))
        return largest_first(suppress(found))


@lru_cache(maxsize=2)
def _face_alignment_detector(name: str, device: str, threshold: float):
    """The package's detector, kept since reading its weights takes longer than looking for faces."""
    try:
        # Imported late: it takes a second, which those who never use it need not wait for.
        if name == "blazeface":
            from face_alignment.detection.blazeface import FaceDetector

            return FaceDetector(device=device, back_model=True, min_score_thresh=threshold)
        from face_alignment.detection.sfd import FaceDetector

        return FaceDetector(device=device, filter_threshold=threshold)
    except OSError as error:  # URLError and HTTPError too
        raise LirecError(
            f"The weights of face-alignment's {name} could not be fetched: "
            "connect to the internet once, or use the built-in detector."
        ) from error


BLAZEFACE_SIZE = 256
SFD_SIZE = 640

# Each detector's files in torch.hub's cache.
FACE_ALIGNMENT_DETECTORS = {
    "blazeface": ("blazefaceback.pth", "anchorsback.npy"),
    "sfd": ("s3fd-619a316812.pth",),
}

# Where the edges of a face box lie in the box of each detector, as shares of its width and height. BlazeFace:
# medians over rendered faces. SFD learnt from WIDER FACE, where boxes begin at the hairline.
FACE_BOX_IN = {
    "blazeface": (0.056, 0.071, 0.942, 1.004),
    "sfd": (0.03, 0.26, 0.97, 1.0),
}


def to_face_box(box: np.ndarray, detector: str) -> np.ndarray:
    """A box (4,) px in a face-alignment detector's convention -> the face box (4,) px."""
    extent = np.tile(box[2:] - box[:2], 2)
    return (np.tile(box[:2], 2) + extent * FACE_BOX_IN[detector]).astype(np.float32)


def from_face_box(box: np.ndarray, detector: str) -> np.ndarray:
    """The inverse of `to_face_box`."""
    share = np.array(FACE_BOX_IN[detector])
    extent = (box[2:] - box[:2]) / (share[2:] - share[:2])
    low = box[:2] - extent * share[:2]
    return np.concatenate([low, low + extent]).astype(np.float32)


def is_cached(*files: str) -> bool:
    """Whether all these weight files lie in torch.hub's cache."""
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    return all(os.path.isfile(os.path.join(folder, file)) for file in files)


def default_finder(
    model: FaceDetector | None = None,
    source: str = "auto",
    device: str | torch.device = "cpu",
    threshold: float | None = None,
) -> FaceFinder:
    """The best finder that works here.

    Args:
        model: the built-in network, where its weights are at hand.
        source: "built-in", "blazeface", "sfd", or "auto": the built-in one where there is a `model`, else a
            detector of face-alignment whose weights are cached. Only a source that is named is downloaded.
        device: where a face-alignment detector runs; the model stays where it is.
        threshold: the least score of a face; the finder's own when None.

    Raises:
        LirecError: there is no such source, or none that works.
    """
    settings = {} if threshold is None else {"threshold": threshold}
    device = torch.device(device).type
    if source == "auto":
        if model is not None:
            return BuiltInFinder(model, **settings)
        for name in ("sfd", "blazeface") if device == "cuda" else ("blazeface", "sfd"):
            if is_cached(*FACE_ALIGNMENT_DETECTORS[name]):
                return FaceAlignmentFinder(name, device, **settings)
        raise LirecError(
            "There is no face detector: give face boxes, the folder of a FaceDetector, or the source 'sfd'."
        )
    if source == "built-in":
        if model is None:
            raise LirecError("The built-in face detector has no weights: give its model, or another source.")
        return BuiltInFinder(model, **settings)
    return FaceAlignmentFinder(source, device, **settings)


def letterbox(image: np.ndarray, size: int, square: bool = False) -> tuple[np.ndarray, float, np.ndarray]:
    """Scale a picture's longer edge to `size` px and fill with grey to multiples of 32, or to a square.

    Returns:
        the picture (h, w, 3) uint8; the scale and the shift (2,) px that take a point to scale * p + shift.
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    new_width, new_height = (max(round(edge * scale), 1) for edge in (width, height))
    full_width, full_height = (
        (size, size) if square else (-(-edge // 32) * 32 for edge in (new_width, new_height))
    )
    canvas = np.full((full_height, full_width, 3), 128, np.uint8)
    left, top = (full_width - new_width) // 2, (full_height - new_height) // 2
    small = Image.fromarray(image).resize(
        (new_width, new_height), Image.Resampling.BILINEAR, reducing_gap=3.0
    )
    canvas[top : top + new_height, left : left + new_width] = np.asarray(small)
    return canvas, scale, np.array([left, top], np.float32)


def suppress(found: list[Detection], most: float = 0.4) -> list[Detection]:
    """Drop each face that overlaps a surer one: IoU above `most`, or one lies almost wholly in the other."""
    kept: list[Detection] = []
    for face in sorted(found, key=lambda face: -face.score):
        if all(
            overlap(face.box, other.box)[0] <= most and overlap(face.box, other.box)[1] <= 0.8
            for other in kept
        ):
            kept.append(face)
    return kept


def overlap(box: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Intersection over union of two boxes (4,), and the share of the smaller one that is covered."""
    edges = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    shared = float(edges.clip(0).prod())
    areas = float((box[2:] - box[:2]).prod()), float((other[2:] - other[:2]).prod())
    return shared / max(sum(areas) - shared, 1e-9), shared / max(min(areas), 1e-9)


def largest_first(found: list[Detection]) -> list[Detection]:
    return sorted(found, key=lambda face: -float((face.box[2:] - face.box[:2]).prod()))
