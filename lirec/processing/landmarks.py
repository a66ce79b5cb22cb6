"""The 68 landmarks (iBUG-68) of a face: found by face-alignment's network, and drawn."""

from __future__ import annotations

import numpy as np
import torch

from lirec.errors import LirecError
from lirec.geometry.landmarks import PARTS, draw_landmark_lines
from lirec.processing.detection import from_face_box, is_cached
from lirec.processing.image import to_array, to_tensor

__all__ = ["PARTS", "FaceAlignmentLandmarks", "draw_landmarks"]

WEIGHTS = "2DFAN4-11f355bf06.pth.tar"  # in torch.hub's cache


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
            self.network = FaceAlignment(LandmarksType.TWO_D, device=str(device), face_detector="folder", compile=False)
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
    points = torch.as_tensor(points, dtype=torch.float32).detach().cpu()
    if points.shape != (68, 2):
        raise ValueError(f"points must be (68, 2), not {tuple(points.shape)}.")
    canvas = None if over is None else to_tensor(over[None], "cpu")
    return to_array(draw_landmark_lines(points[None], size, over=canvas))[0]
