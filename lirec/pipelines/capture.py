"""Motion capture: a video becomes curves of expressions, head pose and gaze, and the person's own animated mesh."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from lirec import wording
from lirec.errors import LirecError
from lirec.geometry import euler_to_matrix, matrix_to_euler, project
from lirec.pipelines.driving import DrivingSource, Pictures, open_driving
from lirec.pipelines.motion import MotionSmoother, strangeness
from lirec.pipelines.reconstruction import Face, RecAugNetPipeline
from lirec.pipelines.reenactment import Progress
from lirec.pipelines.survey import sharpness
from lirec.pipelines.tracking import FaceTracker, Motion, Sighting, place
from lirec.processing.mesh_export import MeshAnimation, MeshData, export_mesh
from lirec.processing.motion_capture import MotionCapture, eye_angles
from lirec.processing.video import Frame

BRIDGED = 0.5  # seconds: shorter gaps are bridged, in longer ones the last motion is held
PORTRAITS_A_SECOND = 5  # frames that shape and colours of the person are taken from
COUNTED_EVERY = 2.0  # seconds: how often all faces are counted
AT_REST = 0.01  # metres of strangeness at which a frame is half as good for the texture
FLIP = np.diag([1.0, -1.0, -1.0])  # from the camera's axes to those of the mesh


@dataclass
class FaceCapture:
    """
    What a face does in a video of T frames, and whose face it is.

    Attributes:
        motion: times, expressions, head angles, gaze and place, frame by frame; see `MotionCapture`.
        face: the person: shape and albedo are means over the scene that shows them best, all else is of the frame that
            gives the texture.
        gaps: (begin, end) seconds in which the face was not seen. Short ones are bridged; in others the last motion
            is held.
        cuts: seconds at which another scene begins, in which the largest face is followed, whoever it is.
        face_count: most faces that were seen at once.
        finished: whether the whole video was used; False where the callback stopped it.
        seconds: that the work took.
    """

    motion: MotionCapture
    face: Face
    gaps: list[tuple[float, float]]
    cuts: list[float]
    face_count: int
    finished: bool
    seconds: float

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.motion.frame_rate

    @property
    def times(self) -> np.ndarray:
        """(T,) seconds."""
        return self.motion.times

    @property
    def expression(self) -> np.ndarray:
        """(T, 51) ARKit weights in [0, 1]."""
        return self.motion.expression

    @property
    def angles(self) -> np.ndarray:
        """(T, 3) radians, pitch, yaw and roll of the head."""
        return self.motion.angles

    @property
    def gaze(self) -> np.ndarray:
        """(T, 2, 2) radians, of the left and the right eye pitch and yaw in the head."""
        return self.motion.gaze

    @property
    def identity(self) -> np.ndarray:
        """(80,) shape coefficients of the person."""
        return self.face.identity

    def mesh(self, texture_size: int = 1024, textured: bool = True) -> MeshData:
        """The person's mesh at rest, with the texture of the best frame or as clay, and the video's motion."""
        still = self.face.mesh(texture_size, textured)
        turns = FLIP @ euler_to_matrix(torch.from_numpy(self.motion.angles)).numpy()
        places = (self.motion.translation - np.median(self.motion.translation, 0)) @ FLIP
        animation = MeshAnimation(self.motion.times, self.motion.expression, turns, places)
        return replace(still, morph_weights=None, animation=animation)

    def save(self, path: str | os.PathLike, texture_size: int = 1024) -> Path:
        """
        Write the capture to a file, in the format of its ending.

        `.glb`: the person's textured mesh with 51 named morph targets, animated. `.csv`: as Live Link Face writes it.
        `.json`: the curves as numbers.

        Raises:
            LirecError: an unknown ending, or a folder that is not there.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in (".glb", ".csv", ".json"):
            raise LirecError(f"A capture is written as .glb, .csv or .json, not {ending or 'without an ending'}.")
        if ending != ".glb":
            return self.motion.save(path)
        if not path.parent.is_dir():  # before the texture, which takes a while
            raise LirecError(f"There is no folder {path.parent}: make it first, or give another path.")
        return export_mesh(path, self.mesh(texture_size))

    def sentences(self) -> list[str]:
        """What came of it, in plain words."""
        length = self.times[-1] + 1 / self.frame_rate
        result = [f"{len(self)} frames, {length:.1f} s, at {self.frame_rate:.3g} a second."]
        if not self.finished:
            result.append("It was stopped there: what was finished is kept.")
        if self.face_count > 1:
            result.append(f"Up to {self.face_count} faces are seen at once: one is followed.")
        if self.gaps:
            result.append(
                f"The face is not seen at {wording.spans(self.gaps)}: up to {BRIDGED} s are bridged, else the last "
                "motion is held."
            )
        if self.cuts:
            result.append(f"The video cuts to another scene at {wording.moments(self.cuts)}.")
        return result


def capture(
    reconstruction: RecAugNetPipeline,
    video: DrivingSource,
    *,
    box: Sequence[float] | None = None,
    smoothing: bool = True,
    augmented: bool = True,
    callback: Callable[[Progress], bool | None] | None = None,
) -> FaceCapture:
    """See `RecAugNetPipeline.capture`."""
    began = clock.perf_counter()
    driving = open_driving(video, reconstruction.expression_names)
    if not isinstance(driving, Pictures):
        raise LirecError("Motion is captured from a video or from pictures, and this is motion already: give a video.")
    given = reconstruction.given_boxes([] if box is None else [box])
    tracker = FaceTracker(reconstruction, given[0].box if given else None, augmented)
    track, people = _Track(), _People(reconstruction)
    total, finished = driving.frame_count, True
    try:
        for frames in driving.batches():
            for frame, sighting in zip(frames, tracker.follow_all([frame.image for frame in frames]), strict=True):
                track.add(frame.time, sighting)
                people.look(frame, sighting)
            if callback is not None:
                done = len(track.times)
                left = None if total is None else max(total - done, 0) * (clock.perf_counter() - began) / done
                if callback(Progress(done, total and max(total, done), left)) is False:
                    finished = False
                    break
    finally:
        driving.close()
    if not any(track.motions):
        raise LirecError("No face was found in the video: give one that shows one face clearly.")
    person = people.result()
    height, width = person.best.image.shape[:2]
    motion, gaps = track.result(
        float(driving.frame_rate), reconstruction.expression_names, person.focal, (width / 2, height / 2), smoothing
    )
    return FaceCapture(
        motion=motion,
        face=person.face(),
        gaps=gaps,
        cuts=[time for time, cut in zip(track.times, track.cuts, strict=True) if cut],
        face_count=people.face_count,
        finished=finished,
        seconds=clock.perf_counter() - began,
    )


class _Track:
    """What a tracker saw, frame by frame, and the curves that are made of it."""

    def __init__(self):
        self.times: list[float] = []
        self.cuts: list[bool] = []
        self.motions: list[Motion | None] = []

    def add(self, time: float, sighting: Sighting) -> None:
        self.times.append(time)
        self.cuts.append(sighting.cut)
        # not its landmarks and light, of which a long video has no need
        self.motions.append(sighting.motion and replace(sighting.motion, landmarks=None, light=None))

    def result(
        self, frame_rate: float, names: tuple[str, ...], focal: float, centre: tuple[float, float], smoothing: bool
    ) -> tuple[MotionCapture, list[tuple[float, float]]]:
        """
        Args:
            focal, centre: px, of the one camera that the video is taken with.

        Returns:
            the motion, and the gaps in it.
        """
        times, scenes = np.array(self.times), np.cumsum(self.cuts)
        seen = np.array([i for i, motion in enumerate(self.motions) if motion is not None])
        motions = [self.motions[i] for i in seen]
        if smoothing:
            motions = self._smooth(motions, times[seen], scenes[seen])
        before, after, share = _surrounding(times, seen, scenes)
        weight = share[:, None]

        expression, position, scale = (
            np.stack([np.atleast_1d(getattr(motion, name)) for motion in motions])
            for name in ("expression", "position", "scale")
        )
        expression, position, scale = (
            (1 - weight) * values[before] + weight * values[after] for values in (expression, position, scale)
        )
        rotations = Rotation.from_matrix(np.stack([motion.rotation for motion in motions]))
        turn = (rotations[before].inv() * rotations[after]).as_rotvec()
        rotation = rotations[before] * Rotation.from_rotvec(weight * turn)
        translation = place(position, scale, focal, centre)
        expression = expression.astype(np.float32)
        motion = MotionCapture(
            times=times - times[0],
            expression=expression,
            angles=matrix_to_euler(torch.from_numpy(rotation.as_matrix())).numpy().astype(np.float32),
            frame_rate=frame_rate,
            names=names,
            gaze=eye_angles(expression, names),
            translation=translation.astype(np.float32),
        )
        return motion, _gaps(motion.times, seen, 1 / frame_rate)

    @staticmethod
    def _smooth(motions: list[Motion], times: np.ndarray, scenes: np.ndarray) -> list[Motion]:
        smoother, result, last = MotionSmoother(), [], 0
        for i, motion in enumerate(motions):
            if scenes[i] != scenes[last] or times[i] - times[last] > BRIDGED:
                smoother.reset()
            result.append(smoother(motion, float(times[i])))
            last = i
        return result


def _surrounding(times: np.ndarray, seen: np.ndarray, scenes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Between which of the seen frames each of T frames lies, numbers (T,), and the later one's share in it (T,)."""
    index = np.arange(len(times))
    before = (np.searchsorted(seen, index, "right") - 1).clip(min=0)
    after = np.searchsorted(seen, index, "left").clip(max=len(seen) - 1)
    begin, end = seen[before], seen[after]
    length = times[end] - times[begin]
    bridged = (end > begin) & (scenes[begin] == scenes[end]) & (length < BRIDGED)
    return before, after, np.where(bridged, (times - times[begin]) / np.where(bridged, length, 1), 0.0)


def _gaps(times: np.ndarray, seen: np.ndarray, step: float) -> list[tuple[float, float]]:
    """(begin, end) seconds of frames that are not among those seen."""
    missing = np.setdiff1d(np.arange(len(times)), seen)
    runs = np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1) if len(missing) else []
    return [
        (float(times[run[0]]), float(times[run[-1] + 1] if run[-1] + 1 < len(times) else times[-1] + step))
        for run in runs
    ]


class _People:
    """Who is seen: in each scene it may be another, so the person is taken from the scene that shows them best."""

    def __init__(self, reconstruction: RecAugNetPipeline):
        self.reconstruction = reconstruction
        self.now, self.most_seen = _Person(reconstruction), None
        self.next_look = self.next_count = -np.inf
        self.face_count = 1

    def look(self, frame: Frame, sighting: Sighting) -> None:
        """Take from a frame what it shows, if it is its turn."""
        if sighting.cut:
            self.most_seen, self.now = self.result(), _Person(self.reconstruction)
            self.next_look = frame.time
        if sighting.face is None:
            return
        if frame.time >= self.next_count:
            self.next_count = frame.time + COUNTED_EVERY
            found = self.reconstruction(frame.image, mirror_average=False, augmented=False).faces
            self.face_count = max(self.face_count, len(found))
        if frame.time >= self.next_look:
            self.next_look = frame.time + 1 / PORTRAITS_A_SECOND
            self.now.add(sighting.face, sighting.motion)

    def result(self) -> _Person:
        """Of all so far."""
        earlier = self.most_seen
        return earlier if earlier is not None and earlier.weight >= self.now.weight else self.now


class _Person:
    """Whose face it is: means of shape and albedo over some frames, and the one that gives the texture."""

    def __init__(self, reconstruction: RecAugNetPipeline):
        self.model = reconstruction.morphable_model
        self.at_rest = Motion.at_rest(len(reconstruction.expression_names))
        self.best: Face | None = None
        self.quality, self.weight = -1.0, 0.0
        self.sums: dict[str, np.ndarray] = {}

    def add(self, face: Face, motion: Motion) -> None:
        """One more frame."""
        # seen from the front, and sharp
        weight = max(-float(face.rotation[2, 2]), 0.05) ** 2 * max(sharpness(face.image, face.landmarks), 1e-3)
        self.weight += weight
        values = {"identity": face.identity, "albedo": face.albedo, "focal": np.log(face.intrinsics[0, 0])}
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + weight * value
        quality = weight / (1 + strangeness(motion, self.at_rest, self.model) / AT_REST)
        if quality > self.quality:
            self.best, self.quality = face, quality

    @property
    def focal(self) -> float:
        """px, of the video's camera."""
        return float(np.exp(self.sums["focal"] / self.weight))

    def face(self) -> Face:
        """The best frame's face with the mean shape and colours, where its picture has it."""
        best, model = self.best, self.best.model
        identity, albedo = (
            torch.as_tensor(self.sums[name] / self.weight, dtype=torch.float32) for name in ("identity", "albedo")
        )
        vertices = model(identity[None], torch.as_tensor(best.expression)[None])
        rotation, intrinsics = (torch.as_tensor(values)[None] for values in (best.rotation, best.intrinsics))
        translation = _placed(model, vertices[0], best)
        projected = project(vertices, rotation, torch.from_numpy(translation)[None], intrinsics)
        landmarks = model.landmarks(projected, torch.as_tensor(best.angles)[None])[0].numpy()
        return replace(
            best,
            vertices=vertices[0].numpy(),
            identity=identity.numpy(),
            albedo=albedo.numpy(),
            translation=translation,
            landmarks=landmarks,
            box=np.concatenate((landmarks.min(0), landmarks.max(0))),
        )


def _placed(model, vertices: torch.Tensor, face: Face) -> np.ndarray:
    """(3,) the translation that brings the landmarks of other vertices (V, 3) nearest to a face's own."""
    points = vertices[model.landmark_vertices[17:]].numpy() @ face.rotation.T  # the outline slides
    rays = (face.landmarks[17:] - face.intrinsics[:2, 2]) / face.intrinsics[[0, 1], [0, 1]]
    # x + t_x = ray (z + t_z): linear in the translation
    rows = np.concatenate([np.insert(np.eye(2), 2, -ray, axis=1) for ray in rays])
    target = (rays * points[:, 2:] - points[:, :2]).ravel()
    return np.linalg.lstsq(rows, target, rcond=None)[0].astype(np.float32)
