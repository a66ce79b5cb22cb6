"""A face followed through a video: where its head is and what it does, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lirec.pipelines.reconstruction import Face, RecAugNetPipeline
from lirec.processing.crop import Crop
from lirec.processing.detection import BuiltInFinder, Detection, overlap
from lirec.processing.image import to_tensor

FINDER_SIZE = 320  # px, longest edge of the picture in which a driver is looked for
CONFIRM_EVERY = 6  # frames
SEARCH_EVERY = 5  # frames, while there is no face
STILL_FACE = 0.5  # of the detector's threshold: what a followed face must keep
SHARED = 0.08  # of a window's side that a face may have moved in it to be seen as well as in its own
SHARED_SIZE, SHARED_TURN = 1.1, 0.15  # likewise the ratio of sizes, and radians
MOST_SHARED = CONFIRM_EVERY  # frames
THUMBNAIL = 32  # px
CUT = (0.3, 0.08)  # least change of the colours' histogram and of the pixels, in [0, 1]


@dataclass
class Motion:
    """
    A head in one picture: what moves of it.

    Attributes:
        expression: (51,) ARKit weights in [0, 1].
        rotation: (3, 3) from the face frame to the camera frame.
        position: (2,) px, where the head's origin, between the eyes, is seen.
        scale: px per metre at the head's origin.
        light: (9, 3) spherical harmonics in the camera frame, None where there is no picture.
        landmarks: (68, 2) px, None where there is no picture.
    """

    expression: np.ndarray
    rotation: np.ndarray
    position: np.ndarray
    scale: float
    light: np.ndarray | None = None
    landmarks: np.ndarray | None = None

    @classmethod
    def of(cls, face: Face) -> Motion:
        """The motion of a reconstructed face."""
        origin = face.intrinsics @ face.translation
        return cls(
            expression=face.expression,
            rotation=face.rotation,
            position=origin[:2] / origin[2],
            scale=float(face.intrinsics[0, 0] / face.translation[2]),
            light=face.light,
            landmarks=face.landmarks,
        )

    @classmethod
    def at_rest(cls, expressions: int = 51) -> Motion:
        """A face without expression that looks into the camera."""
        return cls(np.zeros(expressions, np.float32), np.diag(np.float32([1, -1, -1])), np.zeros(2), 1.0)


def place(position: np.ndarray, scale: np.ndarray, focal: float, principal: np.ndarray) -> np.ndarray:
    """Translations (..., 3) in metres at which a camera sees head origins at positions (..., 2) and scales (..., 1) of
    motions; `focal` and `principal` (2,) have their unit of length in the picture."""
    depth = focal / scale
    return np.concatenate(((position - principal) * depth / focal, depth), -1)


@dataclass
class Sighting:
    """What a tracker saw in one frame.

    Args:
        motion: of the followed face; None where there is none.
        cut: whether a new scene begins with this frame.
        face: the followed face, where a picture shows it.
    """

    motion: Motion | None
    cut: bool
    face: Face | None = None


class CutDetector:
    """Tells where a new scene begins: colours and pixels change at once."""

    def __init__(self):
        self.last: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, image: np.ndarray) -> bool:
        """Whether the picture (H, W, 3) uint8 begins another scene than the one before; the first does not."""
        rows, columns = (np.linspace(0, edge - 1, THUMBNAIL).astype(int) for edge in image.shape[:2])
        small = image[rows[:, None], columns]
        levels = (small // 64).astype(int) @ (16, 4, 1)
        histogram = np.bincount(levels.ravel(), minlength=64) / levels.size
        small, last = small.astype(np.float32) / 255, self.last
        self.last = small, histogram
        if last is None:
            return False
        pixels, colours = np.abs(small - last[0]).mean(), 0.5 * np.abs(histogram - last[1]).sum()
        return bool(colours > CUT[0] and pixels > CUT[1])


class FaceTracker:
    """
    Follows one face through the frames of a video.

    It is found in the first frame and after each cut, the largest first; from then on RecNet looks in the window
    round the landmarks of the frame before. The detector confirms every few frames that this is still a face, and
    searches anew when it is not or when the landmarks leave their window.

    Args:
        reconstruction: the networks.
        box: (4,) px, the face box in the first frame; the largest face when None.
        augmented: take expressions from ETNet, see `RecAugNetPipeline`.
        search_every: frames, while there is no face; 1 where they are far apart.
    """

    def __init__(
        self,
        reconstruction: RecAugNetPipeline,
        box: np.ndarray | None = None,
        augmented: bool = True,
        search_every: int = SEARCH_EVERY,
    ):
        self.reconstruction, self.augmented, self.search_every = reconstruction, augmented, search_every
        self.is_cut = CutDetector()
        self.box = box
        self.crop = self._window(box) if box is not None else None
        self.fresh = True  # the window comes from the detector
        self.since = 0  # frames since the detector last looked
        self.sought = False
        self.run = MOST_SHARED  # frames that are tried in one window

    def follow(self, image: np.ndarray) -> Sighting:
        """The face in the next frame (H, W, 3) uint8."""
        return self.follow_all([image])[0]

    @torch.no_grad()
    def follow_all(self, images: Sequence[np.ndarray]) -> list[Sighting]:
        """
        The face in the next frames (H, W, 3) uint8: what `follow` gives for one after the other, in fewer passes of the
        networks, since frames in which it hardly moves are looked at together.
        """
        cuts = [self.is_cut(image) for image in images]
        sightings: list[Sighting] = []
        while (done := len(sightings)) < len(images):
            end = next((i for i in range(done + 1, len(images)) if cuts[i]), len(images))
            faces = self._follow(images[done:end], cuts[done])
            sightings += [
                Sighting(None if face is None else Motion.of(face), cuts[done] and i == 0, face)
                for i, face in enumerate(faces)
            ]
        return sightings

    @staticmethod
    def _is_near(following: Crop, crop: Crop) -> bool:
        """Whether a face for which one window is made is seen as well in another."""
        moved = np.hypot(*np.subtract(following.centre, crop.centre)) / crop.side
        turned = abs((following.angle - crop.angle + np.pi) % (2 * np.pi) - np.pi)
        sizes = 1 / SHARED_SIZE < following.side / crop.side < SHARED_SIZE
        return bool(moved < SHARED and turned < SHARED_TURN and sizes)

    def _follow(self, images: Sequence[np.ndarray], cut: bool) -> list[Face | None]:
        """The face in the first of one scene's frames, and in as many after it as one window serves."""
        first = images[0]
        if cut:
            self.crop = self.box = None
            self.sought = False
        self.since += 1
        if self.crop is None:
            if not self.sought or self.since >= self.search_every:
                self._search(first)
        elif self.since >= CONFIRM_EVERY and not self._confirm(first):
            self._search(first)
        until_confirmed = CONFIRM_EVERY - self.since
        faces = self._look(images[: min(self.run, until_confirmed)]) if self.crop is not None else []
        if not faces and self.crop is not None:
            self._search(first)
            faces = self._look([first]) if self.crop is not None else []
            if not faces:
                self.crop = None
        self.since += max(len(faces) - 1, 0)
        return faces or [None]

    def _window(self, box: np.ndarray) -> Crop:
        return Crop.from_box(box, self.reconstruction.rec_net.config.crop_scale)

    def _search(self, image: np.ndarray) -> None:
        """Find the face: the one where it was seen last, else the largest."""
        self.since, self.sought = 0, True
        faces = self._find(image)
        if self.box is not None:
            faces.sort(key=lambda face: -overlap(face.box, self.box)[0])  # stable: else largest first
        self.crop = self._window(faces[0].box) if faces else None
        self.fresh = True

    def _find(self, image: np.ndarray) -> list[Detection]:
        detector = self.reconstruction.face_detector
        if detector is None:
            return self.reconstruction.detect(image)
        return BuiltInFinder(detector, sizes=(FINDER_SIZE,)).detect(image)

    def _confirm(self, image: np.ndarray) -> bool:
        """Whether the detector sees a face where the tracker does."""
        self.since = 0
        detector = self.reconstruction.face_detector
        if detector is None:
            return True
        scale, size = BuiltInFinder.CLOSE_UPS[0]
        crop = Crop.from_box(self.box, scale)
        found = detector.find(
            to_tensor(crop.extract(image, size), detector.device), STILL_FACE * detector.config.threshold
        )[0]
        place = crop.to_crop(self.box.reshape(2, 2), size).ravel()
        return any(overlap(box, place)[0] > 0.4 for box in found.boxes.cpu().numpy())

    def _look(self, images: Sequence[np.ndarray]) -> list[Face]:
        """The face seen in the window, which moves on to it, in as many of these frames as one window serves; none
        where it cannot be the followed one in the first."""
        if self.fresh:
            if not self._regress(images[:1]):
                return []
            self.fresh = False
        return self._regress(images)

    def _regress(self, images: Sequence[np.ndarray]) -> list[Face]:
        crop, accepted = self.crop, []
        for face in self._faces(images, crop):
            following = self._following(face, crop)
            if following is None or (accepted and not self._is_near(following, crop)):
                break
            self.crop, self.box = following, face.box
            accepted.append(face)
        self.run = min(2 * max(len(accepted), 1), MOST_SHARED)
        return accepted

    def _faces(self, images: Sequence[np.ndarray], crop: Crop) -> list[Face]:
        crops = [crop] * len(images)
        return self.reconstruction.look(images, crops, False, self.augmented, fit_light=False)

    def _following(self, face: Face, crop: Crop) -> Crop | None:
        """The window round a face that was seen in another; None where it cannot be the followed one."""
        following = Crop.from_landmarks(
            face.landmarks, float(face.angles[2]), self.reconstruction.rec_net.config.crop_scale
        )
        moved = np.hypot(*np.subtract(following.centre, crop.centre)) / crop.side
        return following if moved <= 0.35 and 0.6 < following.side / crop.side < 1.6 else None
