"""A driving video moves a photo: tracking, motion transfer, DCNet, and the way back into the photo."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.utils import BaseOutput

from lirec.errors import LirecError
from lirec.models.dc_net import DCNet
from lirec.pipelines.driving import Captured, DrivingSource
from lirec.pipelines.editing import edited_motion
from lirec.pipelines.motion import PARTS, MotionSmoother, MotionTransfer
from lirec.pipelines.portrait import Portrait
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
from lirec.pipelines.survey import survey
from lirec.pipelines.tracking import Motion
from lirec.processing.image import ImageSource

CROP_SIZE = 256  # px of the cropped output
MAX_DRAWN = 512  # px at which a face in a video is blended, where its photo has as many
MAX_EDITED = 1024  # the same of a single picture


@dataclass
class EditOutput(BaseOutput):
    """
    Args:
        image (`np.ndarray` of shape `(H, W, 3)`): the photo with the face changed, uint8.
        crop (`np.ndarray` of shape `(S, S, 3)`): the window round the head alone, uint8.
        face (`Face`): the changed face, mesh and all, in the changed photo.
    """

    image: np.ndarray
    crop: np.ndarray
    face: Face


class DCNetPipeline(ReenactmentPipeline):
    r"""
    Moves the face of a photo as a driver moves (JR2Net, "Face reenactment").

    Args:
        dc_net ([`DCNet`]): draws the head.
        reconstruction ([`RecAugNetPipeline`]): reads source and driver. Its networks are not saved with this pipeline.
        reconstruction_id (`str`): where it is stored: the name of a folder beside this pipeline's, or of a repository
            of the same owner, or a whole Hub id.
    """

    def __init__(self, dc_net: DCNet, reconstruction: RecAugNetPipeline, reconstruction_id: str = RECONSTRUCTION):
        super().__init__()
        self.register_modules(dc_net=dc_net)
        dc_net.to(memory_format=torch.channels_last)  # as its maps are
        self._borrow(reconstruction, reconstruction_id)

    # Loading and moving -----------------------------------------------------------------------------------------------

    @property
    def components(self) -> dict:
        """What is stored with the pipeline."""
        return {"dc_net": self.dc_net}

    # A video ----------------------------------------------------------------------------------------------------------

    def __call__(
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
            source: the photo: path, bytes, PIL image, array or tensor.
            driving: see `DrivingSource`.
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
        motion: str = "relative",
        strength: float = 1.0,
        move: Sequence[str] = PARTS,
        smoothing: bool = True,
        light: str = "source",
        paste: bool = True,
        face: int = 0,
        box: Sequence[float] | None = None,
        reference: int | None = None,
        size: int | None = None,
    ) -> Iterator[DrivenFrame]:
        """
        The frames of the result, one by one; memory does not grow with their number.

        Args:
            source, driving: as of `__call__`.
            motion: "relative" adds to the source what the driver changes; "absolute" takes the driver's expression and
                head pose as they are, as a single driving picture always does.
            strength: of relative motion; 1 is the driver's own.
            move: what moves: any of "pose", "expression" (brows, cheeks, nose), "eyes", "mouth".
            smoothing: take the tremble out.
            light: "source", or "driving" for light that falls from where the driver's does.
            paste: whole photos, at most 1920 px; else the square window round the head.
            face: which of the photo's faces moves, 0 for the largest.
            box: x1, y1, x2, y2 px, the face's box, instead.
            reference: index of the driver's frame in which its face is at rest; chosen when None.
            size: px at which the window is drawn. When None 256 without `paste`; with it the photo's own, at most 512.

        Raises:
            LirecError: as `__call__`.
        """
        drive = self._start(
            source, driving, motion=motion, strength=strength, move=move, smoothing=smoothing, light=light, paste=paste,
            face=face, box=box, reference=reference, size=size,
        )  # fmt: skip
        return drive.frames()

    def prepare(
        self,
        source: ImageSource,
        *,
        face: int = 0,
        box: Sequence[float] | None = None,
        size: int | None = None,
        most: int = MAX_DRAWN,
    ) -> Portrait:
        """
        Make a photo ready to be moved.

        Args:
            source, face, box: as of `frames`.
            size: px at which its window is drawn; the photo's own, at most `most`, when None.

        Raises:
            LirecError: the photo cannot be read or has no such face.
        """
        chosen = self._choose(source, face, box, size)
        return Portrait(chosen, self.dc_net, self.reconstruction.morphable_model, size, most)

    def _start(
        self, source, driving, *, motion="relative", strength=1.0, move=PARTS, smoothing=True, light="source",
        paste=True, face=0, box=None, reference=None, size=None,
    ) -> Drive:  # fmt: skip
        """Check everything, look at the source and over the driver."""
        if light not in ("source", "driving"):
            raise LirecError(f"The light is that of the source or of the driving, not {light!r}.")
        photo, box = self._framed(source, box, paste)
        size = CROP_SIZE if size is None and not paste else size
        names = self.expression_names
        MotionTransfer(Motion.at_rest(len(names)), None, names, motion, strength, move)  # before the slow part
        driver = self._open(driving)
        portrait = self.prepare(photo, face=face, box=box, size=size)
        seen = survey(driver, self.reconstruction, portrait.motion, reference)
        if seen.reference is None and not isinstance(driver, Captured):
            raise LirecError("No face was found in what drives: give a video that shows one face clearly.")
        if driver.single:
            motion = "absolute"
        neutral = seen.reference.motion if seen.reference else None
        transfer = MotionTransfer(portrait.motion, neutral, names, motion, strength, move)
        smoother = MotionSmoother() if smoothing and not driver.single else None
        return Drive(self.reconstruction, portrait, driver, seen, transfer, smoother, light, paste)

    # A picture --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def edit(
        self,
        source: ImageSource | Portrait,
        *,
        face: int = 0,
        box: Sequence[float] | None = None,
        size: int | None = None,
        **values: float,
    ) -> EditOutput:
        """
        Change the face of a photo, and its mesh with it.

        Args:
            source: the photo, or what `prepare` made of it, so that more edits of it are quick.
            face, box: as of `frames`.
            size: px at which the window is drawn; the photo's own, at most 1024, when None.
            values: expressions by name in [0, 1]; `yaw`, `pitch`, `roll` in degrees from the photo's pose; `gaze_x`,
                `gaze_y` in degrees from straight ahead. See `edited_motion`.

        Raises:
            LirecError: as `prepare`; or there is no such name, or a value is out of range.
        """
        edited_motion(Motion.at_rest(len(self.expression_names)), self.expression_names, values)  # before the slow part
        if isinstance(source, Portrait):
            portrait = source
        else:
            portrait = self.prepare(source, face=face, box=box, size=size, most=MAX_EDITED)
        motion = edited_motion(portrait.motion, self.expression_names, values)
        crop = portrait.draw([motion])[0]
        image = portrait.paste(crop)
        return EditOutput(image=image, crop=crop, face=portrait.moved(motion, image))
