"""What every set of photos gives, and what their readers share."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from lirec.errors import LirecError
from lirec.processing.image import load_image

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass
class FacePhoto:
    """A photo of a face and what its set tells about it.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        landmarks: (68, 2) float32 iBUG-68 in pixels, a pixel's centre at +0.5; None when the set has none.
        box: (4,) float32 x1, y1, x2, y2, the bounding box of the landmarks or the set's nearest thing to it.
        identity: the same text for pictures that are known to show the same person.
    """

    image: np.ndarray
    landmarks: np.ndarray | None = None
    box: np.ndarray | None = None
    identity: str | None = None

    def __post_init__(self):
        if self.box is None and self.landmarks is not None:
            self.box = np.concatenate((self.landmarks.min(0), self.landmarks.max(0)))


class PhotoDataset(Dataset):
    """Pictures in files, one `FacePhoto` each. Subclasses fill `files` and say what they know of each.

    Pictures differ in size, so a data loader needs a `collate_fn`, such as one that crops.

    Attributes:
        files: paths of the pictures, in a fixed order.
    """

    files: list[Path]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> FacePhoto:
        file = self.files[index]
        return FacePhoto(load_image(file), self.landmarks(file), self.box(file), self.identity(file))

    def landmarks(self, file: Path) -> np.ndarray | None:
        """(68, 2) float32 pixels, or None."""

    def box(self, file: Path) -> np.ndarray | None:
        """(4,) float32 x1, y1, x2, y2; None when unknown, or when it is simply that of the landmarks."""

    def identity(self, file: Path) -> str | None:
        """A name shared by the pictures of one person, or None."""


def pictures_below(folder: Path) -> list[Path]:
    """All pictures in a folder and the folders in it, sorted."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)


def first_folder(root: Path, candidates: Iterable[str]) -> Path | None:
    """The first of root/candidate that is a folder."""
    return next((root / name for name in candidates if (root / name).is_dir()), None)


def as_landmarks(points: np.ndarray, file: Path, offset: float = 0.0) -> np.ndarray:
    """68 points as (68, 2) float32, from (68, 2), (68, 3), (2, 68) or (3, 68); `offset` is added.

    Sets that count pixels from 1, as MATLAB does, need an offset of -0.5.

    Raises:
        LirecError: these are not 68 points.
    """
    points = np.asarray(points)
    if points.ndim == 2 and points.shape[0] in (2, 3) and points.shape[1] == 68:
        points = points.T
    if points.ndim != 2 or points.shape[0] != 68 or points.shape[1] not in (2, 3):
        raise LirecError(f"{file} should hold 68 landmarks, but its points have the shape {points.shape}.")
    return np.ascontiguousarray(points[:, :2], np.float32) + np.float32(offset)
