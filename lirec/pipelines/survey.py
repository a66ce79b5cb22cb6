"""A first look at a driver: its scenes, the frame that others are compared with, and a report in plain words."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lirec import wording
from lirec.errors import LirecError
from lirec.pipelines.driving import Captured, Driving, Pictures
from lirec.pipelines.motion import strangeness
from lirec.pipelines.reconstruction import RecAugNetPipeline
from lirec.pipelines.tracking import CutDetector, FaceTracker, Motion
from lirec.processing.crop import Crop

LOOKS_A_SECOND = 3
COUNTS = 20  # frames whose faces are counted for a report
LONGEST = 60.0  # seconds of a driver that are looked at, and more until there is a face
AT_LEAST = 10.0  # seconds that are looked at after a face that comes only then
SHORT = 2.0  # seconds in which every frame is looked at until there is a face
FACE_PIXELS = 96  # the sharpness of a face is measured at this size, whatever its own
BLURRED = 0.12  # sharpness of a face whose lips and lids are hard to follow
SMALL = 60.0  # px, a face box of which the same holds


@dataclass
class Look:
    """One frame looked at.

    Args:
        index, time: of the frame; seconds.
        motion: of the face, None where there is none.
        oddity: how poor a reference it is, metres, see `strangeness`.
        sharpness: see `sharpness`; 0 where there is no face.
        faces: how many there are; None where they were not counted.
    """

    index: int
    time: float
    motion: Motion | None
    oddity: float = np.inf
    sharpness: float = 0.0
    faces: int | None = None


@dataclass
class Scene:
    """Frames between two cuts: when they begin, and the best reference among those looked at, if any has a face."""

    start: float
    best: Look | None = None


@dataclass
class Survey:
    """
    Args:
        looks: the frames looked at.
        scenes: in order; those after the time looked at are missing.
        reference: the best reference of all, None where no face was found.
        reference_frame: its picture (H, W, 3) uint8.
        seconds: the time up to which it was looked at.
    """

    looks: list[Look] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=lambda: [Scene(0.0)])
    reference: Look | None = None
    reference_frame: np.ndarray | None = field(default=None, repr=False)
    seconds: float = 0.0

    @property
    def cuts(self) -> list[float]:
        return [scene.start for scene in self.scenes[1:]]


def survey(
    driving: Driving,
    reconstruction: RecAugNetPipeline,
    source: Motion | None = None,
    reference: int | None = None,
    count_faces: int = 0,
    longest: float = LONGEST,
) -> Survey:
    """
    Look at a few frames a second and choose the reference; in the first seconds at more, until there is a face.

    Args:
        source: of the photo that is to move; at rest when None.
        reference: index of the frame to take; the one that is least strange when None.
        count_faces: in about so many of the frames looked at, count all faces, which takes longer.
        longest: seconds to look at; a face, or a given reference, is looked for to the end.

    Raises:
        LirecError: the reference is not among the frames, or has no face.
    """
    result = Survey()
    if isinstance(driving, Captured):
        if reference is not None:
            _check_reference(reference, driving.frame_count)
            time = float(driving.capture.times[reference])
            result.reference = Look(reference, time, driving.motion(reference))
        return result
    model = reconstruction.morphable_model
    source = Motion.at_rest(len(model.expression_names)) if source is None else source
    stride = max(round(driving.frame_rate / LOOKS_A_SECOND), 1)
    expected = min(driving.frame_count or np.inf, longest * driving.frame_rate) / stride
    every = max(int(np.ceil(expected / max(count_faces, 1))), 1)
    is_cut, tracker = CutDetector(), FaceTracker(reconstruction, search_every=1)
    index = -1
    for index, frame in enumerate(driving.frames()):
        known = result.reference is not None
        if frame.time > longest and known:
            break
        result.seconds = frame.time
        cut = is_cut(frame.image)
        if cut:
            result.scenes.append(Scene(frame.time))
        between = index % stride and not cut and index != reference
        if between and (known or reference is not None or frame.time > SHORT):
            continue
        tracker.fresh = True  # the head has moved since the last frame looked at: look twice
        look = Look(index, frame.time, tracker.follow(frame.image).motion)
        if between and look.motion is None:
            continue
        if count_faces and len(result.looks) % every == 0:
            look.faces = len(reconstruction(frame.image, mirror_average=False).faces)
        if look.motion is not None:
            look.oddity = strangeness(look.motion, source, model)
            look.sharpness = sharpness(frame.image, look.motion.landmarks)
            best = result.scenes[-1].best
            if best is None or look.oddity < best.oddity:
                result.scenes[-1].best = look
        best = result.reference
        if best is None and look.motion is not None and frame.time > longest:
            longest = frame.time + AT_LEAST
        if index == reference or (reference is None and look.oddity < (best.oddity if best else np.inf)):
            result.reference, result.reference_frame = look, frame.image
        result.looks.append(look)
    if reference is not None:
        _check_reference(reference, index + 1)
        if result.reference.motion is None:
            raise LirecError(f"Frame {reference} of the driver shows no face: choose another reference, or none.")
    return result


def sharpness(image: np.ndarray, landmarks: np.ndarray) -> float:
    """How much fine detail a face shows: the mean change from pixel to pixel over the spread of its grey values."""
    crop = Crop.from_landmarks(landmarks, scale=1.0)
    grey = crop.extract(image, FACE_PIXELS).astype(np.float32).mean(2)
    detail = np.abs(4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]).mean()
    return float(detail / max(grey.std(), 1.0))


def _check_reference(reference: int, count: int) -> None:
    if not 0 <= reference < count:
        raise LirecError(f"The reference is one of the driver's frames, 0 to {count - 1}, not {reference}.")


@dataclass
class DrivingReport:
    """
    What a first look at a driver tells.

    Attributes:
        duration, frame_rate: seconds (None where unknown), frames a second.
        size: (width, height) px of its pictures, None without pictures.
        has_sound: whether its sound goes along.
        times: seconds of the frames looked at.
        faces: how many faces each of them has; where they were not counted, 0 or 1.
        missing, blurred, cuts: seconds of frames looked at without the face, with a blurred one, and of cuts.
        reference_time: seconds of the frame in which the face is at rest, with which others will be compared; None
            where none is.
        expected_seconds: that driving a photo will take here; None where unknown.
        usable: whether there is a face to follow.
        sentences: all that in plain words.
    """

    duration: float | None
    frame_rate: float
    size: tuple[int, int] | None
    has_sound: bool
    times: list[float]
    faces: list[int]
    missing: list[float]
    blurred: list[float]
    cuts: list[float]
    reference_time: float | None
    expected_seconds: float | None
    usable: bool
    sentences: list[str]


def report(
    driving: Driving,
    reconstruction: RecAugNetPipeline,
    pace: Callable[[np.ndarray, np.ndarray], float],
    relative: bool = True,
) -> DrivingReport:
    """
    Look at a driver and put it into words.

    Args:
        pace: seconds that a frame takes to be drawn, from a picture (H, W, 3) and the box of the face in it.
        relative: whether frames will be compared with a reference.
    """
    if not isinstance(driving, Pictures):
        return _report_of_motion(driving, reconstruction)
    began = clock.perf_counter()
    seen = survey(driving, reconstruction, count_faces=COUNTS)
    spent = clock.perf_counter() - began
    looks = seen.looks
    shown = [look for look in looks if look.motion is not None]
    missing = [look.time for look in looks if look.motion is None]
    blurred = [look.time for look in shown if look.sharpness < BLURRED]
    faces = [look.faces if look.faces is not None else int(look.motion is not None) for look in looks]
    count = driving.frame_count
    duration = None if count is None else float(count / driving.frame_rate)
    frame = seen.reference_frame
    expected = None
    if seen.reference is not None and count is not None:
        box = seen.reference.motion.landmarks
        box = np.concatenate((box.min(0), box.max(0)))
        began = clock.perf_counter()
        tracker = FaceTracker(reconstruction, box)
        for _ in range(4):
            tracker.follow(frame)
        tracking = (clock.perf_counter() - began) / 4
        expected = count * (pace(frame, box) + tracking) + spent
    size = None if frame is None else (frame.shape[1], frame.shape[0])
    result = DrivingReport(
        duration=duration,
        frame_rate=float(driving.frame_rate),
        size=size,
        has_sound=driving.has_audio,
        times=[look.time for look in looks],
        faces=faces,
        missing=missing,
        blurred=blurred,
        cuts=seen.cuts,
        reference_time=seen.reference.time if seen.reference and relative else None,
        expected_seconds=expected,
        usable=seen.reference is not None,
        sentences=[],
    )
    result.sentences = _sentences(result, shown, seen.seconds)
    if driving.video is not None and driving.video.truncated:
        result.sentences.append("Part of the file is damaged or missing: what can be read is used.")
    return result


def _report_of_motion(driving: Driving, reconstruction: RecAugNetPipeline) -> DrivingReport:
    duration = float(driving.frame_count / driving.frame_rate)
    headless = isinstance(driving, Captured) and driving.capture.angles is None
    head = ", without the turns of the head" if headless else ""
    sentences = [f"{driving.kind} of {wording.duration(duration)}, {driving.frame_count} frames{head}."]
    missing = [time for time, sighting in driving.sightings(reconstruction) if sighting.motion is None]
    if missing:
        sentences.append(f"There is no face at {wording.moments(missing)}, where the last motion will be held.")
    return DrivingReport(
        duration=duration,
        frame_rate=float(driving.frame_rate),
        size=None,
        has_sound=False,
        times=[],
        faces=[],
        missing=missing,
        blurred=[],
        cuts=[],
        reference_time=None,
        expected_seconds=None,
        usable=True,
        sentences=sentences,
    )


def _sentences(found: DrivingReport, shown: list[Look], looked: float) -> list[str]:
    width, height = found.size or (0, 0)
    sound = "with sound" if found.has_sound else "without sound"
    length = "" if found.duration is None else f"{wording.duration(found.duration)} at "
    result = [f"The video has {length}{found.frame_rate:.3g} frames a second, {width} x {height} px, {sound}."]
    if found.duration is not None and found.duration > looked + 2:
        result.append(f"Its first {wording.duration(looked)} were looked at.")
    if not found.usable:
        return [*result, "No face was found in it: use a video that shows one face clearly."]
    share = len(shown) / len(found.times)
    if share == 1:
        result.append("There is a face in every frame looked at.")
    else:
        result.append(
            f"There is a face in {round(100 * share)} % of the frames looked at; it is missing at "
            f"{wording.moments(found.missing)}, where the last motion will be held."
        )
    if max(found.faces) > 1:
        result.append(f"Up to {max(found.faces)} faces are seen at once: the largest is followed.")
    if len(found.blurred) > 0.1 * len(shown):
        result.append(f"The face is blurred at {wording.moments(found.blurred)}: lips and lids may be followed badly.")
    edges = [float(np.ptp(look.motion.landmarks, axis=0).max()) for look in shown]
    if np.median(edges) < SMALL:
        result.append(f"The face is only {np.median(edges):.0f} px high: a closer view would be followed better.")
    if found.cuts:
        many = "There is a cut" if len(found.cuts) == 1 else f"There are {len(found.cuts)} cuts,"
        result.append(f"{many} at {wording.moments(found.cuts)}: the face is found anew there.")
    if found.reference_time is not None:
        result.append(f"The face is most at rest at {found.reference_time:.1f} s: other frames are compared with it.")
    if found.expected_seconds is not None:
        result.append(f"Driving a photo with it will take about {wording.duration(found.expected_seconds)} here.")
    return result
