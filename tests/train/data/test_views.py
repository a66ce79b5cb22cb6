"""RaFD and Multi-PIE, read from small copies of their own layouts, and triples out of them."""

import inspect

import numpy as np
import pytest
from PIL import Image

from lirec import LirecError
from tests.pipelines.clips import wander
from train.data import DATASETS, TRAINING_SPLITS, open_dataset, training_set
from train.data.rotations import photo_triples

PEOPLE, ANGLES, EMOTIONS = range(1, 68), ("000", "090", "135"), ("angry", "happy", "sad")


def save(path, picture=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8) if picture is None else picture).save(path)


@pytest.fixture(scope="module")
def rafd(tmp_path_factory):
    root = tmp_path_factory.mktemp("rafd")
    for person in PEOPLE:
        for angle in ANGLES:
            for emotion in EMOTIONS:
                (root / f"Rafd{angle}_{person:02d}_Caucasian_female_{emotion}_frontal.jpg").touch()
    (root / "readme.jpg").touch()
    return root


def test_rafd_and_its_split(rafd):
    whole, train, test = (open_dataset("rafd", rafd, split=split) for split in (None, "train", "test"))
    assert len(whole) == 67 * 9 and len(train.people) == 55 and len(test.people) == 12
    assert not set(train.people) & set(test.people) and len(train) + len(test) == len(whole)
    assert training_set("rafd", rafd).people == train.people
    view = whole.views[0]
    assert (view.person, view.yaw, view.expression) == ("01", -90, "angry frontal")
    assert whole.identity(view.file) == "01"
    with pytest.raises(LirecError, match="splits train and test"):
        open_dataset("rafd", rafd, split="dev")


def test_all_sets_with_splits_have_one_for_training():
    with_splits = {name for name, kind in DATASETS.items() if "split" in inspect.signature(kind).parameters}
    assert set(TRAINING_SPLITS) == with_splits


def test_triples(rafd):
    triples = open_dataset("rafd", rafd, split="test").triples(np.random.default_rng(0))
    for _, (source, rotated, result, pose) in zip(range(50), triples, strict=False):
        assert len({view.person for view in (source, rotated, result, pose)}) == 1
        assert source.yaw != rotated.yaw == result.yaw == pose.yaw
        assert source.expression == rotated.expression not in (result.expression, pose.expression)


def test_multi_pie(tmp_path):
    for session, recordings in (("01", ("01", "02")), ("02", ("01",))):
        for recording in recordings:
            for camera in ("05_1", "04_1", "08_1", "99_9"):
                for flash in ("00", "07", "13"):
                    name = f"001_{session}_{recording}_{camera.replace('_', '')}_{flash}.png"
                    save(tmp_path / f"session{session}" / "multiview" / "001" / recording / camera / name)
    views = open_dataset("multi-pie", tmp_path).views
    assert len(views) == 3 * 3 * 2 and {view.yaw for view in views} == {0, -30, 44}
    assert {view.series[-2:] for view in views} == {"00", "07"} and {view.person for view in views} == {"001"}
    for _, (source, rotated, result, _) in zip(
        range(20), open_dataset("multi-pie", tmp_path).triples(np.random.default_rng(0)), strict=False
    ):
        assert source.series == rotated.series == result.series and "session 01" in source.series
    (tmp_path / "one" / "session01").mkdir(parents=True)
    save(tmp_path / "one" / "session01" / "002_01_01_051_07.png")
    with pytest.raises(LirecError, match="is the set complete"):
        next(open_dataset("multi-pie", tmp_path / "one").triples(np.random.default_rng(0)))


def test_triples_of_pictures(shipped_pipeline, tmp_path):
    """Two people who look the same; a face that is turned is stood for by one that is moved."""
    for person in ("01", "02"):
        for number, angle in enumerate(("090", "135")):
            for shift, emotion in enumerate(("happy", "sad")):
                name = f"Rafd{angle}_{person}_Caucasian_male_{emotion}_left.jpg"
                save(tmp_path / name, wander(6 * number, 4 * shift))
    dataset = open_dataset("rafd", tmp_path, split="train")
    triples = next(photo_triples(dataset, shipped_pipeline, 64, 2.0, 0.06, 2, seed=0))
    assert triples.source.shape == triples.result.shape == (2, 3, 64, 64)
    assert triples.angles.shape == (2, 3) and set(triples.shown.unique().tolist()) <= {0.0, 1.0}
    for points in (triples.source_landmarks, triples.result_landmarks, triples.pose_landmarks):
        assert points.shape == (2, 68, 2) and points.min() > 0.15 and points.max() < 0.85
    # each face is in the middle of its own window
    assert (triples.source - triples.result).abs().mean() < 0.1
