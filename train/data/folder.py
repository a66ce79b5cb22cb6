"""Any folder of pictures, with landmarks where a table gives them."""

import csv
from pathlib import Path

import numpy as np

from lirec.errors import LirecError
from train.data.photos import PhotoDataset, pictures_below

TABLE = "landmarks68.csv"
COLUMNS = ["file", *(f"{axis}{i}" for i in range(68) for axis in "xy")]


class FolderDataset(PhotoDataset):
    """Pictures in a folder and the folders in it.

    The folder may hold `landmarks68.csv`: a header `file,x0,y0,...,x67,y67` and a row for a picture, with its
    path from the folder and its iBUG-68 points in pixels. Pictures without a row have no landmarks.

    The identity of a picture that has a row is the number before the first `_` in its name (`012_3.jpg`); of
    others, and without such a number, the name of the sub-folder that it is in.

    Args:
        root: the folder.

    Raises:
        LirecError: there is no such folder, it has no picture, or the table is not as said above.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise LirecError(f"There is no folder {self.root}: give a folder of pictures of faces.")
        self.files = pictures_below(self.root)
        if not self.files:
            raise LirecError(f"No pictures in {self.root}: put pictures of faces there (JPEG, PNG or WebP).")
        table = self.root / TABLE
        self._landmarks = read_table(table) if table.is_file() else {}

    @property
    def labelled(self) -> list[int]:
        """Numbers of the pictures that have landmarks."""
        return [index for index, file in enumerate(self.files) if self._key(file) in self._landmarks]

    def landmarks(self, file: Path) -> np.ndarray | None:
        return self._landmarks.get(self._key(file))

    def identity(self, file: Path) -> str | None:
        person, underscore, _ = file.name.partition("_")
        if underscore and person.isdigit() and self._key(file) in self._landmarks:
            return person
        return None if file.parent == self.root else file.parent.name

    def _key(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Read a landmark table: path in the folder -> (68, 2) float32."""
    with open(path, newline="", encoding="utf-8") as stream:
        header, *rows = list(csv.reader(stream)) or [[]]
    if header != COLUMNS:
        raise LirecError(f"The first line of {path} must be file,x0,y0,...,x67,y67.")
    landmarks = {}
    for number, row in enumerate(rows, start=2):
        try:
            landmarks[row[0]] = np.array(row[1:], np.float32).reshape(68, 2)
        except (ValueError, IndexError) as error:
            raise LirecError(f"Line {number} of {path} is not a file name and 136 numbers.") from error
    return landmarks


def write_table(path: str | Path, landmarks: dict[str, np.ndarray]) -> None:
    """Write a landmark table that `FolderDataset` reads: path in the folder -> (68, 2) pixels."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for file, points in landmarks.items():
            writer.writerow([file, *(f"{value:.2f}" for value in np.asarray(points).reshape(-1))])
