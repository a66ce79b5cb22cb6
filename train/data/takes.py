"""Takes: curves of expressions over time, recorded by motion capture or played from scripts.

A script is key times, in seconds, and values for what `lirec.pipelines.editing.edited_motion` knows by name;
`mouthSmile` without a side is both sides.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator

from lirec.errors import LirecError
from lirec.pipelines.editing import TURNS, edited_motion
from lirec.pipelines.tracking import Motion as HeadMotion
from lirec.processing.motion_capture import MotionCapture, read_live_link_csv
from train.data.skins import Dice
from train.data.synthetic import ExpressionSampler, Motion

Script = dict[str, list[tuple[float, float]]]

# Mouth shapes of speech, by sound.
SHAPES = {
    "a": {"jawOpen": 0.5, "mouthLowerDown": 0.25, "mouthUpperUp": 0.15},
    "e": {"jawOpen": 0.25, "mouthStretch": 0.35, "mouthSmile": 0.25, "mouthLowerDown": 0.2},
    "i": {"jawOpen": 0.12, "mouthStretch": 0.3, "mouthSmile": 0.4, "mouthUpperUp": 0.2},
    "o": {"jawOpen": 0.38, "mouthFunnel": 0.45},
    "u": {"jawOpen": 0.15, "mouthPucker": 0.8},
    "m": {"mouthPress": 0.35},
    "f": {"jawOpen": 0.05, "mouthRollLower": 0.5, "mouthUpperUp": 0.2},
    " ": {},
}
SPOKEN = sorted({name for shape in SHAPES.values() for name in shape})

SECONDS, RATE = 5.0, 30  # of a generated take, and its frames a second
OPPOSITE = {"jawLeft": "jawRight", "mouthLeft": "mouthRight"}
NO_PAIRS = ("jaw", "mouth")  # of which only one side at a time can be


def speech(text: str, start: float, pace: float = 7.0) -> Script:
    """Key times of a mouth that makes the sounds of `text`, `pace` a second, from rest to rest."""
    times = start + np.arange(len(text) + 2) / pace
    return {
        name: [(float(t), SHAPES[s].get(name, 0.0)) for t, s in zip(times, f" {text} ", strict=True)] for name in SPOKEN
    }


def blinks(*times: float) -> list[tuple[float, float]]:
    """Key times of lids that close and open within a quarter of a second."""
    return [key for t in times for key in ((t - 0.1, 0.0), (t, 1.0), (t + 0.04, 1.0), (t + 0.18, 0.0))]


def play(script: Script, names: Sequence[str], seconds: float, rate: float) -> Motion:
    """
    What each frame shows.

    Args:
        script: where several of its curves move one expression, the strongest does.
        names: of the expression coefficients.
        seconds, rate: length, and frames a second.
    """
    times, curves = np.arange(round(seconds * rate)) / rate, {}
    for name, keys in script.items():
        keys = [(-1.0, keys[0][1]), *keys, (max(seconds, keys[-1][0]) + 1, keys[-1][1])]
        for each in [name] if name in names or name + "Left" not in names else [name + "Left", name + "Right"]:
            curves.setdefault(each, []).append(PchipInterpolator(*zip(*keys, strict=True))(times))
    values_of = {name: np.round(_farthest_from_rest(np.stack(parts)), 6) for name, parts in curves.items()}
    rest = HeadMotion.at_rest(len(names))
    expressions, angles = [], []
    for frame in range(len(times)):
        values = {name: float(curve[frame]) for name, curve in values_of.items()}
        expressions.append(edited_motion(rest, names, values).expression)
        angles.append([math.radians(values.get(name, 0.0)) for name in TURNS])
    return Motion(torch.tensor(np.stack(expressions)), torch.tensor(angles))


def _farthest_from_rest(curves: np.ndarray) -> np.ndarray:
    """(N, T) -> (T,) the value that is farthest from 0."""
    return np.take_along_axis(curves, np.abs(curves).argmax(0)[None], 0)[0]


# Generated takes ------------------------------------------------------------------------------------------------------


def _speaking(rng: np.random.Generator, _) -> Script:
    """Syllables, louder or softer, with brows that stress them."""
    pace, loud = rng.uniform(4, 9), rng.uniform(0.6, 1.6)
    text = "".join(rng.choice(list(SHAPES), size=int((SECONDS - 0.6) * pace) - 2))
    script = {
        name: [(t, min(loud * value, 1.0)) for t, value in keys]
        for name, keys in speech(text, rng.uniform(0, 0.3), pace).items()
    }
    script[str(rng.choice(["browInnerUp", "browOuterUp", "browDown"]))] = _bumps(rng, 0.9, (0.2, 0.8))
    return script


def _strong(rng: np.random.Generator, sampler: ExpressionSampler) -> Script:
    """One strong expression after the other, of one to four actions, often of one side of the face alone."""
    script: Script = {}
    for start, rise, hold, fall in _events(rng, 0.7):
        chosen = list(rng.choice(_actions(sampler), size=rng.choice([1, 2, 3, 4]), replace=False))
        chosen = [name for name in chosen if OPPOSITE.get(name) not in chosen]
        sides = rng.choice(["", "Left", "Right"], p=[0.5, 0.25, 0.25])
        if "mouthClose" in chosen and "jawOpen" not in chosen:
            chosen.append("jawOpen")  # lips close over an open jaw only
        amount = {name: rng.uniform(0.65, 1.0) for name in chosen}
        if "mouthClose" in chosen:
            amount["mouthClose"] = rng.uniform(0.5, 1) * amount["jawOpen"]
        for name in chosen:
            sided = f"{name}{sides}" if f"{name}{sides}" in sampler.names else name
            script.setdefault(sided, []).extend(_bump(start, rise, hold, fall, amount[name]))
    return script


def _posing(rng: np.random.Generator, sampler: ExpressionSampler) -> Script:
    """From one whole expression to the next, of the mixtures that training pictures show."""
    events = list(_events(rng, 0.3))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    poses = sampler.sample(Dice(len(events), generator)).numpy()
    script: Script = {}
    for name, values in zip(sampler.names, poses.T, strict=True):
        if values.any() and not name.startswith("eyeLook"):
            script[name] = [(0.0, 0.0)]
            for (start, rise, hold, _), value in zip(events, values, strict=True):
                script[name] += [(start + rise, float(value)), (start + rise + hold, float(value))]
    return script


def _blinking(rng: np.random.Generator, _) -> Script:
    """Lids: blinks, winks that lift the cheek, half-closed and wide eyes."""
    script: Script = {}
    for start, rise, hold, fall in _events(rng, 0.5):
        kind = rng.choice(["blink", "wink", "half", "wide", "squint"])
        side = str(rng.choice(["Left", "Right"])) if kind == "wink" else ""
        parts = {
            "blink": {"eyeBlink": 1.0},
            "wink": {f"eyeBlink{side}": rng.uniform(0.8, 1), f"cheekSquint{side}": rng.uniform(0, 0.9)},
            "half": {"eyeBlink": rng.uniform(0.3, 0.7)},
            "wide": {"eyeWide": rng.uniform(0.4, 1), "browOuterUp": rng.uniform(0, 0.8)},
            "squint": {"eyeSquint": rng.uniform(0.5, 1), "eyeBlink": rng.uniform(0, 0.4)},
        }[kind]
        for name, amount in parts.items():
            script.setdefault(name, []).extend(_bump(start, rise, hold, fall, amount))
    return script


def _looking(rng: np.random.Generator, _) -> Script:
    """Eyes that jump from place to place; the lids go down with them."""
    script: Script = {"gaze_x": [(0.0, 0.0)], "gaze_y": [(0.0, 0.0)], "eyeBlink": [(0.0, 0.0)]}
    for start, _, hold, _ in _events(rng, 0.4):
        x, y = rng.uniform(-24, 24), rng.uniform(-19, 15)
        for name, value in (("gaze_x", x), ("gaze_y", y), ("eyeBlink", max(-y, 0) / 50)):
            script[name] += [(start, script[name][-1][1]), (start + 0.06, value), (start + 0.06 + hold, value)]
    return script


KINDS: dict[str, Callable[[np.random.Generator, ExpressionSampler], Script]] = {
    "speech": _speaking,
    "strong": _strong,
    "poses": _posing,
    "blinks": _blinking,
    "gaze": _looking,
}
"""What a generated take is about."""
SHARES = {"speech": 0.18, "strong": 0.3, "poses": 0.3, "blinks": 0.11, "gaze": 0.11}
"""Of the generated takes. What is rare is hardly learnt, so most of them are strong."""


def _actions(sampler: ExpressionSampler) -> list[str]:
    """What a script may name besides gaze, both sides together."""
    return [name for name in sampler.unit_names if name not in NO_PAIRS]


def _events(rng: np.random.Generator, hold: float):
    """Starts and lengths in seconds of things that come one after the other: start, rise, hold, fall."""
    time = rng.uniform(0.05, 0.3)
    while True:
        rise, held, fall = rng.uniform(0.08, 0.3), hold * rng.uniform(0.3, 1.5), rng.uniform(0.1, 0.3)
        if time + rise + held + fall > SECONDS:
            return
        yield time, rise, held, fall
        time += rise + held + fall + rng.uniform(0.05, 0.3)


def _bump(start: float, rise: float, hold: float, fall: float, amount: float) -> list[tuple[float, float]]:
    return [(start, 0), (start + rise, amount), (start + rise + hold, amount), (start + rise + hold + fall, 0)]


def _bumps(rng: np.random.Generator, hold: float, amounts: tuple[float, float]) -> list[tuple[float, float]]:
    return [key for event in _events(rng, hold) for key in _bump(*event, rng.uniform(*amounts))]


def generated_take(names: Sequence[str], rng: np.random.Generator, kind: str) -> MotionCapture:
    """
    A take of five seconds.

    Args:
        names: ARKit names of the coefficients.
        rng: chooses what is done.
        kind: one of `KINDS`. Every take blinks and looks about a little; some are made in a mood that lasts.
    """
    sampler = ExpressionSampler(tuple(names))
    script = KINDS[kind](rng, sampler)
    if "eyeBlink" not in script:
        script["eyeBlink"] = blinks(*np.cumsum(rng.uniform(0.8, 3, 2)))
    if "gaze_x" not in script:
        times = np.cumsum(rng.uniform(0.3, 1.2, 6))
        for name, spread in (("gaze_x", 5), ("gaze_y", 3)):
            script[name] = [(float(t), float(v)) for t, v in zip(times, rng.normal(0, spread, 6), strict=True)]
    if rng.uniform() < 0.4:
        sided = {*OPPOSITE, *OPPOSITE.values()}
        mood = str(rng.choice([name for name in _actions(sampler) if name != "mouthClose" and name not in sided]))
        script.setdefault(mood, [(0.0, rng.uniform(0.15, 0.6))])
    expression = play(script, names, SECONDS, RATE).expression.numpy()
    return MotionCapture.from_arrays(_possible(expression, tuple(names)), frame_rate=RATE)


def _possible(expression: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Lips close no further than the jaw is open, and nothing goes to both sides at once."""
    expression = expression.copy()
    close, jaw = (expression[:, names.index(name)] for name in ("mouthClose", "jawOpen"))
    np.minimum(close, jaw, out=close)
    for pair in OPPOSITE.items():
        first, second = (expression[:, names.index(name)] for name in pair)
        shared = np.minimum(first, second)
        first -= shared
        second -= shared
    return expression


# Takes to choose from -------------------------------------------------------------------------------------------------


def read_takes(folder: str | Path, names: Sequence[str]) -> dict[str, MotionCapture]:
    """
    The Live Link Face recordings in a folder and the folders in it, by their paths in it.

    Other CSV files, such as the app's logs, are passed over.

    Raises:
        LirecError: there is none; of a single file, what is wrong with it.
    """
    root = Path(folder)
    files = sorted(root.rglob("*.csv"))
    if not files:
        raise LirecError(f"There is no take in {root}: give a folder of CSV files of Live Link Face.")
    takes, error = {}, None
    for file in files:
        try:
            takes[file.relative_to(root).as_posix()] = read_live_link_csv(file, names)
        except LirecError as wrong:
            error = wrong
    if not takes:
        raise error
    return takes


class Takes:
    """
    Takes to draw frames from.

    Args:
        names: ARKit names of the coefficients.
        recorded: takes by name.
        share: of the draws that go to a recorded take; the others are from generated takes, of each kind by its share.
    """

    def __init__(self, names: Sequence[str], recorded: dict[str, MotionCapture] | None = None, share: float = 0.5):
        self.names, self.recorded = tuple(names), dict(recorded or {})
        self.share = share if self.recorded else 0.0

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, 51) coefficients in [0, 1]: different frames of one take, where it has as many."""
        if rng.uniform() < self.share:
            take = self.recorded[str(rng.choice(sorted(self.recorded)))]
        else:
            take = generated_take(self.names, rng, str(rng.choice(list(SHARES), p=list(SHARES.values()))))
        return take.expression[np.sort(rng.choice(len(take), count, replace=count > len(take)))]
