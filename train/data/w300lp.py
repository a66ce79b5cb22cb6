"""300W-LP: 3,837 photos and 57,388 more made by turning them, up to profiles (Zhu et al. 2016)."""

import re
from pathlib import Path

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from lirec.errors import LirecError
from train.data.photos import PhotoDataset, as_landmarks

SUBSETS = ("AFW", "HELEN", "IBUG", "LFPW")
HOW_TO_GET = (
    "download 300W-LP.zip from http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm, unpack it, "
    "and give the folder that holds AFW, HELEN, IBUG, LFPW and landmarks"
)


class W300LPDataset(PhotoDataset):
    """300W-LP; AFLW2000-3D, which has the same files in one folder, is read too.

    Layout: `AFW/NAME.jpg` beside `AFW/NAME.mat`, and `landmarks/AFW/NAME_pts.mat`. Of the two kinds of points
    there the visible contour (`pts_2d`) is taken, as `MorphableModel.landmarks` follows it too. The mirrored
    copies (`AFW_Flip` and so on) have no such points and are left out.

    The identity is the photo that a turned picture was made from.

    Args:
        root: folder of the set.

    Raises:
        LirecError: the set is not there or not laid out like this.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        folders = [self.root / name for name in SUBSETS if (self.root / name).is_dir()] or [self.root]
        pictures = [file for folder in folders for file in sorted(folder.glob("*.jpg"))]
        self.files = [file for file in pictures if file.with_suffix(".mat").is_file()]
        if not self.files:
            raise LirecError(f"300W-LP is not in {self.root}: {HOW_TO_GET}.")

    def landmarks(self, file: Path) -> np.ndarray:
        # NAME.mat has "pt2d" too, but before the turn.
        choices = [
            (self.root / "landmarks" / file.parent.name / f"{file.stem}_pts.mat", "pts_2d"),
            (file.with_suffix(".mat"), "pt3d_68"),
        ]
        for path, name in choices:
            if path.is_file():
                points = read_mat(path).get(name)
                if points is not None:
                    return as_landmarks(points, path, offset=-0.5)
        raise LirecError(f"The landmarks of {file} are missing: {HOW_TO_GET}.")

    def identity(self, file: Path) -> str:
        return file.stem if file.parent == self.root else re.sub(r"_\d+$", "", file.stem)


def read_mat(path: Path) -> dict:
    """The variables of a MATLAB file (up to version 7)."""
    try:
        return scipy.io.loadmat(path)
    except (MatReadError, ValueError, TypeError, OSError, NotImplementedError) as error:
        raise LirecError(f"{path} is not a MATLAB file that can be read: download the set again.") from error
