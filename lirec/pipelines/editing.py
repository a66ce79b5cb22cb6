"""What a person asks of a face by name: expressions, gaze and a turn of the head."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from lirec.errors import LirecError
from lirec.pipelines.tracking import Motion
from lirec.processing.motion_capture import DOWNWARDS, SIDEWAYS, UPWARDS, eye_angles

TURNS = ("pitch", "yaw", "roll")
GAZES = ("gaze_x", "gaze_y")
MOST_TURN = 60.0  # degrees


def edited_motion(source: Motion, names: Sequence[str], values: Mapping[str, float]) -> Motion:
    """
    The motion of a face that is changed as asked.

    Args:
        source: how the head is in the photo.
        names: of the expression coefficients.
        values: expressions in [0, 1], which take the place of the photo's own; `yaw`, `pitch`, `roll`, degrees by which
            the head turns from where it is (the nose to the picture's right, down, and counter-clockwise);
            `gaze_x`, `gaze_y`, degrees to the picture's right and up from straight ahead, in place of the photo's
            gaze.

    Raises:
        LirecError: there is no such name, or a value is no number or out of range.
    """
    known = (*names, *TURNS, *GAZES)
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}" if near else "the names are those of `expression_names`"
            raise LirecError(f"A face has no {name}: {hint}.")
        least, most = (-MOST_TURN, MOST_TURN) if name in TURNS else (-90, 90) if name in GAZES else (0, 1)
        try:
            fits = least <= float(value) <= most
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise LirecError(f"{name} lies between {least:g} and {most:g}, not at {value}.")
    expression = source.expression.copy()
    index = {name: i for i, name in enumerate(names)}
    for name, value in values.items():
        if name in index:
            expression[index[name]] = value
    _look(expression, index, values)
    pitch, yaw, roll = (np.radians(float(values.get(name, 0))) for name in TURNS)
    # As `lirec.geometry` turns heads: about the picture's own axes, yaw first.
    turn = Rotation.from_euler("yxz", (yaw, pitch, roll)).as_matrix()
    flip = np.diag([1.0, -1.0, -1.0])
    rotation = flip @ turn @ flip @ source.rotation
    return replace(source, expression=expression, rotation=rotation.astype(np.float32))


def _look(expression: np.ndarray, index: Mapping[str, int], values: Mapping[str, float]) -> None:
    """Set the eight coefficients of the gaze."""
    if "gaze_x" in values:
        weight = float(values["gaze_x"]) / SIDEWAYS
        for name, share in (
            ("eyeLookOutLeft", weight),  # the person's left is the picture's right
            ("eyeLookInRight", weight),
            ("eyeLookInLeft", -weight),
            ("eyeLookOutRight", -weight),
        ):
            expression[index[name]] = np.clip(share, 0, 1)
    if "gaze_y" in values:
        up = float(values["gaze_y"])
        for side in ("Left", "Right"):
            expression[index[f"eyeLookUp{side}"]] = np.clip(up / UPWARDS, 0, 1)
            expression[index[f"eyeLookDown{side}"]] = np.clip(-up / DOWNWARDS, 0, 1)


def gaze_of(expression: np.ndarray, names: Sequence[str]) -> tuple[float, float]:
    """The gaze of (51,) coefficients as `gaze_x`, `gaze_y` in degrees, the mean of both eyes."""
    pitch, yaw = np.degrees(eye_angles(expression, names)).mean(0).tolist()
    return yaw, -pitch
