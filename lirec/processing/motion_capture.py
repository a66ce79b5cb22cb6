"""Recorded facial motion without pictures: Live Link Face's CSV files, JSON, and arrays of coefficients."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from lirec.errors import LirecError, writing
from lirec.geometry import euler_to_matrix, matrix_to_euler

# What Live Link Face writes, in its order; the names of coefficients are ARKit's with a capital.
LIVE_LINK_NAMES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight", "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel",
    "mouthPucker", "mouthRight", "mouthLeft", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft",
    "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
LIVE_LINK_ANGLES = (
    "HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch",
    "RightEyeRoll",
)  # fmt: skip
HEAD_COLUMNS = ("headpitch", "headyaw", "headroll")
EYE_COLUMNS = ("lefteyepitch", "lefteyeyaw", "righteyepitch", "righteyeyaw")
MOST_WEIGHT = 2.0  # ARKit's weights pass 1 a little at times
# Degrees by which the morphable model turns an eye at weight 1.
SIDEWAYS, UPWARDS, DOWNWARDS = 25.0, 16.0, 20.0
TIMECODE = re.compile(r"(\d+):(\d+):(\d+)[:;](\d+(?:\.\d+)?)")
TIMECODE_RATES = (24, 25, 30, 48, 50, 60)
DEFAULT_TIMECODE_RATE = 60  # the app's own


@dataclass(frozen=True)
class MotionCapture:
    """A head's motion over T frames.

    Args:
        times: (T,) float64 seconds, growing, the first one 0.
        expression: (T, 51) float32 coefficients in [0, 1], in the order of the face model's `expression_names`.
        angles: (T, 3) float32 radians, pitch, yaw and roll by the convention of `lirec.geometry`; None: the
            motion has no head pose.
        frame_rate: frames a second, by the usual distance of two frames.
        names: ARKit names of the coefficients; needed to write them to a file.
        gaze: (T, 2, 2) float32 radians, of the left and the right eye pitch and yaw in the head, with the signs of
            `angles`; None: what `eye_angles` makes of the coefficients.
        translation: (T, 3) float32 metres, of the head's origin in the camera frame; None: not known.
    """

    times: np.ndarray
    expression: np.ndarray
    angles: np.ndarray | None
    frame_rate: float
    names: tuple[str, ...] = ()
    gaze: np.ndarray | None = None
    translation: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def from_arrays(
        cls, expression, angles=None, frame_rate: float = 30, names: Sequence[str] = ()
    ) -> MotionCapture:
        """Motion at a steady frame rate, from numpy arrays, tensors or lists; coefficients are cut to [0, 1].

        Raises:
            LirecError: shapes or lengths do not fit, nothing is there, or a value is no finite number.
        """
        expression = np.asarray(expression, np.float32)
        if expression.ndim != 2 or len(expression) == 0:
            raise LirecError(f"Coefficients are an array (frames, coefficients), not {expression.shape}.")
        if angles is not None:
            angles = np.asarray(angles, np.float32).copy()
            if angles.shape != (len(expression), 3):
                raise LirecError(f"Head angles are an array {(len(expression), 3)}, not {angles.shape}.")
        if not np.isfinite(expression).all() or (angles is not None and not np.isfinite(angles).all()):
            raise LirecError("The motion holds values that are not finite numbers: replace them first.")
        if not (math.isfinite(frame_rate) and frame_rate > 0):
            raise LirecError(f"A frame rate is a number above 0, not {frame_rate}.")
        times = np.arange(len(expression)) / frame_rate
        return cls(times, expression.clip(0, 1), angles, float(frame_rate), tuple(names))

    def ordered(self, names: Sequence[str]) -> MotionCapture:
        """
        The motion with the coefficients of these names, in their order; without names it must have as many already.

        Raises:
            LirecError: there are more or fewer coefficients, or one has no name or is missing.
        """
        count = self.expression.shape[1]
        if not self.names and count != len(names):
            raise LirecError(
                f"The motion has {count} coefficients a frame, not {len(names)}: give their names to "
                "`MotionCapture.from_arrays`."
            )
        if self.names and len(self.names) != count:
            raise LirecError(f"There are {count} coefficients but {len(self.names)} names: give one for each.")
        if not self.names or self.names == tuple(names):
            return self
        columns = {name.lower(): index for index, name in enumerate(self.names)}
        missing = [name for name in names if name.lower() not in columns]
        if missing:
            raise LirecError(f"The motion has no {missing[0]}: give all {len(names)} coefficients.")
        wanted = [columns[name.lower()] for name in names]
        return replace(self, expression=self.expression[:, wanted], names=tuple(names))

    def save(self, path: str | os.PathLike) -> Path:
        """
        Write the motion to a file, in the format of its ending.

        `.csv`: as Live Link Face does, for Unreal and whatever else reads that; `read_live_link_csv` is the way back.
        `.json`: frame rate, times, names and weights; angles, gaze and translation with the units and axes of this
        class, null where not known.

        Raises:
            LirecError: an unknown ending, a path that cannot be written, or coefficients without names or that the
                format does not have.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in (".csv", ".json"):
            raise LirecError(f"Motion is written as .csv or .json, not {ending or 'without an ending'}.")
        if len(self.names) != self.expression.shape[1]:
            raise LirecError(f"There are {self.expression.shape[1]} coefficients: give as many names to write them.")
        gaze = eye_angles(self.expression, self.names) if self.gaze is None else self.gaze
        with writing(path):
            if ending == ".csv":
                _write_live_link_csv(path, self, gaze)
            else:
                values = {
                    "frame_rate": self.frame_rate,
                    "times": _numbers(self.times),
                    "names": self.names,
                    "weights": _numbers(self.expression),
                    "angles": _numbers(self.angles),
                    "gaze": _numbers(gaze),
                    "translation": _numbers(self.translation),
                }
                path.write_text(json.dumps(values, separators=(",", ":")) + "\n", encoding="utf-8")
        return path


def eye_angles(expression: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """
    Where the eyes of the morphable model look.

    Args:
        expression: (..., K) coefficients.
        names: their K names; those that are missing count as 0.

    Returns:
        (..., 2, 2) float32 radians: of the left and the right eye pitch and yaw in the head, the signs as of
        head angles: to the picture's right and down are above 0.
    """
    columns = dict(zip(names, np.moveaxis(np.asarray(expression, np.float32), -1, 0), strict=True))
    nothing = np.zeros(np.shape(expression)[:-1], np.float32)
    eyes = []
    for side, (right, left) in {"Left": ("Out", "In"), "Right": ("In", "Out")}.items():
        up, down, right, left = (columns.get(f"eyeLook{way}{side}", nothing) for way in ("Up", "Down", right, left))
        eyes.append(np.stack((DOWNWARDS * down - UPWARDS * up, SIDEWAYS * (right - left)), -1))
    return np.radians(np.stack(eyes, -2))


def read_live_link_csv(path: str | os.PathLike, expression_names: Sequence[str]) -> MotionCapture:
    """Read a recording of Epic's Live Link Face app.

    Columns are found by name, in any case and order; others are ignored. Rows in which the app had lost the
    face, which are empty, are left out, as are rows whose time does not go on. Weights a little above 1 are cut.
    Left and right in the names are the person's own, as in the face model. Without head columns, or with nothing
    but zeros in them, as the app writes where head rotation is switched off, there are no angles; likewise without
    columns of both eyes there is no gaze.

    The app's angles are those of Unreal: radians, first roll, then pitch, then yaw, where yaw > 0 turns the nose
    to the person's own right (the picture's left), pitch > 0 takes it down, and roll > 0 turns the head clockwise
    in the picture. Values above π are taken for degrees.

    Args:
        path: the CSV file.
        expression_names: ARKit names of the coefficients, in the order wanted.

    Raises:
        LirecError: there is no file, it is another tool's CSV, columns are missing, no row can be used, or weights or
            angles are beyond any range.
    """
    path = Path(path)
    header, rows = _read_rows(path)
    columns = {name.strip().lower(): index for index, name in enumerate(header)}
    _check_columns(path, header, columns, ("Timecode", *expression_names))
    groups = [[columns[name.lower()] for name in expression_names]]
    groups += [
        [columns[name] for name in group] if all(name in columns for name in group) else []
        for group in (HEAD_COLUMNS, EYE_COLUMNS)
    ]
    wanted = [column for group in groups for column in group]

    timecodes, values = [], []
    for line, row in rows:
        if len(row) <= max(wanted) or not all(row[index].strip() for index in wanted):
            continue  # the face was lost
        match = TIMECODE.fullmatch(row[columns["timecode"]].strip())
        try:
            values.append([float(row[index]) for index in wanted])
        except ValueError:
            match = None
        if match is None or not np.isfinite(values[-1]).all():
            raise LirecError(f"{path} cannot be read at line {line}: a time code or a number is damaged.")
        timecodes.append([float(part) for part in match.groups()])
    if not values:
        raise LirecError(f"{path} holds no motion: the app saw no face in it.")

    times = _seconds(np.array(timecodes))
    goes_on = times > np.concatenate([[-1.0], np.maximum.accumulate(times)[:-1]])
    times, values = times[goes_on], np.array(values)[goes_on]
    frame_rate = 1 / float(np.median(np.diff(times))) if len(times) > 1 else float(DEFAULT_TIMECODE_RATE)
    weights, head, eyes = np.split(values, np.cumsum([len(group) for group in groups[:2]]), 1)
    if weights.max() > MOST_WEIGHT:
        raise LirecError(
            f"{path} has weights up to {weights.max():g}, and ARKit's lie between 0 and 1: divide percentages by 100."
        )
    head, eyes = _radians(path, head, eyes)
    return MotionCapture(
        times,
        weights.astype(np.float32).clip(0, 1),
        _to_angles(head) if head.any() else None,
        frame_rate,
        tuple(expression_names),
        (eyes.reshape(-1, 2, 2) * (1, -1)).astype(np.float32) if eyes.any() else None,
    )


def _check_columns(path: Path, header: list[str], columns: dict[str, int], names: Sequence[str]) -> None:
    missing = [name for name in names if name.lower() not in columns]
    if not missing:
        return
    if not header:
        raise LirecError(f"{path} is empty: give the CSV that Live Link Face wrote.")
    some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    if len(missing) > len(names) / 2:
        begins = ", ".join(name.strip() for name in header[:3])
        raise LirecError(
            f"{path} is the CSV of another tool, whose columns begin with {begins}: Live Link Face's have the names "
            f"{', '.join(missing[:3])} and so on."
        )
    raise LirecError(f"{path} is no Live Link Face recording: it has no column {some}.")


def _radians(path: Path, head: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles that may be degrees, of which some recorders write."""
    most = max((float(np.abs(angles).max()) for angles in (head, eyes) if angles.size), default=0.0)
    if most > 360:
        raise LirecError(f"{path} has angles up to {most:g}: Live Link Face writes radians.")
    return (np.radians(head), np.radians(eyes)) if most > math.pi else (head, eyes)


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The head of a CSV file, and its other rows with their line numbers."""
    if not path.is_file():
        raise LirecError(f"There is no recording at {path}: check the path.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            return header, [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LirecError(f"{path} is no CSV file: give the one that Live Link Face wrote.") from error


def _seconds(timecodes: np.ndarray) -> np.ndarray:
    """(T, 4) hours, minutes, seconds, frames -> (T,) seconds since the first.

    The file does not say how many frames its seconds have. It shows where a second ends: there the frames fall
    by that number, less one row's step.
    """
    whole, frames = timecodes[:, :3] @ (3600, 60, 1), timecodes[:, 3]
    whole = whole + 86_400 * np.cumsum(np.diff(whole, prepend=whole[0]) < -43_200)  # midnight
    seconds, steps = np.diff(whole), np.diff(frames)
    step = np.median(steps[seconds == 0]) if (seconds == 0).any() else 0.0
    ends = seconds == 1
    if ends.any():
        measured = np.median(step - steps[ends])
        rate = min(TIMECODE_RATES, key=lambda rate: abs(rate - measured))
    else:
        rate = DEFAULT_TIMECODE_RATE
    times = whole + frames / rate
    return times - times[0]


def _to_angles(head: np.ndarray) -> np.ndarray:
    """Unreal's pitch, yaw, roll (T, 3) -> ours, (T, 3) float32 radians."""
    # In the face frame, x to the picture's right, y up and z out of the face, Unreal's yaw and roll are left-handed.
    rotation = Rotation.from_euler("YXZ", head[:, (1, 0, 2)] * (-1, 1, -1)).as_matrix()
    camera = np.diag([1.0, -1.0, -1.0]) @ rotation
    return matrix_to_euler(torch.from_numpy(camera)).numpy().astype(np.float32)


def _from_angles(angles: np.ndarray) -> np.ndarray:
    """Ours (T, 3) -> Unreal's yaw, pitch, roll (T, 3)."""
    camera = euler_to_matrix(torch.from_numpy(np.asarray(angles, np.float64))).numpy()
    return Rotation.from_matrix(np.diag([1.0, -1.0, -1.0]) @ camera).as_euler("YXZ") * (-1, 1, -1)


def _write_live_link_csv(path: Path, motion: MotionCapture, gaze: np.ndarray) -> None:
    unknown = [name for name in motion.names if name not in LIVE_LINK_NAMES]
    if unknown:
        raise LirecError(f"A Live Link Face recording has no {unknown[0]}: write .json instead.")
    values = np.zeros((len(motion), len(LIVE_LINK_NAMES) + len(LIVE_LINK_ANGLES)))
    values[:, [LIVE_LINK_NAMES.index(name) for name in motion.names]] = motion.expression
    if motion.angles is not None:
        values[:, -9:-6] = _from_angles(motion.angles)
    values[:, [-5, -6, -2, -3]] = (gaze * (1, -1)).reshape(-1, 4)
    columns = [name[0].upper() + name[1:] for name in LIVE_LINK_NAMES]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Timecode", "BlendshapeCount", *columns, *LIVE_LINK_ANGLES])
        for time, row in zip(motion.times, values, strict=True):
            writer.writerow([_timecode(time), values.shape[1], *(f"{value:.10f}" for value in row)])


def _timecode(seconds: float) -> str:
    whole, part = divmod(round(seconds * 1000 * DEFAULT_TIMECODE_RATE), 1000 * DEFAULT_TIMECODE_RATE)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}:{second:02}:{part / 1000:06.3f}"


def _numbers(values: np.ndarray | None) -> list | None:
    return None if values is None else np.round(np.asarray(values, np.float64), 5).tolist()
