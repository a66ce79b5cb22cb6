"""A driver's landmarks move a photo: LI-Net's three steps, and the way back into the photo."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.utils import BaseOutput

from lirec.errors import LirecError
from lirec.geometry.landmarks import Frame, box_normalised
from lirec.models.landmark_lifter import LandmarkConditions, LandmarkLifter, Lifting
from lirec.models.li_net import ExpressionGenerator, FaceRotator, LandmarkTransformer, LINet, transformed
from lirec.pipelines.driving import Captured, Driving, DrivingSource, open_driving
from lirec.pipelines.motion import MOST_ZOOM, limited
from lirec.pipelines.portrait import head_window
from lirec.pipelines.reconstruction import Face, RecAugNetPipeline
from lirec.pipelines.reenactment import (
    RECONSTRUCTION,
    Drive,
    DrivenFrame,
    Progress,
    ReenactmentPipeline,
    VideoReenactmentOutput,
    check_output,
)
from lirec.pipelines.survey import Survey
from lirec.pipelines.tracking import Motion, Sighting
from lirec.processing.image import ImageSource, to_array, to_tensor
from lirec.processing.landmarks import draw_landmarks
from lirec.processing.paste import PasteBack
from lirec.processing.smoothing import OneEuroFilter

MAX_DRAWN = {"picture": 1024, "video": 512}  # px at which a face is blended, where its photo has as many
STEP_SIZE = 256  # px of the pictures of landmarks
MOST_SHIFT = 0.35  # of the box's side: how far a head nears and does not go, besides what its turning makes


@dataclass
class LINetOutput(BaseOutput):
    """
    A reenacted photo and the steps that led to it, all uint8.

    Args:
        image (`np.ndarray` of shape `(H, W, 3)`): the photo with the driver's pose and expression.
        crop (`np.ndarray` of shape `(S, S, 3)`): the window round the head alone.
        source (`np.ndarray` of shape `(S, S, 3)`): the same window of the photo as it was.
        rotated (`np.ndarray` of shape `(S, S, 3)`): what the rotation module makes of it.
        source_landmarks, driving_landmarks (`np.ndarray` of shape `(68, 2)`): px of their pictures, float32.
        landmarks (`np.ndarray` of shape `(68, 2)`): the driver's with the source's shape, in px of the photo.
    """

    image: np.ndarray
    crop: np.ndarray
    source: np.ndarray
    rotated: np.ndarray
    source_landmarks: np.ndarray
    driving_landmarks: np.ndarray
    landmarks: np.ndarray

    def steps(self) -> list[tuple[np.ndarray, str]]:
        """The pictures of the steps in order, each with its name."""
        return [
            (picture_of(self.source_landmarks), "1 source"),
            (picture_of(self.driving_landmarks), "2 driver"),
            (picture_of(self.landmarks), "3 transformed"),
            (self.rotated, "4 rotated"),
            (self.crop, "5 result"),
        ]


class LINetPipeline(ReenactmentPipeline):
    r"""
    Gives the face of a photo a driver's expression and pose, by landmarks ("LI-Net: Large-pose Identity-preserving
    face reenactment network").

    Args:
        landmark_transformer ([`LandmarkTransformer`]): T, gives the driver's landmarks the source's identity.
        landmark_lifter ([`LandmarkLifter`]): tells of which heads landmarks are.
        face_rotator ([`FaceRotator`]): R, turns the face.
        expression_generator ([`ExpressionGenerator`]): G, gives it the expression.
        reconstruction ([`RecAugNetPipeline`]): finds faces and their landmarks. It is not saved with this pipeline.
        reconstruction_id (`str`): where it is stored, see [`DCNetPipeline`].
    """

    relative = False

    def __init__(
        self,
        landmark_transformer: LandmarkTransformer,
        landmark_lifter: LandmarkLifter,
        face_rotator: FaceRotator,
        expression_generator: ExpressionGenerator,
        reconstruction: RecAugNetPipeline,
        reconstruction_id: str = RECONSTRUCTION,
    ):
        super().__init__()
        self.register_modules(
            landmark_transformer=landmark_transformer,
            landmark_lifter=landmark_lifter,
            face_rotator=face_rotator,
            expression_generator=expression_generator,
        )
        for network in (face_rotator, expression_generator):
            network.to(memory_format=torch.channels_last)  # as their maps are
        self._borrow(reconstruction, reconstruction_id)

    @property
    def components(self) -> dict:
        """What is stored with the pipeline."""
        return {
            "landmark_transformer": self.landmark_transformer,
            "landmark_lifter": self.landmark_lifter,
            "face_rotator": self.face_rotator,
            "expression_generator": self.expression_generator,
        }

    @torch.no_grad()
    def __call__(
        self,
        source: ImageSource | LandmarkPortrait,
        driving: ImageSource | np.ndarray,
        *,
        transform: bool = True,
        face: int = 0,
        box: Sequence[float] | None = None,
        size: int | None = None,
    ) -> LINetOutput:
        """
        Reenact a photo once.

        Args:
            source: the photo: path, bytes, PIL image, array or tensor; or what `prepare` made of it, so that more
                drivers are quick.
            driving: a picture of a face, the largest of which drives; or its landmarks (68, 2) in px.
            transform: False leaves out the landmark transformer and takes the driver's landmarks as they are, which
                shows what it is for.
            face: which of the photo's faces moves, 0 for the largest.
            box: x1, y1, x2, y2 px, the face's box, instead.
            size: px at which the window round the head is drawn; the photo's own, at most 1024, when None.

        Raises:
            LirecError: something given cannot be used, or no face was found.
        """
        driver = self._open(driving)
        try:
            if not driver.single:
                raise LirecError("A single picture drives a single picture: for a video use `animate`.")
            if isinstance(source, LandmarkPortrait):
                portrait = source
            else:
                portrait = self.prepare(source, face=face, box=box, size=size)
            _, sighting = next(iter(driver.sightings(self.reconstruction)))
        finally:
            driver.close()
        if sighting.motion is None:
            raise LirecError("No face was found in the driving picture: give one that shows a face clearly.")
        motion = self._transfer(portrait, transform)(sighting.motion)
        rotated, crop = portrait.steps([motion])
        return LINetOutput(
            image=portrait.paste(crop[0]),
            crop=crop[0],
            source=to_array(portrait.photo)[0],
            rotated=rotated[0],
            source_landmarks=portrait.motion.landmarks,
            driving_landmarks=sighting.motion.landmarks,
            landmarks=motion.landmarks,
        )

    def animate(
        self,
        source: ImageSource,
        driving: DrivingSource,
        output: str | os.PathLike = "out.mp4",
        *,
        callback: Callable[[Progress], bool | None] | None = None,
        **settings,
    ) -> VideoReenactmentOutput:
        """
        Write a video in which the source's face does what the driver does.

        Sound, frame rate and time stamps are the driver's. However the work ends, what is finished is kept.

        Args:
            source: the photo.
            driving: a video, pictures, or landmarks (T, 68, 2) in px.
            output: the file to write, ending in .mp4; for a single driving picture also .png or .jpg.
            callback: called after each frame; returning False stops the work.
            settings: those of `frames`.

        Raises:
            LirecError: something given cannot be used, or no face was found.
        """
        began, output = clock.perf_counter(), check_output(output, driving)
        return self._write(self._start(source, driving, **settings), output, callback, began)

    def frames(
        self,
        source: ImageSource,
        driving: DrivingSource,
        *,
        transform: bool = True,
        smoothing: bool = True,
        paste: bool = True,
        face: int = 0,
        box: Sequence[float] | None = None,
        size: int | None = None,
    ) -> Iterator[DrivenFrame]:
        """
        The frames of the result, one by one; memory does not grow with their number.

        Args:
            source, driving: as of `animate`.
            transform, face, box: as of `__call__`.
            smoothing: take the tremble out.
            paste: whole photos, at most 1920 px; else the square window round the head.
            size: px at which the window is drawn; the photo's own, at most 512, when None.

        Raises:
            LirecError: as `animate`.
        """
        drive = self._start(
            source, driving, transform=transform, smoothing=smoothing, paste=paste, face=face, box=box, size=size
        )
        return drive.frames()

    def prepare(
        self,
        source: ImageSource,
        *,
        face: int = 0,
        box: Sequence[float] | None = None,
        size: int | None = None,
        most: int = MAX_DRAWN["picture"],
    ) -> LandmarkPortrait:
        """
        Make a photo ready to be reenacted.

        Args:
            source, face, box: as of `__call__`.
            size: px at which its window is drawn; the photo's own, at most `most`, when None.

        Raises:
            LirecError: the photo cannot be read or has no such face.
        """
        chosen = self._choose(source, face, box, size)
        return LandmarkPortrait(chosen, self.networks(), size, most)

    def _open(self, driving: DrivingSource | np.ndarray) -> Driving:
        return open_landmarks(driving, self.expression_names)

    def networks(self) -> LINet:
        """R and G, ready to draw."""
        model, size = self.reconstruction.morphable_model, self.expression_generator.config.image_size
        conditions = LandmarkConditions(self.landmark_lifter, model, size)
        rotator = self.face_rotator if self.expression_generator.config.rotated else None
        return LINet(conditions, rotator, self.expression_generator)

    def _transfer(self, portrait: LandmarkPortrait, transform: bool) -> LandmarkTransfer:
        lifting = Lifting(self.landmark_lifter, self.reconstruction.morphable_model.of_landmarks())
        return LandmarkTransfer(portrait.motion, self.landmark_transformer, lifting, transform)

    def _start(
        self, source, driving, *, transform=True, smoothing=True, paste=True, face=0, box=None, size=None
    ) -> Drive:
        """Check everything and look at the source."""
        photo, box = self._framed(source, box, paste)
        driver = self._open(driving)
        portrait = self.prepare(photo, face=face, box=box, size=size, most=MAX_DRAWN["video"])
        transfer = self._transfer(portrait, transform)
        smoother = LandmarkSmoother() if smoothing and not driver.single else None
        return Drive(self.reconstruction, portrait, driver, Survey(), transfer, smoother, "source", paste)


class LandmarkPortrait:
    """
    A photo whose face LI-Net can draw anew.

    Args:
        face: the face, with its photo.
        net: R and G.
        size: px of the drawn window; its own in the photo, at most `most`, when None.
        most: see there.

    Attributes:
        face: as given.
        crop: the window round the head.
        motion: how the head is in the photo.
        photo: (1, 3, S, S) the window.
        paste: a drawn window to the whole photo.
    """

    def __init__(self, face: Face, net: LINet, size: int | None = None, most: int = MAX_DRAWN["picture"]):
        config = net.generator.config
        self.face, self.net = face, net
        self.crop = head_window(face.landmarks, config.crop_scale, config.crop_rise)
        self.motion = Motion.of(face)
        self.size = min(max(round(self.crop.side), config.image_size), most) if size is None else size
        self.photo = to_tensor(self.crop.extract(face.image, self.size), net.generator.device)
        with torch.no_grad():
            self.source = net.prepare(self.photo, self._inside([self.motion]))
            if net.rotator is not None:
                self.source.features = net.rotator.encode(self.source.maps)
        self.paste = PasteBack(face.image, self.crop)

    def draw(self, motions: Sequence[Motion], light: str = "source") -> np.ndarray:
        """The window (B, S, S, 3) uint8 with the landmarks of motions; the light is the photo's."""
        return self.steps(motions)[1]

    @torch.no_grad()
    def steps(self, motions: Sequence[Motion]) -> tuple[np.ndarray, np.ndarray]:
        """The rotated and the reenacted window, (B, S, S, 3) uint8 each, with the landmarks of motions."""
        rotated, result = self.net(self.source, self._inside(motions))
        image = self._finished(result.image)
        return image if rotated is None else self._finished(rotated), image

    def _finished(self, image: torch.Tensor) -> np.ndarray:
        if image.shape[3] != self.size:  # painted at the network's own size
            image = F.interpolate(image.float(), (self.size, self.size), mode="bicubic", align_corners=False)
        return to_array(image)

    def _inside(self, motions: Sequence[Motion]) -> torch.Tensor:
        """Landmarks (B, 68, 2) of motions, in widths of the window."""
        points = np.stack([self.crop.to_crop(motion.landmarks, 1) for motion in motions])
        return torch.as_tensor(points, dtype=torch.float32, device=self.photo.device)


class LandmarkTransfer:
    """
    Gives the source's head a driver's landmarks.

    Pose and expression are the driver's own; the camera, and so the perspective, is the photo's. The head turns about
    its neck; where the driver's head wanders besides, or comes near, since it was first seen, the source's does too, in
    units of its size and not without limit.

    Args:
        source: the motion of the photo.
        transformer: T.
        lifting: what guides T.
        transform: whether T gives the landmarks their shape, or they stay the driver's.
    """

    relative = False

    def __init__(
        self, source: Motion, transformer: LandmarkTransformer, lifting: Lifting, transform: bool = True
    ):
        self.source, self.transformer, self.lifting, self.transform = source, transformer, lifting, transform
        self.rest: torch.Tensor | None = None

    def start(self, place: Motion | None) -> None:
        """A scene begins, with the driver at a place; where it is seen first when None."""
        self.rest = None if place is None else self._points(place)

    @torch.no_grad()
    def __call__(self, driver: Motion) -> Motion:
        """The source's head, with landmarks in the source's picture, as the driver has it."""
        source, points = self._points(self.source), self._points(driver)
        if self.rest is None:
            self.rest = points
        first, second = torch.cat((source, self.rest)), torch.cat((points, points))
        output = transformed(self.transformer, self.lifting, first, second)
        shape = points
        if self.transform:
            shape = self.lifting.in_perspective(output.laid_on(second)[:1], source)
        shape = box_normalised(shape)
        turned = Frame.of(first).moved(output.placement)
        expected = Frame(turned.centre[1:], turned.side[1:])
        wander = expected.placement(Frame.of(points))[0].cpu().numpy()
        wander = np.append(limited(wander[:2], MOST_SHIFT), limited(wander[2], MOST_ZOOM))
        frame = Frame(turned.centre[:1], turned.side[:1]).moved(torch.as_tensor(wander[None]).to(points))
        return replace(self.source, landmarks=frame.leave(shape)[0].cpu().numpy(), light=driver.light)

    def _points(self, motion: Motion) -> torch.Tensor:
        return torch.as_tensor(motion.landmarks, dtype=torch.float32, device=self.transformer.device)[None]


class LandmarkSmoother:
    """Takes the tremble out of tracked landmarks and lets quick moves pass."""

    def __init__(self):
        self.filter = OneEuroFilter(min_cutoff=1.0, beta=10.0)
        self.unit: float | None = None

    def reset(self) -> None:
        """A new scene begins."""
        self.filter.reset()
        self.unit = None

    def __call__(self, motion: Motion, time: float) -> Motion:
        """The motion at `time` s, after those before it."""
        if self.unit is None:
            self.unit = float(np.ptp(motion.landmarks, axis=0).max())
        points = self.filter.filter(motion.landmarks / self.unit, time) * self.unit
        return replace(motion, landmarks=points.astype(np.float32))


class GivenLandmarks(Driving):
    """Landmarks (T, 68, 2) in px that need no tracking; where all 68 are one point there is no face."""

    kind = "Landmarks"

    def __init__(self, landmarks: np.ndarray):
        self.landmarks = np.asarray(landmarks, np.float32)
        self.frame_count = len(self.landmarks)

    def sightings(self, reconstruction):
        for index, points in enumerate(self.landmarks):
            motion = replace(Motion.at_rest(), landmarks=points) if np.ptp(points, axis=0).any() else None
            yield float(index / self.frame_rate), Sighting(motion, cut=False)


def open_landmarks(driving, expression_names: Sequence[str]) -> Driving:
    """
    What drives, with landmarks.

    Raises:
        LirecError: as `open_driving`; or it is motion capture, which has none, or landmarks that are no numbers.
    """
    if isinstance(driving, torch.Tensor) and driving.shape[-2:] == (68, 2):
        driving = driving.detach().cpu().numpy()
    if isinstance(driving, np.ndarray) and driving.shape[-2:] == (68, 2) and driving.ndim in (2, 3):
        points = driving.reshape(-1, 68, 2)
        if not len(points) or not np.isfinite(points).all():
            raise LirecError(
                "Driving landmarks are 68 points (x, y) in pixels for each frame: these hold none, or NaN."
            )
        if not np.ptp(points, axis=1).any():
            raise LirecError("The driving landmarks show no face: in every frame all 68 are one point.")
        return GivenLandmarks(points)
    driver = open_driving(driving, expression_names)
    if isinstance(driver, Captured):
        raise LirecError("Motion capture has no landmarks to drive with: give a picture or a video, or use DCNet.")
    return driver


def picture_of(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks (68, 2), drawn in the middle of a square: (256, 256, 3) uint8."""
    points = box_normalised(torch.as_tensor(landmarks, dtype=torch.float32)[None])[0]
    return draw_landmarks((0.8 * points + 0.5) * STEP_SIZE, STEP_SIZE)
