"""The driving videos that are shipped, and how they are made."""

import math
from itertools import islice

import numpy as np
import pytest
import torch

from lirec.geometry import matrix_to_euler
from lirec.pipelines.tracking import FaceTracker
from lirec.processing.video import open_video
from tests.conftest import ROOT
from train.data.synthetic import SyntheticFaces
from train.make_examples import EXAMPLES, RATE, SOUND_RATE, Example, draw, motion_of, speech, voice


@pytest.fixture(scope="module")
def names(morphable_model):
    return morphable_model.expression_names


def test_a_script_moves_both_sides_at_its_times(names):
    example = Example(0, 1.0, 100, {"mouthSmile": [(0.2, 0), (0.6, 0.8)], "yaw": [(0, 0), (0.8, 35)]})
    motion = motion_of(example, names)
    assert motion.expression.shape == (RATE, len(names)) and motion.angles.shape == (RATE, 3)
    for side in ("Left", "Right"):
        smile = motion.expression[:, names.index(f"mouthSmile{side}")]
        assert smile[: round(0.2 * RATE)].max() == 0 and smile[round(0.6 * RATE)] == pytest.approx(0.8)
    assert motion.angles[-1, 1] == pytest.approx(math.radians(35), abs=1e-4)
    moved = {names[i] for i in torch.nonzero(motion.expression.amax(0)).flatten().tolist()}
    assert moved == {"mouthSmileLeft", "mouthSmileRight"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_scripts_begin_and_end_at_rest(names, name):
    motion = motion_of(EXAMPLES[name], names)
    assert motion.expression.min() >= 0 and motion.expression.max() <= 1
    for end in (0, -1):
        assert motion.expression[end].max() < 0.12
        assert motion.angles[end].abs().max() < math.radians(3)
    assert motion.expression.amax(0)[names.index("eyeBlinkLeft")] == 1


def test_the_voice_follows_the_jaw(names):
    example = Example(0, 2.0, 100, speech("a", 0.8, pace=4))
    motion = motion_of(example, names)
    sound = voice(motion, names, example.pitch)
    assert sound.shape == (2 * SOUND_RATE,) and np.abs(sound).max() == pytest.approx(0.5)
    assert np.abs(sound[: round(0.7 * SOUND_RATE)]).max() < 1e-3
    loudest = np.square(sound).reshape(-1, SOUND_RATE // RATE).mean(1).argmax() / RATE
    assert abs(loudest - 1.05) < 0.2
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    peak = np.fft.rfftfreq(len(sound), 1 / SOUND_RATE)[spectrum.argmax()]
    assert 200 < peak < 1200  # the first resonance of an open mouth


def test_drawn_with_sound(morphable_model, tmp_path):
    renderer = SyntheticFaces(morphable_model, 256, supersampling=1.0)
    example = Example(5, 0.2, 150, {"jawOpen": [(0, 0), (0.1, 0.6)]})
    for name in ("a.mp4", "b.mp4"):
        draw(example, renderer, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    video = open_video(tmp_path / "a.mp4")
    frames = [frame.image.astype(int) for frame in video]
    assert len(frames) == 5 and video.has_audio and video.size == (256, 256)
    change = np.abs(frames[-1] - frames[0]).max(2)
    assert change.max() > 50 and np.median(change) < 6  # the mouth opens before a background that keeps still


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_shipped(shipped_pipeline, name):
    path = ROOT / "examples" / f"{name}.mp4"
    assert path.stat().st_size < 400_000
    video = open_video(path)
    assert video.has_audio and video.size == (256, 256) and video.frame_rate == RATE
    assert video.duration == pytest.approx(EXAMPLES[name].seconds, abs=0.05)
    tracker = FaceTracker(shipped_pipeline)
    truth = motion_of(EXAMPLES[name], shipped_pipeline.expression_names)
    times, turns = range(0, len(truth.angles), 10), []
    for frame in islice(video, 0, None, 10):
        motion = tracker.follow(frame.image).motion
        assert motion is not None
        turns.append(float(matrix_to_euler(torch.from_numpy(motion.rotation))[1]))
    wanted = truth.angles[list(times), 1].numpy()
    assert np.abs(np.array(turns) - wanted).mean() < math.radians(7)
