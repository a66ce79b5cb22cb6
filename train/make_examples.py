"""The driving videos in `examples/`: `python -m train.make_examples` draws people who do not exist, and their voices.

What a person does is a script of key times for what `DCNetPipeline.edit` knows by name; `mouthSmile` without a side is
both sides. The voice follows the jaw and the lips.
"""

import argparse
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from lirec.processing.image import to_array
from lirec.processing.video import VideoWriter
from train.common import command
from train.data.synthetic import Motion, SyntheticFaces
from train.data.takes import Script, blinks, play, speech

SIZE, RATE = 256, 25  # px, frames a second
SOUND_RATE = 24_000


@dataclass(frozen=True)
class Example:
    """A driving video: who is seen (a seed), for how many seconds, doing what, with a voice how high (Hz)."""

    person: int
    seconds: float
    pitch: float
    script: Script


EXAMPLES = {
    "talking": Example(125, 3.6, 200, {
        **speech("maemo fia ome ufa mie", 0.15),
        "eyeBlink": blinks(0.9, 2.45),
        "browInnerUp": [(0.5, 0), (0.9, 0.5), (1.4, 0.1), (2.0, 0.6), (2.5, 0)],
        "browOuterUp": [(1.7, 0), (2.0, 0.5), (2.5, 0)],
        "yaw": [(0, 0), (0.8, -9), (1.6, 7), (2.4, -4), (3.4, 0)],
        "pitch": [(0, 0), (0.5, 5), (0.9, -3), (1.5, 5), (2.0, -4), (2.7, 4), (3.4, 0)],
        "roll": [(0, 0), (1.0, 4), (2.2, -4), (3.4, 0)],
        "gaze_x": [(1.2, 0), (1.35, 9), (1.9, 9), (2.05, 0)],
    }),
    "looking_around": Example(129, 3.6, 115, {
        **speech("o", 2.75, 3.5),
        "eyeBlink": blinks(0.3, 1.45, 2.6),
        "browInnerUp": [(2.5, 0), (2.9, 0.8), (3.4, 0)],
        "browOuterUp": [(2.5, 0), (2.9, 0.7), (3.4, 0)],
        "eyeWide": [(2.65, 0), (2.95, 0.6), (3.4, 0)],
        "yaw": [(0.2, 0), (0.9, 35), (1.2, 35), (2.1, -35), (2.4, -35), (3.2, 0)],
        "pitch": [(0.3, 0), (1.0, 4), (1.6, -9), (2.2, 3), (3.2, 0)],
        "gaze_x": [(0.05, 0), (0.25, 18), (1.0, 6), (1.2, 6), (1.4, -18), (2.2, -6), (2.4, -6), (2.55, 14), (3.2, 0)],
        "gaze_y": [(1.2, 0), (1.5, 10), (2.0, 0)],
    }),
    "smiling": Example(135, 3.2, 130, {
        "mouthSmile": [(0.2, 0), (0.8, 0.85), (1.6, 0.7), (2.1, 0.9), (2.5, 0.8), (3.0, 0)],
        "cheekSquint": [(0.3, 0), (0.9, 0.6), (2.3, 0.6), (3.0, 0)],
        "eyeSquint": [(0.4, 0), (0.9, 0.35), (2.3, 0.35), (3.0, 0)],
        "mouthUpperUp": [(0.4, 0), (0.8, 0.3), (2.3, 0.3), (2.9, 0)],
        "jawOpen": [(1.3, 0), (1.45, 0.4), (1.57, 0.15), (1.7, 0.42), (1.82, 0.15), (1.95, 0.38), (2.3, 0.0)],
        "eyeBlinkLeft": [(2.35, 0), (2.5, 1), (2.65, 1), (2.8, 0)],
        "eyeBlink": blinks(0.45, 1.2),
        "yaw": [(0.2, 0), (0.9, 12), (1.7, 4), (2.4, -10), (3.0, 0)],
        "pitch": [(0.3, 0), (0.9, 3), (1.5, -6), (1.9, -5), (2.5, 4), (3.0, 0)],
        "roll": [(0.3, 0), (1.0, -7), (2.0, 0), (2.5, 8), (3.0, 0)],
    }),
}  # fmt: skip


def motion_of(example: Example, names: tuple[str, ...]) -> Motion:
    """What each frame shows, from an example's script."""
    return play(example.script, names, example.seconds, RATE)


def voice(motion: Motion, names: tuple[str, ...], pitch: float) -> np.ndarray:
    """
    A voice for a moving mouth: harmonics of a tone through two resonances, as loud as the jaw is open.

    Returns:
        (N,) in [-1, 1] at `SOUND_RATE`.
    """
    count = round(len(motion.expression) / RATE * SOUND_RATE)
    time = np.arange(count) / SOUND_RATE

    def follow(name: str) -> np.ndarray:
        return np.interp(time, np.arange(len(motion.expression)) / RATE, motion.expression[:, names.index(name)])

    jaw, rounded = follow("jawOpen"), np.maximum(follow("mouthFunnel"), follow("mouthPucker"))
    loud = np.clip((jaw - 0.02) / 0.3, 0, 1) ** 0.7
    first = 280 + 1000 * jaw  # Hz; an open jaw raises it, rounded lips lower the second
    second = 1500 - 900 * rounded + 900 * follow("mouthStretchLeft") + 500 * follow("mouthSmileLeft")
    tone = pitch * (1 + 0.06 * np.sin(2 * np.pi * 0.55 * time) + 0.1 * loud + 0.01 * np.sin(2 * np.pi * 5.5 * time))
    phase = 2 * np.pi * np.cumsum(tone) / SOUND_RATE
    sound = np.zeros(count)
    for harmonic in range(1, 24):
        frequency = harmonic * tone
        gain = np.exp(-0.5 * ((frequency - first) / 160) ** 2) + 0.5 * np.exp(-0.5 * ((frequency - second) / 220) ** 2)
        sound += (gain + 0.04) / harmonic**0.6 * np.sin(harmonic * phase)
    sound *= loud
    return 0.5 * sound / max(np.abs(sound).max(), 1e-6)


def draw(example: Example, renderer: SyntheticFaces, path: Path) -> None:
    """Write an example as MP4."""
    names = renderer.model.expression_names
    motion = motion_of(example, names)
    pictures = to_array(renderer.sample_clips(1, len(motion.angles), example.person, wild=0.0, motion=motion).clean)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "voice.wav"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SOUND_RATE)
            file.writeframes((voice(motion, names, example.pitch) * 32767).astype("<i2").tobytes())
        with VideoWriter(path, (SIZE, SIZE), RATE, audio_from=sound, crf=20) as writer:
            for picture in pictures:
                writer.write(picture)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Draw the driving videos of the app.")
    parser.add_argument("--model", default="hub/rec-aug-net/morphable_model")
    parser.add_argument("--output", type=Path, default=Path("examples"))
    parser.add_argument("--only", nargs="*", choices=EXAMPLES, default=list(EXAMPLES))
    options = parser.parse_args(arguments)
    renderer = SyntheticFaces(load_model(MorphableModel, options.model), SIZE)
    for name in options.only:
        draw(EXAMPLES[name], renderer, options.output / f"{name}.mp4")
        print(f"{name}.mp4 has {(options.output / f'{name}.mp4').stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    command(main)
