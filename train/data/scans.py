"""Pictures of faces whose true surface is known, in metres."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lirec.errors import LirecError

NOSE_TIP = 30  # of iBUG-68
HEAD = 0.28  # metres, about the longest side of a mesh of a whole head


@dataclass
class Scan:
    """
    A picture and the surface that it shows.

    Args:
        image: (H, W, 3) uint8.
        points: (N, 3) float64 metres, of the face's surface, in any frame that is right-handed.
        numbers: (L,) numbers from 0 to 67 of the landmarks of iBUG-68 that are known.
        landmarks: (L, 3) metres, on the surface.
        name: of the person and what they do.
        box: (4,) x1, y1, x2, y2 px round the face's landmarks; None where it must be found.
    """

    image: np.ndarray
    points: np.ndarray
    numbers: np.ndarray
    landmarks: np.ndarray
    name: str
    box: np.ndarray | None = None

    def cropped(self, radius: float) -> np.ndarray:
        """(M, 3) the points at most `radius` metres from the tip of the nose."""
        tip = self.landmarks[self.numbers.tolist().index(NOSE_TIP)]
        return self.points[np.linalg.norm(self.points - tip, axis=1) <= radius]


def to_metres(points: np.ndarray) -> np.ndarray:
    """A whole head (N, 3) in mm, cm, dm or m: in metres, by its size."""
    power = np.round(np.log10(HEAD / np.ptp(points, axis=0).max()))
    return points * 10.0**power


def read_points(path: Path) -> np.ndarray:
    """The vertices (N, 3) of a Wavefront OBJ file, in its own units.

    Raises:
        LirecError: it has none, or is damaged.
    """
    lines = (line.split()[1:4] for line in path.read_text(errors="replace").splitlines() if line.startswith("v "))
    try:
        points = np.array(list(lines), np.float64)
    except ValueError as error:
        raise LirecError(f"{path} is damaged: unpack the set again.") from error
    if points.ndim != 2 or points.shape[1] != 3:
        raise LirecError(f"{path} holds no mesh: unpack the set again.")
    return points


def beside(path: Path, stems: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    """The first file in the folder of `path` that has one of these names."""
    names = (f"{stem}{suffix}" for stem in stems for suffix in suffixes)
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def unpacked(path: Path) -> bytes:
    """What is in a file, unpacked where its name ends in .gz.

    Raises:
        LirecError: it is damaged.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise LirecError(f"{path} is damaged: unpack the set again.") from error
