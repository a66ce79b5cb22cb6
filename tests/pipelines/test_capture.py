"""Motion capture out of videos."""

import json

import numpy as np
import pygltflib
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from lirec import LirecError
from lirec.geometry import euler_to_matrix, project
from lirec.pipelines.capture import _gaps, _surrounding
from lirec.pipelines.tracking import FaceTracker
from lirec.processing.motion_capture import MotionCapture, read_live_link_csv
from lirec.processing.video import open_video
from tests.pipelines.clips import EXAMPLES, FACE, empty, wander, write
from tests.processing.glb import accessor, animated


@pytest.fixture(scope="module")
def frames():
    return [frame.image for frame in open_video(EXAMPLES / "talking.mp4")][:25]


@pytest.fixture(scope="module")
def talking(shipped_pipeline, frames, tmp_path_factory):
    """A second of talk, and the steps that were reported."""
    from lirec.processing.video import VideoWriter

    path = tmp_path_factory.mktemp("capture") / "talking.mp4"
    with VideoWriter(path, frames[0].shape[1::-1], 25) as writer:
        for frame in frames:
            writer.write(frame)
    steps = []
    return shipped_pipeline.capture(path, callback=steps.append), steps


@pytest.fixture(scope="module")
def seen(shipped_pipeline, frames):
    """The faces that a tracker sees in the same frames, one by one."""
    tracker = FaceTracker(shipped_pipeline)
    return [tracker.follow(frame).face for frame in frames]


def test_every_frame_has_its_motion(talking):
    taken, steps = talking
    assert len(taken) == 25 and taken.frame_rate == 25 and taken.finished
    np.testing.assert_allclose(taken.times, np.arange(25) / 25, atol=1e-3)
    assert taken.expression.shape == (25, 51) and taken.expression.min() >= 0 and taken.expression.max() <= 1
    assert taken.angles.shape == (25, 3) and taken.gaze.shape == (25, 2, 2)
    assert taken.gaps == [] and taken.cuts == [] and taken.face_count == 1
    assert [step.done for step in steps] == [6, 12, 18, 24, 25] and steps[0].total == 25 and steps[-1].seconds_left == 0
    assert taken.sentences() == ["25 frames, 1.0 s, at 25 a second."]


def test_it_is_what_a_tracker_sees(talking, seen):
    taken, _ = talking
    expression = np.stack([face.expression for face in seen])
    assert np.abs(taken.expression - expression).mean() < 0.03  # smoothed, and coded once more
    jaw = taken.motion.names.index("jawOpen")
    assert np.ptp(expression[:, jaw]) > 0.1
    assert np.corrcoef(taken.expression[:, jaw], expression[:, jaw])[0, 1] > 0.9
    turns = euler_to_matrix(torch.from_numpy(taken.angles)).numpy()
    away = Rotation.from_matrix(turns) * Rotation.from_matrix(np.stack([face.rotation for face in seen])).inv()
    assert np.degrees(away.magnitude()).mean() < 3

    tremble = [np.abs(np.diff(curves, 2, axis=0)).mean() for curves in (taken.expression, expression)]
    assert tremble[0] < 0.9 * tremble[1]


def test_rec_net_alone(shipped_pipeline, frames, seen):
    plain = shipped_pipeline.capture(frames[:3], augmented=False, smoothing=False)
    tracker = FaceTracker(shipped_pipeline, augmented=False)
    first = tracker.follow(frames[0]).face
    np.testing.assert_allclose(plain.expression[0], first.expression, atol=1e-5)
    assert np.abs(first.expression - seen[0].expression).max() > 0.02


def test_the_person_is_a_mean_over_the_frames(shipped_pipeline, talking, seen):
    face = talking[0].face
    shapes = np.stack([one.identity for one in seen])
    apart = np.linalg.norm(shapes - shapes.mean(0), axis=1).mean()
    assert np.linalg.norm(face.identity - shapes.mean(0)) < apart
    # its camera shows it where its picture does
    vertices = shipped_pipeline.morphable_model(
        torch.from_numpy(face.identity)[None], torch.from_numpy(face.expression)[None]
    )
    np.testing.assert_allclose(face.vertices, vertices[0], atol=1e-6)
    camera = (torch.from_numpy(values)[None] for values in (face.rotation, face.translation, face.intrinsics))
    landmarks = shipped_pipeline.morphable_model.landmarks(project(vertices, *camera), torch.tensor(face.angles)[None])
    np.testing.assert_allclose(landmarks[0], face.landmarks, atol=0.01)
    (alone,) = shipped_pipeline(face.image).faces
    assert np.linalg.norm(alone.landmarks - face.landmarks, axis=1).mean() < 0.04 * np.ptp(face.landmarks[:, 1])


def test_glb(talking, tmp_path):
    taken, _ = talking
    document = pygltflib.GLTF2().load(taken.save(tmp_path / "take.glb", texture_size=256))
    mesh = document.meshes[0]
    assert mesh.extras["targetNames"] == list(taken.motion.names) and len(mesh.primitives[0].targets) == 51
    assert mesh.weights == [0] * 51 and len(document.images) == 1
    channels = animated(document)
    times, weights = channels["weights"]
    np.testing.assert_allclose(times, taken.times, atol=1e-5)
    np.testing.assert_allclose(weights, taken.expression, atol=1e-4)
    # turned by the node, the head stands as the camera saw it
    camera = euler_to_matrix(torch.from_numpy(taken.angles)).numpy()
    turned = Rotation.from_quat(channels["rotation"][1]).as_matrix()
    np.testing.assert_allclose(turned * np.array([[1], [-1], [-1]]), camera, atol=1e-5)
    assert np.abs(channels["translation"][1]).max() < 0.1
    neutral = accessor(document, mesh.primitives[0].attributes.POSITION)
    assert np.ptp(neutral[:, 1]) > 0.15


def test_csv_and_json(talking, tmp_path):
    taken, _ = talking
    again = read_live_link_csv(taken.save(tmp_path / "take.csv"), taken.motion.names)
    np.testing.assert_allclose(again.expression, taken.expression, atol=1e-5)
    np.testing.assert_allclose(again.angles, taken.angles, atol=1e-5)
    np.testing.assert_allclose(again.gaze, taken.gaze, atol=1e-5)
    values = json.loads(taken.save(tmp_path / "take.json").read_text())
    assert np.shape(values["translation"]) == (25, 3) and values["frame_rate"] == 25
    for name, message in (("a.fbx", "not .fbx"), ("absent/a.glb", "no folder"), ("absent/a.csv", "no folder")):
        with pytest.raises(LirecError, match=message):
            taken.save(tmp_path / name)


def test_where_the_head_is(shipped_pipeline):
    """A head that moves right by 3 px a frame, and one that comes nearer."""
    aside = shipped_pipeline.capture([wander(3 * i) for i in range(8)], smoothing=False).motion.translation
    assert aside[:, 2] == pytest.approx(aside[0, 2], rel=0.05)
    scale = 77 / 0.14  # px a metre: the box of her face
    assert (aside[-1] - aside[0])[0] == pytest.approx(21 / scale, rel=0.3)
    nearer = shipped_pipeline.capture([wander(0, 0, 1 + 0.03 * i) for i in range(8)], smoothing=False)
    assert nearer.motion.translation[-1, 2] / nearer.motion.translation[0, 2] == pytest.approx(1 / 1.21, rel=0.05)


def test_gaps_are_listed_and_filled(shipped_pipeline, tmp_path):
    path = write(tmp_path / "gap.mp4", [wander(0)] * 3 + [empty()] * 8 + [wander(10)] * 5)
    taken = shipped_pipeline.capture(path)
    assert len(taken) == 16 and len(taken.gaps) == 1
    assert taken.gaps[0][0] == pytest.approx(0.3) and 1.1 <= taken.gaps[0][1] <= 1.5
    assert taken.cuts == pytest.approx([0.3, 1.1])
    np.testing.assert_array_equal(taken.expression[3:11], np.tile(taken.expression[2], (8, 1)))  # held
    assert any("is not seen at 0.3 to" in sentence for sentence in taken.sentences())


def test_people_of_two_scenes_are_not_mixed(shipped_pipeline):
    other = np.asarray(Image.open(EXAMPLES / "rendered_beard.jpg").convert("RGB").resize((160, 160)))
    both = shipped_pipeline.capture([other] * 3 + [wander(0)] * 6)
    assert len(both.cuts) == 1
    first, second = (shipped_pipeline.capture([picture] * 3).identity for picture in (other, wander(0)))
    away = [np.linalg.norm(both.identity - shape) for shape in (first, second)]
    assert min(away) < 0.2 * np.linalg.norm(first - second)


def test_short_gaps_are_bridged():
    times, seen = np.arange(12) / 10, np.array([1, 2, 5, 11])
    before, after, share = _surrounding(times, seen, np.zeros(12, int))
    assert before.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3]
    np.testing.assert_allclose(share, [0, 0, 0, 1 / 3, 2 / 3, 0, 0, 0, 0, 0, 0, 0], atol=1e-9)  # the long one is held
    assert after[3] == 2
    assert not _surrounding(times, seen, np.arange(12) >= 4)[2].any()  # nothing is bridged over a cut
    np.testing.assert_allclose(_gaps(times, np.array([1, 2, 5]), 0.1), [(0, 0.1), (0.3, 0.5), (0.6, 1.2)])


def test_of_two_people_one_is_followed(shipped_pipeline):
    two = [np.concatenate((wander(i), wander(0, 0, 0.8)), 1) for i in range(3)]
    taken = shipped_pipeline.capture(two)
    assert taken.face_count == 2 and taken.face.box[2] < 160
    assert "Up to 2 faces are seen at once: one is followed." in taken.sentences()
    right = FACE * 0.8 + 16 + np.float32([160, 0, 160, 0])
    assert shipped_pipeline.capture(two, box=right).face.box[0] > 160


def test_stopping_keeps_what_is_finished(shipped_pipeline, frames):
    taken = shipped_pipeline.capture(frames, callback=lambda step: step.done < 12)
    assert len(taken) == 12 and not taken.finished
    assert "It was stopped there: what was finished is kept." in taken.sentences()


def test_what_cannot_be_captured_gives_a_sentence(shipped_pipeline, tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    for video, options, message in (
        ([empty()] * 3, {}, "No face was found in the video"),
        (tmp_path / "notes.mp4", {}, "is no video"),
        (tmp_path / "absent.mp4", {}, "no file|does not exist|There is no"),
        (MotionCapture.from_arrays(np.zeros((3, 51))), {}, "this is motion already"),
        ([wander(0)], {"box": [10, 20, 30]}, "Boxes are a list"),
        ([wander(0)], {"box": [30, 20, 10, 40]}, "A box is"),
        ([], {}, "no driving picture"),
    ):
        with pytest.raises(LirecError, match=message):
            shipped_pipeline.capture(video, **options)
