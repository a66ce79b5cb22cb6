"""What pipelines share that move a photo: their reconstruction, the drive through a video, and the file written."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from diffusers.utils import BaseOutput
from PIL import Image

from lirec.errors import LirecError
from lirec.models.weights import find_folder, read_json
from lirec.pipelines.base import LirecPipeline
from lirec.pipelines.driving import Driving, DrivingSource, open_driving
from lirec.pipelines.reconstruction import Face, RecAugNetPipeline
from lirec.pipelines.survey import DrivingReport, Survey, report
from lirec.pipelines.tracking import Motion
from lirec.processing.image import ImageSource, load_image, shrink
from lirec.processing.video import VideoWriter, check_unread

RECONSTRUCTION = "rec-aug-net"
MAX_SIDE = 1920  # px of a photo that becomes a video
PACE_SIZE = 256  # px of the window with which a frame's time is tried
BATCH = 8  # frames that are drawn at once
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class DrivenFrame:
    """
    One frame of the result.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        time: seconds.
        held: the driver had no face here, so the last motion stays.
        cut: another scene of the driver begins here.
    """

    image: np.ndarray
    time: float
    held: bool
    cut: bool


@dataclass(frozen=True)
class Progress:
    """Frames done, frames in all (an estimate, None where unknown), and seconds left (None where unknown)."""

    done: int
    total: int | None
    seconds_left: float | None


@dataclass
class VideoReenactmentOutput(BaseOutput):
    """
    Args:
        path (`Path`): the file written.
        frame_count (`int`): frames in it.
        held (`list[float]`): seconds of the frames in which the driver had no face.
        cuts (`list[float]`): seconds at which another scene of the driver begins.
        reference_time (`float`): seconds of the frame that others are compared with; None where there is none.
        frame_rate (`Fraction`): frames a second, on average.
        seconds (`float`): that the work took.
        finished (`bool`): whether the whole driver was used; False where the callback stopped it.
    """

    path: Path
    frame_count: int
    held: list[float]
    cuts: list[float]
    reference_time: float | None
    frame_rate: Fraction
    seconds: float
    finished: bool


class ReenactmentPipeline(LirecPipeline):
    """
    A pipeline that works with a reconstruction pipeline, whose networks are not saved with it.

    Attributes:
        relative: whether a driver's frames are compared with a reference among them.
    """

    relative = True

    def _borrow(self, reconstruction: RecAugNetPipeline, reconstruction_id: str) -> None:
        self.register_to_config(reconstruction_id=reconstruction_id)
        self.reconstruction = reconstruction

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        reconstruction: RecAugNetPipeline | None = None,
        **options,
    ) -> ReenactmentPipeline:
        """
        Load the pipeline from a folder or from the Hub.

        Args:
            pretrained_model_name_or_path: a folder, or a repository's id on the Hub ("user/name").
            reconstruction: to use; loaded from where `reconstruction_id` says when None.
            options: as of `LirecPipeline.from_pretrained`; a revision is this repository's own.

        Raises:
            LirecError: as there, or the reconstruction is not found.
        """
        if reconstruction is None:
            where = {name: options[name] for name in ("cache_dir", "token", "local_files_only") if name in options}
            folder = find_folder(pretrained_model_name_or_path, revision=options.get("revision"), **where)
            index = read_json(folder / cls.config_name, f"{folder} holds no {cls.__name__}")
            name = index.get("reconstruction_id", RECONSTRUCTION)
            local = Path(pretrained_model_name_or_path).expanduser().is_dir()
            if local and "/" not in name:
                place = folder.resolve().parent / name
                if not place.is_dir():
                    raise LirecError(
                        f"There is no {name} beside {folder}, which it works with: put it there, or give the "
                        "reconstruction."
                    )
            else:
                place = name if "/" in name else f"{os.fspath(pretrained_model_name_or_path).split('/')[0]}/{name}"
            if "dtype" in options:
                where["dtype"] = options["dtype"]
            reconstruction = RecAugNetPipeline.from_pretrained(place, **where)
        return super().from_pretrained(pretrained_model_name_or_path, reconstruction=reconstruction, **options)

    def borrowed(self) -> dict:
        return {"reconstruction": self.reconstruction}

    def to(self, *args, **kwargs) -> ReenactmentPipeline:
        """Move the pipeline and its reconstruction, as `torch.nn.Module.to`."""
        super().to(*args, **kwargs)
        self.reconstruction.to(*args, **kwargs)
        return self

    @property
    def expression_names(self) -> tuple[str, ...]:
        """ARKit names of the 51 expression coefficients."""
        return self.reconstruction.expression_names

    def _choose(self, source: ImageSource, face: int, box: Sequence[float] | None, size: int | None) -> Face:
        """The face of a photo that is to move; arguments as of `DCNetPipeline.prepare`."""
        if size is not None and not 16 <= size <= 4096:
            raise LirecError(f"The size of the drawn window lies between 16 and 4096 px, not at {size}.")
        faces = self.reconstruction(source, boxes=None if box is None else [box]).faces
        if not faces:
            raise LirecError("No face was found in the photo: give another photo, or the face's box.")
        if not 0 <= face < len(faces):
            many = "one face" if len(faces) == 1 else f"{len(faces)} faces"
            raise LirecError(f"The photo has {many}, so face is a number from 0 to {len(faces) - 1}, not {face}.")
        return faces[face]

    def check(self, driving: DrivingSource) -> DrivingReport:
        """
        Look at a driver before it is used: faces, blur, cuts, the reference, and how long it will take.

        Of a long video its beginning is looked at, as far as the first face at least.

        Raises:
            LirecError: it cannot drive, or not be read.
        """
        driver = self._open(driving)
        try:
            return report(driver, self.reconstruction, self._pace, self.relative)
        finally:
            driver.close()

    def _open(self, driving: DrivingSource) -> Driving:
        """What drives, frame by frame; a `LirecError` where it cannot."""
        return open_driving(driving, self.expression_names)

    def _pace(self, image: np.ndarray, box: np.ndarray) -> float:
        """Seconds that a frame takes to be drawn here, tried on a picture with a face."""
        portrait = self.prepare(image, box=box, size=PACE_SIZE)
        portrait.draw([portrait.motion])
        began = clock.perf_counter()
        portrait.paste(portrait.draw([portrait.motion] * 2)[0])
        return (clock.perf_counter() - began) / 2

    def _framed(
        self, source: ImageSource, box: Sequence[float] | None, paste: bool
    ) -> tuple[np.ndarray, np.ndarray | Sequence[float] | None]:
        """The photo and the face's box in it; where whole photos become a video it is not larger than one can be."""
        photo = load_image(source)
        if not paste:
            return photo, box
        shrunk = shrink(photo, MAX_SIDE)
        if box is not None:
            given = self.reconstruction.given_boxes([box])
            box = given[0].box * (shrunk.shape[1] / photo.shape[1]) if given else box
        return shrunk, box

    @staticmethod
    def _write(
        drive: Drive, output: Path, callback: Callable[[Progress], bool | None] | None, began: float
    ) -> VideoReenactmentOutput:
        """Write what a drive gives to a file that `check_output` has passed; however it ends, what is done is kept.

        `began` is when the work did, by `time.perf_counter`.
        """
        picture = output.suffix.lower() in PICTURES
        if picture and not drive.driving.single:
            raise LirecError("Only a single driving picture gives a picture: end the output's name in .mp4.")
        held, cuts, count, finished, writer = [], [], 0, True, None
        total, first = drive.driving.frame_count, clock.perf_counter()
        try:
            for frame in drive.frames():
                if picture:
                    Image.fromarray(frame.image).save(output, quality=95)
                else:
                    if writer is None:
                        size = frame.image.shape[1], frame.image.shape[0]
                        writer = VideoWriter(output, size, drive.driving.frame_rate, drive.driving.path)
                    writer.write(frame.image, frame.time)
                count += 1
                held += [frame.time] * frame.held
                cuts += [frame.time] * frame.cut
                if callback is not None:
                    pace = (clock.perf_counter() - first) / count
                    left = None if total is None else max(total - count, 0) * pace
                    if callback(Progress(count, total and max(total, count), left)) is False:
                        finished = False
                        break
        finally:
            if writer is not None:
                writer.close()
            drive.driving.close()
        return VideoReenactmentOutput(
            path=output,
            frame_count=count,
            held=held,
            cuts=cuts,
            reference_time=drive.reference_time,
            frame_rate=drive.driving.frame_rate,
            seconds=clock.perf_counter() - began,
            finished=finished,
        )


def check_output(output: str | os.PathLike, driving: DrivingSource) -> Path:
    """The file to write.

    Raises:
        LirecError: its ending is unknown, its folder is not there, or it is what drives.
    """
    output = Path(output)
    picture = output.suffix.lower() in PICTURES
    if not picture and output.suffix.lower() != ".mp4":
        raise LirecError(f"Videos are written as MP4: end the name {output.name} in .mp4.")
    if not output.parent.is_dir():
        raise LirecError(f"There is no folder {output.parent}: make it first, or give another path.")
    given = driving if isinstance(driving, (list, tuple)) else [driving]
    check_unread(output, *(each for each in given if isinstance(each, (str, os.PathLike))))
    return output


class Drive:
    """
    One driver moving one portrait.

    Args:
        reconstruction: sees the driver.
        portrait: what moves, with the methods `draw(motions, light)` and `paste(patch)` and its `motion` in the photo.
        driving: the driver.
        seen: what is known of it beforehand.
        transfer: gives the portrait's motion for the driver's; `start` begins a scene.
        smoother: of the driver's motion, or None.
        light: as of `Portrait.draw`.
        paste: whether whole photos are wanted.
    """

    def __init__(
        self,
        reconstruction: RecAugNetPipeline,
        portrait,
        driving: Driving,
        seen: Survey,
        transfer,
        smoother,
        light: str,
        paste: bool,
    ):
        self.reconstruction, self.portrait, self.driving = reconstruction, portrait, driving
        self.survey, self.transfer, self.smoother = seen, transfer, smoother
        self.light, self.paste = light, paste

    @property
    def reference_time(self) -> float | None:
        look = self.survey.reference
        return look.time if look is not None and self.transfer.relative else None

    def frames(self) -> Iterator[DrivenFrame]:
        waiting: list[tuple[Motion, dict]] = []
        for motion, about in self.motions():
            waiting.append((motion, about))
            if len(waiting) == BATCH:
                yield from self._draw(waiting)
                waiting = []
        yield from self._draw(waiting)

    def motions(self) -> Iterator[tuple[Motion, dict]]:
        """The portrait's motion in each frame, and what else there is to say about the frame."""
        scene, last = 0, self.portrait.motion
        self._begin(scene)
        for time, sighting in self.driving.sightings(self.reconstruction):
            if sighting.cut:
                scene += 1
                self._begin(scene)
            motion = sighting.motion
            if motion is not None:
                if self.smoother is not None:
                    motion = self.smoother(motion, time)
                last = self.transfer(motion)
            yield last, {"time": time, "held": motion is None, "cut": sighting.cut}

    def _begin(self, scene: int) -> None:
        scenes = self.survey.scenes
        best = scenes[scene].best if scene < len(scenes) else None
        self.transfer.start(best.motion if best is not None else None)
        if self.smoother is not None:
            self.smoother.reset()

    def _draw(self, waiting: Sequence[tuple[Motion, dict]]) -> Iterator[DrivenFrame]:
        if not waiting:
            return
        patches = self.portrait.draw([motion for motion, _ in waiting], self.light)
        for patch, (_, about) in zip(patches, waiting, strict=True):
            yield DrivenFrame(image=self.portrait.paste(patch) if self.paste else patch, **about)
