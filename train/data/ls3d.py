"""LS3D-W: about 230,000 photos and video frames with 68 landmarks (Bulat and Tzimiropoulos 2017)."""

import struct
from pathlib import Path

import numpy as np

from lirec.errors import LirecError
from train.data.photos import PhotoDataset, as_landmarks, pictures_below
from train.data.w300lp import read_mat

HOW_TO_GET = (
    "ask its authors for it at https://www.adrianbulat.com/face-alignment, unpack it, and give the folder "
    "that holds 300W-Testset-3D, 300VW-3D, AFLW2000-3D-Reannotated and Menpo-3D"
)
LANDMARK_SUFFIXES = (".t7", ".pts", ".npy", ".mat")


class LS3DDataset(PhotoDataset):
    """LS3D-W, or any folder where each picture has its landmarks in a file of the same name beside it.

    `NAME.jpg` or `.png` goes with `NAME.t7` (as published), `.pts`, `.npy` or `.mat`. The points of LS3D-W
    are projected from 3D: the jaw of a turned head is the hidden one, not the visible contour.

    The identity of a frame of 300VW is its video; other pictures have none.

    Args:
        root: folder of the set.

    Raises:
        LirecError: the set is not there or not laid out like this.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._points = {}
        for file in pictures_below(self.root):
            beside = [file.with_suffix(suffix) for suffix in LANDMARK_SUFFIXES]
            found = next((path for path in beside if path.is_file()), None)
            if found is not None:
                self._points[file] = found
        self.files = list(self._points)
        if not self.files:
            raise LirecError(f"LS3D-W is not in {self.root}: {HOW_TO_GET}.")

    def landmarks(self, file: Path) -> np.ndarray:
        return read_landmarks(self._points[file])

    def identity(self, file: Path) -> str | None:
        parts = file.relative_to(self.root).parts
        return "/".join(parts[:-1]) if "300VW-3D" in file.parts and len(parts) > 1 else None


def read_landmarks(path: Path) -> np.ndarray:
    """Read 68 landmarks from a .t7, .pts, .npy or .mat file: (68, 2) float32 pixels."""
    try:
        if path.suffix == ".t7":
            return as_landmarks(read_torch7(path), path)
        if path.suffix == ".npy":
            return as_landmarks(np.load(path, allow_pickle=False), path)
        if path.suffix == ".pts":
            return as_landmarks(_read_pts(path), path, offset=-0.5)
    except (ValueError, IndexError, struct.error, EOFError, OSError) as error:
        if isinstance(error, LirecError):
            raise
        raise LirecError(f"{path} cannot be read as landmarks: download the set again.") from error
    for name, values in read_mat(path).items():
        if not name.startswith("__") and 68 in np.shape(values):
            return as_landmarks(values, path, offset=-0.5)
    raise LirecError(f"{path} holds no 68 landmarks.")


def _read_pts(path: Path) -> np.ndarray:
    """The points between the braces of an iBUG .pts file, which counts pixels from 1."""
    body = path.read_text(encoding="utf-8").split("{")[1].split("}")[0]
    return np.array([line.split() for line in body.strip().splitlines()], np.float32)


def read_torch7(path: Path) -> np.ndarray:
    """Read a file that holds one Torch7 tensor of floats, in Torch7's binary format.

    Raises:
        ValueError: it holds something else.
    """
    data, position = path.read_bytes(), 0

    def take(layout: str) -> tuple:
        nonlocal position
        values = struct.unpack_from("<" + layout, data, position)
        position += struct.calcsize("<" + layout)
        return values

    def text() -> bytes:
        return take(f"{take('i')[0]}s")[0]

    def class_name() -> bytes:
        kind, _ = take("ii")
        if kind != 4:
            raise ValueError("not a Torch7 object")
        name = text()
        return text() if name.startswith(b"V ") else name

    types = {b"Float": "<f4", b"Double": "<f8"}
    name = class_name()
    if not name.startswith(b"torch.") or not name.endswith(b"Tensor") or name[6:-6] not in types:
        raise ValueError("not a Torch7 tensor of floats")
    dimensions = take("i")[0]
    shape, strides = take(f"{dimensions}q"), take(f"{dimensions}q")
    (first,) = take("q")
    class_name()
    (count,) = take("q")
    storage = np.frombuffer(data, types[name[6:-6]], count, position)
    index = sum(np.ix_(*(np.arange(size) * stride for size, stride in zip(shape, strides, strict=True))))
    return storage[first - 1 + index]
