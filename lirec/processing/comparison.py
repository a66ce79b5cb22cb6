"""Two videos beside each other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from lirec.errors import LirecError
from lirec.processing.video import VideoWriter, open_video

HEIGHT = 640  # px at most


def side_by_side(left: str | os.PathLike, right: str | os.PathLike, output: str | os.PathLike) -> Path:
    """
    Write a video that shows two videos at the same height, picture by picture.

    Times and sound are those of the right one; it ends with the shorter one.

    Args:
        left, right: videos, such as a driver and what it drove.
        output: the file to write, ending in .mp4.

    Returns:
        The path of what was written.

    Raises:
        LirecError: a video cannot be read, or the output not be written.
    """
    output = Path(output)
    if any(output.exists() and output.samefile(path) for path in (left, right) if Path(path).exists()):
        raise LirecError(f"{output} is read and written at once: give the output another name.")
    with open_video(left) as one, open_video(right) as other:
        height = min(other.size[1], HEIGHT)
        sizes = [(max(round(width * height / tall), 1), height) for width, tall in (one.size, other.size)]
        total = sum(width for width, _ in sizes), height
        with VideoWriter(output, total, other.frame_rate, right if other.has_audio else None) as writer:
            for pair in zip(one, other, strict=False):
                pictures = [_scaled(frame.image, size) for frame, size in zip(pair, sizes, strict=True)]
                writer.write(np.concatenate(pictures, 1), pair[1].time)
    return output


def _scaled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[1::-1] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
