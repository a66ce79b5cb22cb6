"""Faces to learn from: sets of photos, one file each, and rendered ones (`train.data.synthetic`).

The photo sets have licences of their own, and none comes with this project: when its folder is missing, each
reader says what to download from whom.
"""

from pathlib import Path

from lirec.errors import LirecError
from train.data.celeba import CelebADataset
from train.data.folder import FolderDataset
from train.data.ls3d import LS3DDataset
from train.data.multipie import MultiPIEDataset
from train.data.photos import FacePhoto, PhotoDataset
from train.data.rafd import RaFDDataset
from train.data.voxceleb2 import VoxCeleb2Dataset
from train.data.w300lp import W300LPDataset

__all__ = ["DATASETS", "FacePhoto", "PhotoDataset", "open_dataset", "training_set"]

DATASETS: dict[str, type[PhotoDataset]] = {
    "folder": FolderDataset,
    "300w-lp": W300LPDataset,
    "celeba": CelebADataset,
    "ls3d": LS3DDataset,
    "multi-pie": MultiPIEDataset,
    "rafd": RaFDDataset,
    "voxceleb2": VoxCeleb2Dataset,
}
TRAINING_SPLITS = {"celeba": "train", "multi-pie": "train", "rafd": "train", "voxceleb2": "dev"}
"""What to train on, of the sets that keep people for tests."""


def open_dataset(name: str, root: str | Path, **options) -> PhotoDataset:
    """Open a set of photos.

    Args:
        name: one of `DATASETS`.
        root: the folder it is in.
        options: arguments of that set's class, such as `split`.

    Raises:
        LirecError: no such set is known, or it is not in that folder; the message says how to get it.
    """
    if name not in DATASETS:
        raise LirecError(f"There is no set of photos named {name!r}: choose one of {', '.join(DATASETS)}.")
    return DATASETS[name](root, **options)


def training_set(name: str, root: str | Path) -> PhotoDataset:
    """Open what there is to train on of a set of photos: all of it but the people kept for tests.

    Raises:
        LirecError: as of `open_dataset`.
    """
    split = TRAINING_SPLITS.get(name)
    return open_dataset(name, root, **({"split": split} if split else {}))
