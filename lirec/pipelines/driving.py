"""What drives a photo: videos, pictures and motion capture behind one interface, and a first look at them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lirec.errors import LirecError
from lirec.geometry import euler_to_matrix
from lirec.pipelines.reconstruction import RecAugNetPipeline
from lirec.pipelines.tracking import MOST_SHARED, SEARCH_EVERY, FaceTracker, Motion, Sighting
from lirec.processing.image import ImageSource, load_image
from lirec.processing.motion_capture import LIVE_LINK_NAMES, MotionCapture, read_live_link_csv
from lirec.processing.video import DEFAULT_RATE, Frame, Video, open_video

DrivingSource = ImageSource | Sequence[ImageSource] | MotionCapture
"""The path of a video, a picture or a Live Link Face CSV; a picture; a list of pictures, or an array (T, H, W, 3);
motion capture, or an array (T, 51) of expressions."""


class Driving(ABC):
    """
    A driver, frame by frame, as often as wanted.

    Attributes:
        frame_rate: frames a second.
        frame_count: number of frames, an estimate, or None.
        path: the file whose sound goes along, or None.
        has_audio: whether it has sound.
        single: whether there is one frame only, which nothing can be compared with.
        kind: what it is, in a word or two.
    """

    frame_rate: Fraction = DEFAULT_RATE
    frame_count: int | None = None
    path: Path | None = None
    has_audio: bool = False
    video: Video | None = None
    kind: str = "Pictures"

    @property
    def single(self) -> bool:
        return self.frame_count == 1

    @abstractmethod
    def sightings(self, reconstruction: RecAugNetPipeline) -> Iterator[tuple[float, Sighting]]:
        """Time in seconds and what is seen, frame by frame."""

    def close(self) -> None:
        """Let go of the file."""
        if self.video is not None:
            self.video.close()


class Pictures(Driving):
    """A video, or pictures in memory."""

    def __init__(self, frames: Video | Sequence[ImageSource]):
        if isinstance(frames, Video):
            self.video = frames
            self.frame_rate, self.frame_count = frames.frame_rate, frames.frame_count
            self.has_audio = frames.has_audio
            self.path = frames.path if frames.has_audio else None
        else:
            self.pictures = frames
            self.frame_count = len(frames)

    def frames(self) -> Iterator[Frame]:
        if self.video is not None:
            yield from self.video
        else:
            for index, picture in enumerate(self.pictures):
                yield Frame(load_image(picture), float(index / self.frame_rate))

    def batches(self) -> Iterator[list[Frame]]:
        """As many frames at a time as a tracker looks at together."""
        frames = self.frames()
        while batch := list(islice(frames, MOST_SHARED)):
            yield batch

    def sightings(self, reconstruction):
        every = SEARCH_EVERY if self.video is not None else 1
        tracker = FaceTracker(reconstruction, search_every=every)
        for batch in self.batches():
            seen = tracker.follow_all([frame.image for frame in batch])
            yield from zip((frame.time for frame in batch), seen, strict=True)


class Captured(Driving):
    """Motion capture: expressions and head angles that need no tracking."""

    kind = "Motion capture"

    def __init__(self, capture: MotionCapture):
        self.capture = capture
        self.frame_rate = Fraction(capture.frame_rate).limit_denominator(1001)
        self.frame_count = len(capture.times)

    @property
    def single(self) -> bool:
        return False  # its zero is the face at rest, so that one frame is enough

    def motion(self, index: int) -> Motion:
        capture = self.capture
        angles = np.zeros(3, np.float32) if capture.angles is None else capture.angles[index]
        rotation = euler_to_matrix(torch.as_tensor(angles, dtype=torch.float32)).numpy()
        return Motion(capture.expression[index], rotation, np.zeros(2), 1.0)

    def sightings(self, reconstruction):
        for index, time in enumerate(self.capture.times):
            yield float(time), Sighting(self.motion(index), cut=False)


def open_driving(driving: DrivingSource, expression_names: Sequence[str]) -> Driving:
    """
    Raises:
        LirecError: it is none of `DrivingSource`, cannot be read, or holds no frame.
    """
    if isinstance(driving, Driving):
        return driving
    if isinstance(driving, (str, os.PathLike)):
        if Path(driving).suffix.lower() == ".csv":
            return Captured(read_live_link_csv(driving, expression_names))
        return Pictures(open_video(driving))
    if isinstance(driving, (np.ndarray, torch.Tensor)):
        if driving.ndim == 2 and driving.shape[1] in (len(expression_names), len(LIVE_LINK_NAMES)):
            values = driving.detach().cpu().numpy() if isinstance(driving, torch.Tensor) else driving
            driving = MotionCapture.from_arrays(values)
        elif driving.ndim == 4:
            driving = list(driving)
    if isinstance(driving, MotionCapture):
        return Captured(driving.ordered(expression_names))
    if isinstance(driving, (list, tuple)):
        if len(driving) == 0:
            raise LirecError("There is no driving picture in the list: give at least one.")
        return Pictures(driving)
    if isinstance(driving, (bytes, bytearray, memoryview, Image.Image, np.ndarray, torch.Tensor)):
        return Pictures([driving])
    raise LirecError(
        "What drives is a video, a picture, a list of pictures, a Live Link Face CSV, or an array of expressions, "
        f"not {type(driving).__name__}."
    )
