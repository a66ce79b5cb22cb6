"""What may drive a photo, and a first look at it."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from lirec import LirecError
from lirec.pipelines.driving import Captured, Pictures, open_driving
from lirec.pipelines.survey import BLURRED, report, sharpness, survey
from lirec.processing.motion_capture import LIVE_LINK_NAMES, MotionCapture
from tests.pipelines.clips import FACE, empty, wander, write


@pytest.fixture(scope="module")
def names(morphable_model):
    return morphable_model.expression_names


def pace(image, box):
    assert image.shape == (160, 160, 3) and np.shape(box) == (4,)
    return 0.5


# Sources --------------------------------------------------------------------------------------------------------------


def test_pictures_of_any_kind(names, tmp_path):
    array = wander(0)
    tensor = torch.from_numpy(array).permute(2, 0, 1) / 255
    Image.fromarray(array).save(tmp_path / "a.png")
    for single in (array, tensor, Image.fromarray(array), (tmp_path / "a.png").read_bytes(), tmp_path / "a.png"):
        driving = open_driving(single, names)
        assert isinstance(driving, Pictures) and driving.single
        (frame,) = driving.frames()
        np.testing.assert_array_equal(frame.image, array)
    pairs = ([array, tmp_path / "a.png"], (array, tensor), np.stack([array] * 2), tensor[None].repeat(2, 1, 1, 1))
    for several in pairs:
        driving = open_driving(several, names)
        assert driving.frame_count == 2 and not driving.single
        assert [frame.time for frame in driving.frames()] == [0, 0.04]


def test_videos_are_read_as_often_as_wanted(names, tmp_path):
    driving = open_driving(write(tmp_path / "a.mp4", [wander(i) for i in range(4)]), names)
    assert (driving.frame_rate, driving.frame_count, driving.path) == (10, 4, None)
    for _ in range(2):
        assert [frame.time for frame in driving.frames()] == pytest.approx([0, 0.1, 0.2, 0.3])
    driving.close()


def test_motion_capture(names, untrained_pipeline):
    values = np.zeros((3, 51), np.float32)
    values[1, names.index("jawOpen")] = 0.5
    angles = np.radians([[0, 0, 0], [0, 30, 0], [10, 0, 0]])
    for source in (values, torch.from_numpy(values), MotionCapture.from_arrays(values, angles, 60)):
        driving = open_driving(source, names)
        assert isinstance(driving, Captured) and driving.frame_count == 3
        times, sightings = zip(*driving.sightings(untrained_pipeline), strict=True)
        assert times == pytest.approx(np.arange(3) / float(driving.frame_rate))
        assert sightings[1].motion.expression[names.index("jawOpen")] == pytest.approx(0.5)
    assert sightings[1].motion.rotation[0, 2] == pytest.approx(0.5, abs=1e-6)  # the nose goes to the picture's right


def test_motion_capture_in_another_order(names):
    values = np.linspace(0, 1, 52, dtype=np.float32)[None].repeat(2, 0)
    driving = open_driving(MotionCapture.from_arrays(values, names=LIVE_LINK_NAMES), names)
    expected = [values[0, LIVE_LINK_NAMES.index(name)] for name in names]
    np.testing.assert_array_equal(driving.motion(1).expression, expected)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ([], "no driving picture"),
        (3, "not int"),
        ("nowhere.mp4", "no video at"),
        (np.zeros((4, 50)), None),
        (np.zeros((4, 52)), "52 coefficients a frame, not 51"),
        (MotionCapture.from_arrays(np.zeros((4, 50))), "50 coefficients a frame, not 51"),
    ],
)
def test_wrong_sources(names, wrong, sentence):
    if sentence is None:  # a grey picture, 50 px wide
        assert open_driving(wrong, names).single
        return
    with pytest.raises(LirecError, match=sentence):
        open_driving(wrong, names)


# A first look ---------------------------------------------------------------------------------------------------------


def test_survey_finds_scenes_and_a_reference(shipped_pipeline, names):
    frames = [wander(0)] * 4 + [empty()] * 3 + [wander(4, 0, 1.2)] * 4
    driving = open_driving(frames, names)
    driving.frame_rate = 3  # every frame is looked at
    found = survey(driving, shipped_pipeline)
    assert [look.index for look in found.looks] == list(range(11))
    assert found.cuts == pytest.approx([4 / 3, 7 / 3])
    assert [scene.best is None for scene in found.scenes] == [False, True, False]
    assert found.reference.oddity == min(look.oddity for look in found.looks)
    np.testing.assert_array_equal(found.reference_frame, frames[found.reference.index])


def test_long_drivers_are_looked_at_in_part(shipped_pipeline, names):
    driving = open_driving([wander(0)] * 40, names)
    found = survey(driving, shipped_pipeline, longest=0.8)
    assert 0.7 < found.seconds <= 0.8 and 2 <= len(found.looks) <= 4
    assert survey(driving, shipped_pipeline, reference=30, longest=0.8).reference.index == 30


def covered():
    """(160, 160, 3): `wander(0)` with a cloth over the face, which is no cut."""
    picture = wander(0).copy()
    x1, y1, x2, y2 = FACE.astype(int)
    picture[y1:y2, x1:x2] = picture[y1:y2, x1:x2].mean((0, 1))
    return picture


def test_a_face_that_comes_late_is_found(shipped_pipeline, names):
    driving = open_driving([covered()] * 60 + [wander(0)] * 20, names)
    found = survey(driving, shipped_pipeline, longest=1.0)
    assert not found.cuts and found.reference.index >= 60
    assert len([look for look in found.looks if look.motion is not None]) > 1  # not the first of its frames alone
    few = survey(open_driving([covered(), *[wander(0)] * 4], names), shipped_pipeline)
    assert not few.cuts and few.reference.index == 1


def test_every_picture_of_a_list_is_searched(shipped_pipeline, names):
    driving = open_driving([covered()] * 2 + [wander(0)] * 3, names)
    seen = [sighting.motion is not None for _, sighting in driving.sightings(shipped_pipeline)]
    assert seen == [False] * 2 + [True] * 3


def test_a_reference_that_is_not_there(shipped_pipeline, names):
    driving = open_driving([wander(0), wander(2), empty()], names)
    with pytest.raises(LirecError, match="0 to 2, not 3"):
        survey(driving, shipped_pipeline, reference=3)
    with pytest.raises(LirecError, match="Frame 2 of the driver shows no face"):
        survey(driving, shipped_pipeline, reference=2)
    capture = open_driving(np.zeros((5, 51), np.float32), names)
    assert survey(capture, shipped_pipeline, reference=4).reference.index == 4
    with pytest.raises(LirecError, match="0 to 4, not -1"):
        survey(capture, shipped_pipeline, reference=-1)


def test_blurred_faces_are_less_sharp(shipped_pipeline):
    (face,) = shipped_pipeline(wander(0), boxes=[FACE]).faces
    picture = Image.fromarray(wander(0))
    values = [
        sharpness(np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))), face.landmarks) for radius in (0, 1, 3)
    ]
    assert values[0] > 1.5 * values[1] > 1.5 * 1.5 * values[2]
    assert values[2] < BLURRED < values[0]


def test_report_in_words(shipped_pipeline, names, tmp_path):
    frames = [wander(0)] * 4 + [empty()] * 4 + [wander(4)] * 4
    driving = open_driving(write(tmp_path / "a.mp4", frames, rate=3), names)
    found = report(driving, shipped_pipeline, pace)
    assert found.usable and found.size == (160, 160) and found.duration == pytest.approx(4)
    assert found.faces == [1] * 4 + [0] * 4 + [1] * 4
    assert len(found.missing) == 4 and len(found.cuts) == 2 and found.expected_seconds > 6
    text = " ".join(found.sentences)
    assert "67 %" in text and "2 cuts" in text and "without sound" in text and "160 x 160" in text
    assert f"at rest at {found.reference_time:.1f} s" in text
    assert all(sentence.endswith(".") for sentence in found.sentences)


def test_report_of_several_faces(shipped_pipeline, names):
    both = np.concatenate((wander(0), wander(0, 0, 0.8)), 0)
    found = report(open_driving([both], names), shipped_pipeline, lambda image, box: 0.1)
    assert found.faces == [2] and "Up to 2 faces" in " ".join(found.sentences)


def test_report_without_a_face(shipped_pipeline, names):
    found = report(open_driving([empty()] * 3, names), shipped_pipeline, pace)
    assert not found.usable and found.reference_time is None
    assert "No face was found" in found.sentences[-1]


def test_report_of_motion_capture(shipped_pipeline, names):
    found = report(open_driving(np.zeros((60, 51), np.float32), names), shipped_pipeline, pace)
    assert found.usable and "60 frames" in found.sentences[0] and "without the turns" in found.sentences[0]
