"""FRGC v2.0: 4,007 range images of 466 people, each with a photo from the same camera (Phillips et al. 2005)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lirec.errors import LirecError
from lirec.processing.image import load_image
from train.data.scans import NOSE_TIP, Scan, beside, unpacked

PHOTOS = (".ppm.gz", ".ppm", ".jpg", ".png")
NEAR = 4  # px round a landmark in which the range image must know a point
HOW_TO_GET = (
    "ask the University of Notre Dame for it, https://cvrl.nd.edu/projects/data, and give the folder of its range "
    "images, such as nd1/Spring2003range, that holds 02463d452.abs.gz with the photo 02463d453.ppm.gz beside it"
)


class FRGCScans:
    """
    FRGC's range images and the photos that go with them, which have the same or the next number.

    A pixel of the photo and one of the range image are the same place, so landmarks found in the photo are looked up
    in the range image.

    Args:
        root: folder of the range images, or one above.
        find_landmarks: gives the 68 landmarks (68, 2) px of the face in a photo (H, W, 3) uint8, or None.

    Raises:
        LirecError: the set is not there.
    """

    def __init__(self, root: str | Path, find_landmarks: Callable[[np.ndarray], np.ndarray | None]):
        self.find_landmarks = find_landmarks
        self.files = []
        for file in sorted([*Path(root).rglob("*.abs"), *Path(root).rglob("*.abs.gz")]):
            stem = file.name.split(".")[0]
            photo = beside(file, [stem, _next_number(stem)], PHOTOS)
            if photo:
                self.files.append((file, photo))
        if not self.files:
            raise LirecError(f"FRGC v2.0 is not in {root}: {HOW_TO_GET}.")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Scan | None:
        """A scan; None where the photo shows no face that the range image knows."""
        file, photo = self.files[index]
        grid, image = read_abs(file), load_image(unpacked(photo))
        landmarks = self.find_landmarks(image)
        if landmarks is None:
            return None
        scale = np.array([grid.shape[1] / image.shape[1], grid.shape[0] / image.shape[0]])
        inner = range(17, 68)  # the jaw's are on an outline, behind which the range image jumps
        places = {number: _look_up(grid, landmarks[number] * scale) for number in inner}
        looked_up = {number: point for number, point in places.items() if point is not None}
        if NOSE_TIP not in looked_up or len(looked_up) < 6:
            return None
        box = np.concatenate((landmarks.min(0), landmarks.max(0)))
        points = grid[np.isfinite(grid).all(2)]
        name = file.name.split(".")[0]
        return Scan(image, points, np.array(list(looked_up)), np.array(list(looked_up.values())), name, box)


def read_abs(path: Path) -> np.ndarray:
    """Read a range image of FRGC: (H, W, 3) float64 metres, NaN where nothing was measured.

    Raises:
        LirecError: it is damaged.
    """
    try:
        rows, columns, _, flags, *axes = unpacked(path).decode("ascii").splitlines()
        shape = int(rows.split()[0]), int(columns.split()[0])
        known = np.array(flags.split(), np.float64).reshape(shape) > 0
        x, y, z = (np.array(axis.split(), np.float64).reshape(shape) for axis in axes[:3])
    except ValueError as error:
        raise LirecError(f"{path} is no range image of FRGC, or it is damaged: unpack the set again.") from error
    return np.where(known[..., None], np.stack((x, y, z), 2) / 1000, np.nan)


def _next_number(stem: str) -> str:
    """02463d452 -> 02463d453."""
    subject, letter, number = stem.rpartition("d")
    return f"{subject}{letter}{int(number) + 1:0{len(number)}d}" if number.isdigit() else stem


def _look_up(grid: np.ndarray, place: np.ndarray) -> np.ndarray | None:
    """The point (3,) of a range image nearest to a place (2,) px; None where it knows none within `NEAR`."""
    left, top = np.maximum(np.floor(place).astype(int) - NEAR, 0)
    window = grid[top : top + 2 * NEAR + 1, left : left + 2 * NEAR + 1]
    rows, columns = np.nonzero(np.isfinite(window).all(2))
    if len(rows) == 0:
        return None
    distance = np.hypot(columns + left + 0.5 - place[0], rows + top + 0.5 - place[1])
    nearest = distance.argmin()
    return window[rows[nearest], columns[nearest]] if distance[nearest] <= NEAR else None
