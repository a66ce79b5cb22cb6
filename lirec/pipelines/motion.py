"""A driver's motion made calm and given to another head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from lirec.errors import LirecError
from lirec.models.morphable_model import MorphableModel
from lirec.pipelines.tracking import Motion
from lirec.processing.smoothing import OneEuroFilter, RotationFilter

PARTS = ("pose", "expression", "eyes", "mouth")
"""What can move: the head, brows and cheeks and nose, lids and gaze, and mouth and jaw."""

MOST_SHIFT = 0.05  # metres that a head nears and does not pass: its neck stays where it is
MOST_ZOOM = 0.25  # of the logarithm of its size
TURNED = 0.010  # metres of landmarks that count as much as a radian away from the camera
LEANING = 0.4  # share of the source's own expression in what a reference should look like
PARTED = 0.1  # how much further than the reference's the source's lips may be open at rest
OPENING = (
    "jawOpen", "mouthFunnel", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
)  # fmt: skip


def part_of(expression: str) -> str:
    """The part of the face that an expression moves."""
    if expression.startswith("eye"):
        return "eyes"
    return "mouth" if expression.startswith(("mouth", "jaw", "cheekPuff")) else "expression"


class MotionSmoother:
    """Takes the tremble out of a tracked motion and lets quick moves pass (One-Euro filters)."""

    def __init__(self):
        self.expression = OneEuroFilter(min_cutoff=1.0, beta=6.0, d_cutoff=2.0)
        self.place = OneEuroFilter(min_cutoff=0.6, beta=120.0, d_cutoff=2.0)
        self.rotation = RotationFilter(min_cutoff=0.6, beta=16.0, d_cutoff=2.0)
        self.unit: float | None = None

    def reset(self) -> None:
        """A new scene begins."""
        for part in (self.expression, self.place, self.rotation):
            part.reset()
        self.unit = None

    def __call__(self, motion: Motion, time: float) -> Motion:
        """The motion at `time` s, after those before it."""
        if self.unit is None:
            self.unit = motion.scale
        place = np.append(motion.position / self.unit, np.log(motion.scale / self.unit))  # metres, and no unit
        place = self.place.filter(place, time)
        return replace(
            motion,
            expression=self.expression.filter(motion.expression, time),
            rotation=self.rotation.filter(motion.rotation, time),
            position=place[:2] * self.unit,
            scale=float(self.unit * np.exp(place[2])),
        )


def strangeness(motion: Motion, source: Motion, model: MorphableModel) -> float:
    """
    How far a frame is from a good reference, in metres: how much its expression moves the landmarks away from rest,
    or rather from a fainter copy of the source's own expression with closed lips, and how much the head is turned from
    the camera.
    """
    closed = np.array([name not in OPENING for name in model.expression_names])
    moved = motion.expression - LEANING * closed * source.expression
    basis = model.expression_basis[:, model.landmark_vertices].float().cpu().numpy()
    distance = np.sqrt(np.square(np.tensordot(moved, basis, 1)).sum(1).mean())
    turned = np.arccos(np.clip(-motion.rotation[2, 2], -1, 1))
    return float(distance + TURNED * turned)


class MotionTransfer:
    """
    Moves the source's head as a driver moves.

    Relative: what the driver changed since a reference is added to the source,

        expression = clip(source + strength (driver - reference)),  rotation = (driver referenceᵀ)^strength source,

    in which whatever the regressor gets wrong about both driver frames cancels. A mouth that is open in the source and
    closed in the reference is closed first, else it could never close. Absolute: expression and rotation are
    the driver's. Either way the head's place and size change as the driver's do since the place that `start` was given,
    in units of the head's size, and not without limit, since the neck stays.

    Args:
        source: the motion of the source photo.
        reference: the driver at rest; a face at rest that looks into the camera when None.
        expression_names: of the coefficients.
        motion: "relative" or "absolute".
        strength: 0 for none, 1 for the driver's own; of relative motion.
        move: which of `PARTS` move; the others stay as in the source.

    Raises:
        LirecError: there is no such motion or part, or the strength is negative or no number.
    """

    def __init__(
        self,
        source: Motion,
        reference: Motion | None,
        expression_names: Sequence[str],
        motion: str = "relative",
        strength: float = 1.0,
        move: Sequence[str] = PARTS,
    ):
        if motion not in ("relative", "absolute"):
            raise LirecError(f"Motion is relative or absolute, not {motion!r}.")
        move = (move,) if isinstance(move, str) else tuple(move)
        if not set(move) <= set(PARTS):
            raise LirecError(f"What moves is a choice of {', '.join(PARTS)}, not {', '.join(map(str, move))}.")
        if not 0 <= strength < np.inf:
            raise LirecError(f"The strength is 0 or more, not {strength}.")
        self.source = source
        self.reference = Motion.at_rest(len(expression_names)) if reference is None else reference
        self.relative = motion == "relative"
        self.strength = float(strength) if self.relative else 1.0
        self.pose = "pose" in move
        self.moving = np.array([part_of(name) in move for name in expression_names])
        self.place: Motion | None = None
        opening = np.array([name in OPENING for name in expression_names])
        resting = np.minimum(source.expression, self.reference.expression + PARTED)
        resting = source.expression + min(self.strength, 1.0) * (resting - source.expression)
        self.resting = np.where(opening, resting, source.expression)

    def start(self, place: Motion | None) -> None:
        """A scene begins in which the driver rests at a place; where it is seen first when None."""
        self.place = place

    def __call__(self, driver: Motion) -> Motion:
        """The source's head, in the source's picture, as the driver has it."""
        source, reference, strength = self.source, self.reference, self.strength
        if self.place is None:
            self.place = driver
        if self.relative:
            expression = self.resting + strength * (driver.expression - reference.expression)
            turn = Rotation.from_matrix(driver.rotation @ reference.rotation.T).as_rotvec()
            rotation = Rotation.from_rotvec(strength * turn).as_matrix() @ source.rotation
        else:
            expression, rotation = driver.expression, driver.rotation
        expression = np.where(self.moving, np.clip(expression, 0, 1), source.expression).astype(np.float32)
        if not self.pose:
            return replace(source, expression=expression, light=driver.light)
        shift = limited(strength * (driver.position - self.place.position) / self.place.scale, MOST_SHIFT)
        zoom = np.exp(limited(strength * np.log(driver.scale / self.place.scale), MOST_ZOOM))
        return Motion(
            expression=expression,
            rotation=rotation.astype(np.float32),
            position=source.position + shift * source.scale,
            scale=float(source.scale * zoom),
            light=driver.light,
        )


def limited(value, most: float):
    """The value where it is small, `most` where its length is large, smoothly between."""
    return value / np.sqrt(1 + np.square(np.linalg.norm(value) / most))
