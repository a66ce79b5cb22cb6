"""Two videos beside each other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from lirec.processing.video import MAX_SIDE, VideoWriter, check_unread, open_video

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
    check_unread(output, left, right)
    with open_video(left) as one, open_video(right) as other:
        breadth = sum(width / tall for width, tall in (one.size, other.size))
        height = max(min(other.size[1], HEIGHT, int(MAX_SIDE / breadth)), 1)
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
