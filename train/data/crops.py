"""Photos of any set as batches of crops for RecNet."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader

from lirec.processing.crop import Crop
from train.data.photos import FacePhoto


@dataclass
class PhotoBatch:
    """
    B crops: `image (B, 3, S, S)` sRGB in [0, 1], `landmarks (B, 68, 2)` px of the crop, `has_landmarks (B,)` 0/1.
    """

    image: torch.Tensor
    landmarks: torch.Tensor
    has_landmarks: torch.Tensor

    def to(self, device, **how) -> "PhotoBatch":
        return PhotoBatch(**{name: value.to(device, **how) for name, value in vars(self).items()})


def crop_photo(photo: FacePhoto, size: int, scale: float, rng: np.random.Generator):
    """One crop and its landmarks (zeros when there are none), placed a little at random round the box."""
    height, width = photo.image.shape[:2]
    box = photo.box if photo.box is not None else (width * 0.2, height * 0.2, width * 0.8, height * 0.8)
    crop = Crop.from_box(box, scale * float(np.exp(rng.normal(0, 0.05))))
    centre = np.array(crop.centre) + rng.normal(0, 0.025, 2) * crop.side
    crop = Crop(tuple(centre), crop.side, float(rng.normal(0, 0.08)))
    points = np.zeros((68, 2), np.float32)
    if photo.landmarks is not None:
        points = crop.to_crop(photo.landmarks, size).astype(np.float32)
    return crop.extract(photo.image, size), points, photo.landmarks is not None


def photo_loader(dataset, size: int, batch_size: int, scale: float, seed: int):
    """Endless shuffled `PhotoBatch`es of a set of `FacePhoto`s."""
    rng = np.random.default_rng(seed)

    def collate(photos):
        images, points, known = zip(*(crop_photo(photo, size, scale, rng) for photo in photos), strict=True)
        return PhotoBatch(
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255,
            torch.from_numpy(np.stack(points)),
            torch.tensor(known, dtype=torch.float32),
        )

    loader = DataLoader(
        dataset, batch_size, shuffle=True, collate_fn=collate, generator=torch.Generator().manual_seed(seed),
        drop_last=len(dataset) >= batch_size,
    )  # fmt: skip
    while True:
        yield from loader
