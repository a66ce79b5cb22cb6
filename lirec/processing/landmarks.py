"""The 68 landmarks (iBUG-68) of a face: found by face-alignment's network, and drawn."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw

from lirec.errors import LirecError
from lirec.processing.detection import from_face_box, is_cached

WEIGHTS = "2DFAN4-11f355bf06.pth.tar"  # in torch.hub's cache

# Lines through the points of each part of the face: first and last point, whether the line closes, and a
# colour of its own, so that a network can tell left from right.
PARTS = {
    "jaw": (0, 16, False, (255, 255, 255)),
    "brow_left": (17, 21, False, (255, 96, 0)),
    "brow_right": (22, 26, False, (255, 224, 0)),
    "nose_bridge": (27, 30, False, (0, 255, 96)),
    "nose_base": (31, 35, False, (0, 192, 192)),
    "eye_left": (36, 41, True, (96, 96, 255)),
    "eye_right": (42, 47, True, (0, 192, 255)),
    "lips_outer": (48, 59, True, (255, 0, 96)),
    "lips_inner": (60, 67, True, (255, 0, 255)),
}

SUPERSAMPLING = 4


class FaceAlignmentLandmarks:
    """68 landmarks by the face-alignment package's network (2DFAN).

    Args:
        device: where it runs, "cpu" or "cuda".
        download: fetch the weights (about 95 MB) where they are not cached.

    Raises:
        LirecError: the weights are not cached, and are not to be or cannot be fetched.
    """

    def __init__(self, device: str = "cpu", download: bool = False):
        if not download and not self.available():
            raise LirecError(
                "The weights of face-alignment's landmarks are not cached: allow the download, "
                "or use the landmarks of the reconstruction network."
            )
        from face_alignment import FaceAlignment, LandmarksType  # takes a second: not for those without need

        try:
            # Boxes are always given; the "folder" detector is the one that needs no weights.
            self.network = FaceAlignment(
                LandmarksType.TWO_D, device=str(device), face_detector="folder", compile=False
            )
        except OSError as error:
            raise LirecError(
                "The weights of face-alignment's landmarks could not be fetched: check the connection."
            ) from error

    @staticmethod
    def available() -> bool:
        """Whether it can be used without a download."""
        return is_cached(WEIGHTS)

    def locate(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Landmarks of the faces in given boxes.

        Args:
            image: (H, W, 3) uint8.
            boxes: (N, 4) face boxes x1, y1, x2, y2 px.

        Returns:
            (N, 68, 2) float32 px.
        """
        if len(boxes) == 0:
            return np.zeros((0, 68, 2), np.float32)
        given = [from_face_box(np.asarray(box, np.float32), "sfd") for box in boxes]
        return np.stack(self.network.get_landmarks_from_image(image, detected_faces=given)).astype(np.float32)


def draw_landmarks(
    points: np.ndarray | torch.Tensor, size: int | tuple[int, int], over: np.ndarray | None = None
) -> np.ndarray:
    """The landmark picture of a face: antialiased coloured lines on black, or over a picture.

    Args:
        points: (68, 2) px.
        size: edge of the square picture, or its (height, width).
        over: (height, width, 3) uint8 to draw on; black when None.

    Returns:
        (height, width, 3) uint8. Lines are a 128th of the longer edge wide, at least 1 px.
    """
    if isinstance(points, torch.Tensor):
        points = points.detach().cpu().numpy()
    if points.shape != (68, 2):
        raise ValueError(f"points must be (68, 2), not {tuple(points.shape)}.")
    height, width = (size, size) if isinstance(size, int) else size
    fine = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    if over is None:
        canvas = Image.new("RGB", fine)
    else:
        canvas = Image.fromarray(over).resize(fine, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas)
    thickness = round(max(max(height, width) / 128, 1) * SUPERSAMPLING)
    # Pillow's integer coordinates are pixel centres.
    points = points * SUPERSAMPLING - 0.5
    for first, last, closed, colour in PARTS.values():
        line = [tuple(point) for point in points[first : last + 1].tolist()]
        draw.line(line + line[:1] if closed else line, fill=colour, width=thickness, joint="curve")
    return np.asarray(canvas.reduce(SUPERSAMPLING))
