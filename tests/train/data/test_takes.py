"""Takes: generated ones do what their kind says, recorded ones are read from folders."""

import numpy as np
import pytest

from lirec.errors import LirecError
from lirec.processing.motion_capture import MotionCapture
from train.data.takes import KINDS, RATE, SECONDS, Takes, generated_take, play, read_takes

STILL = "Timecode,BlendshapeCount,{names}\n{rows}"


def live_link(path, names, values):
    """A recording of the app; (T, 51) coefficients."""
    rows = [f"10:00:00:{i:02}.000,61," + ",".join(f"{v:.5f}" for v in row) for i, row in enumerate(values)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STILL.format(names=",".join(n[0].upper() + n[1:] for n in names), rows="\n".join(rows)) + "\n")


@pytest.fixture(scope="module")
def names(morphable_model):
    return morphable_model.expression_names


@pytest.fixture(scope="module")
def generated(names):
    """(T, 51) of eight takes of each kind."""
    return {
        kind: np.concatenate([generated_take(names, np.random.default_rng(i), kind).expression for i in range(8)])
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_take_is_whole_and_repeatable(names, kind):
    take = generated_take(names, np.random.default_rng(3), kind)
    assert take.expression.shape == (SECONDS * RATE, 51) and 0 <= take.expression.min() <= take.expression.max() <= 1
    assert np.abs(np.diff(take.expression, axis=0)).max() < 0.75  # it moves, and does not jump
    again = generated_take(names, np.random.default_rng(3), kind)
    np.testing.assert_array_equal(take.expression, again.expression)
    assert np.abs(take.expression - generated_take(names, np.random.default_rng(4), kind).expression).max() > 0.1


def test_kinds_do_what_they_say(names, generated):
    def most(kind, name):
        return generated[kind][:, names.index(name)].max()

    assert most("speech", "jawOpen") > 0.4 and most("speech", "mouthPucker") > 0.4
    assert (generated["strong"].max(0) > 0.55).sum() > 20
    assert (generated["poses"].max(0) > 0.5).sum() > 30 and (generated["poses"] > 0.1).sum(1).mean() > 6
    left, right = (generated["strong"][:, [i for i, n in enumerate(names) if n.endswith(s)]] for s in ("Left", "Right"))
    assert np.abs(left - right).max() > 0.6  # of one side alone
    assert most("blinks", "eyeBlinkLeft") > 0.9 and most("blinks", "eyeWideLeft") > 0.4
    winks = np.abs(np.diff(generated["blinks"][:, [names.index(f"eyeBlink{s}") for s in ("Left", "Right")]], axis=1))
    assert winks.max() > 0.7
    for name in ("eyeLookUpLeft", "eyeLookDownRight", "eyeLookOutLeft", "eyeLookInLeft"):
        assert most("gaze", name) > 0.5


def test_no_impossible_faces(names, generated):
    faces = np.concatenate(list(generated.values()))
    index = {name: i for i, name in enumerate(names)}
    assert (faces[:, index["mouthClose"]] <= faces[:, index["jawOpen"]] + 1e-5).all()
    for a, b in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"), ("eyeLookUpLeft", "eyeLookDownLeft")):
        assert np.minimum(faces[:, index[a]], faces[:, index[b]]).max() == 0


def test_recorded_takes(tmp_path, names):
    values = np.zeros((4, 51))
    values[:, 7] = 0.5
    live_link(tmp_path / "a" / "take_cal.csv", names, values)
    (tmp_path / "frame_log.csv").write_text("frame,time\n1,0\n")
    recorded = read_takes(tmp_path, names)
    assert list(recorded) == ["a/take_cal.csv"]
    drawn = Takes(names, recorded, share=1.0).draw(6, np.random.default_rng(0))
    assert drawn.shape == (6, 51) and np.allclose(drawn[:, 7], 0.5) and drawn.sum() == pytest.approx(3, rel=1e-4)


def test_folders_without_takes(tmp_path, names):
    with pytest.raises(LirecError, match="no take"):
        read_takes(tmp_path, names)
    (tmp_path / "table.csv").write_text("x,y\n1,2\n")
    with pytest.raises(LirecError, match=r"table\.csv"):
        read_takes(tmp_path, names)


def test_frames_of_one_take_without_repeats(names):
    numbered = MotionCapture.from_arrays(np.arange(50)[:, None].repeat(51, 1) / 100)
    drawn = Takes(names, {"count": numbered}, share=1.0).draw(20, np.random.default_rng(0))
    assert len(np.unique(drawn[:, 0])) == 20
    assert Takes(names).share == 0  # nothing was recorded


def test_a_script_may_outlast_its_take(names):
    motion = play({"jawOpen": [(0.5, 0.0), (9.0, 1.0)]}, names, 1.0, 10)
    assert motion.expression.shape == (10, 51) and 0 < motion.expression[-1].max() < 0.5
