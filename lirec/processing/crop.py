"""The square window round a face that the networks look at, and the way back to the whole picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from lirec.errors import LirecError

MAX_WINDOW_PIXELS = 512_000_000


@dataclass(frozen=True)
class Crop:
    """A square window on a picture.

    Points, matrices and poses may be numpy arrays or torch tensors, with any leading dimensions; what comes
    back is of the same kind. Points are (x, y) px, a pixel's centre at +0.5.

    Args:
        centre: the window's middle (x, y), px of the picture.
        side: its edge, px of the picture.
        angle: radians by which its content is turned counter-clockwise in the picture (as a positive roll
            turns a head); in the crop it stands upright.
    """

    centre: tuple[float, float]
    side: float
    angle: float = 0.0

    def __post_init__(self):
        x, y = (float(value) for value in self.centre)
        object.__setattr__(self, "centre", (x, y))
        object.__setattr__(self, "side", float(self.side))
        object.__setattr__(self, "angle", float(self.angle))
        if not all(map(math.isfinite, (x, y, self.side, self.angle))) or self.side <= 0:
            raise LirecError(f"A crop needs finite numbers and a side above 0 px, not {self}.")

    @classmethod
    def from_box(cls, box, scale: float = 1.45, angle: float = 0.0) -> Crop:
        """Round a face box (x1, y1, x2, y2) px, `scale` times its longer edge wide."""
        x1, y1, x2, y2 = (float(value) for value in box)
        if not (x2 > x1 and y2 > y1):
            raise LirecError(f"A box is (x1, y1, x2, y2) with x1 < x2 and y1 < y2, not {(x1, y1, x2, y2)}.")
        return cls(((x1 + x2) / 2, (y1 + y2) / 2), scale * max(x2 - x1, y2 - y1), angle)

    @classmethod
    def from_landmarks(cls, points, angle: float = 0.0, scale: float = 1.45) -> Crop:
        """Round points (N, 2) px: `scale` times the longer edge of their bounding box in the turned frame."""
        if isinstance(points, torch.Tensor):
            points = points.detach().cpu()
        points = np.asarray(points, dtype=np.float64)
        axes = _axes(angle)
        upright = points @ axes
        low, high = upright.min(0), upright.max(0)
        return cls(tuple(axes @ ((low + high) / 2)), scale * float((high - low).max()), angle)

    def matrix(self, size: int) -> np.ndarray:
        """(3, 3) float64: picture px -> px of the crop at `size` px (homogeneous points)."""
        linear = _axes(self.angle).T * (size / self.side)
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = size / 2 - linear @ np.array(self.centre)
        return matrix

    def to_crop(self, points, size: int):
        """Points (..., 2), picture px -> px of the crop at `size` px."""
        return _transform(self.matrix(size), points)

    def to_image(self, points, size: int):
        """Points (..., 2), px of the crop at `size` px -> picture px."""
        return _transform(np.linalg.inv(self.matrix(size)), points)

    def to_image_camera(self, rotation, translation, focal):
        """The pose that shows the same in the whole picture as the given pose shows in the crop.

        Args:
            rotation: (..., 3, 3), face to crop camera.
            translation: (..., 3) metres, in the crop camera.
            focal: (...) in crop sides.

        Returns:
            rotation (..., 3, 3), translation (..., 3), intrinsics (..., 3, 3) in picture px. They are exact:
            turning a picture about the window's middle is turning the camera about its axis.
        """
        turn = np.eye(3)
        turn[:2, :2] = _axes(self.angle)
        turn = _like(turn, rotation)
        return turn @ rotation, translation @ turn.T, _intrinsics(focal, self.side, self.centre)

    def extract(self, image: np.ndarray, size: int) -> np.ndarray:
        """The upright crop (size, size, 3) uint8 of a picture (H, W, 3) uint8.

        Shrinking filters first, so that nothing aliases; beyond the picture its border pixels go on.
        """
        shrink = max(self.side / size, 1.0)
        if self.angle == 0:
            reach, margin = self.side / 2, 0
        else:
            reach = self.side / 2 * (abs(math.cos(self.angle)) + abs(math.sin(self.angle)))
            margin = math.ceil(3 * shrink)
        left, top = (math.floor(value - reach) - margin for value in self.centre)
        right, bottom = (math.ceil(value + reach) + margin for value in self.centre)
        if (right - left) * (bottom - top) > MAX_WINDOW_PIXELS:
            raise LirecError(f"A crop {self.side:.0f} px wide is too large: give a smaller box.")
        region = Image.fromarray(_window(image, left, top, right, bottom))

        if self.angle == 0:
            half = self.side / 2
            x, y = self.centre[0] - left, self.centre[1] - top
            width, height = region.size
            box = (max(x - half, 0), max(y - half, 0), min(x + half, width), min(y + half, height))
            return np.array(region.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))

        if shrink > 1:
            width, height = (max(round(edge / shrink), 1) for edge in region.size)
            scale = np.array([region.width / width, region.height / height])
            region = region.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
        else:
            scale = np.ones(2)
        inverse = np.linalg.inv(self.matrix(size))
        linear = inverse[:2, :2] / scale[:, None]
        offset = (inverse[:2, 2] - (left, top)) / scale
        return np.array(_warp(region, linear, offset, (size, size)))


def _axes(angle: float) -> np.ndarray:
    """(2, 2): columns are the upright content's right and down directions in the picture."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


def _like(matrix: np.ndarray, other):
    if isinstance(other, torch.Tensor):
        return torch.as_tensor(matrix, dtype=other.dtype, device=other.device)
    return matrix.astype(other.dtype) if np.issubdtype(other.dtype, np.floating) else matrix


def _transform(matrix: np.ndarray, points):
    points = points if isinstance(points, torch.Tensor) else np.asarray(points)
    matrix = _like(matrix, points)
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _intrinsics(focal, side: float, principal: tuple[float, float]):
    focal = focal if isinstance(focal, torch.Tensor) else np.asarray(focal, dtype=np.float64)
    scaling = _like(np.diag([side, side, 0.0]), focal)
    axis = np.zeros((3, 3))
    axis[:2, 2], axis[2, 2] = principal, 1
    return focal[..., None, None] * scaling + _like(axis, focal)


def _window(image: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """image[top:bottom, left:right], its border pixels repeated where the window reaches beyond it."""
    height, width = image.shape[:2]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return np.ascontiguousarray(image[top:bottom, left:right])
    rows = np.arange(top, bottom).clip(0, height - 1)
    columns = np.arange(left, right).clip(0, width - 1)
    return np.take(np.take(image, rows, axis=0), columns, axis=1)


def _warp(image: Image.Image, linear, offset, size, resample=Image.Resampling.BICUBIC) -> Image.Image:
    """Sample `image` at linear @ p + offset for every pixel centre p of the result (width, height)."""
    data = (*linear[0], offset[0], *linear[1], offset[1])
    return image.transform(size, Image.Transform.AFFINE, data, resample)
