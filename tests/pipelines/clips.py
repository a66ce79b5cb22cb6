"""Small driving clips: a photo's face that wanders, leaves, or is cut away."""

from pathlib import Path

import numpy as np
from PIL import Image

from lirec.processing.video import VideoWriter

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ASTRONAUT = EXAMPLES / "astronaut.jpg"
SIZE = 160
FACE = np.float32([42, 39, 119, 121])  # box of the face in `wander(0)`


def wander(x: float, y: float = 0.0, zoom: float = 1.0) -> np.ndarray:
    """(160, 160, 3): the astronaut, moved by so many px to the right and down, and enlarged about the middle."""
    image = Image.open(ASTRONAUT).convert("RGB")
    side = 190 / zoom
    left, top = 222 - side / 2 - x * side / SIZE, 121 - side / 2 - y * side / SIZE
    return np.array(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)))


def empty() -> np.ndarray:
    """(160, 160, 3): a room without anybody, unlike `wander` in its colours."""
    ramp = np.linspace(0, 255, SIZE).astype(np.uint8)
    return np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, ::-1], np.uint8(160)), 2)


def write(path: Path, frames, rate: float = 10, audio_from: Path | None = None) -> Path:
    with VideoWriter(path, (SIZE, SIZE), rate, audio_from) as writer:
        for frame in frames:
            writer.write(frame)
    return path
