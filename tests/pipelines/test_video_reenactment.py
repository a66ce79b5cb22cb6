"""Photos driven by videos, pictures and motion capture, and edited by name."""

import copy
import itertools
import json
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from lirec import DCNetPipeline, LirecError
from lirec.geometry import project
from lirec.models.dc_net import LAYERS, DCNet
from lirec.pipelines.portrait import Portrait
from lirec.processing.video import open_video
from tests.pipelines.clips import ASTRONAUT, EXAMPLES, FACE, empty, wander, write


@pytest.fixture(scope="module")
def pipeline(shipped_pipeline):
    """A tiny DCNet whose last layers only let warped pixels through, with the reconstruction that is shipped."""
    torch.manual_seed(0)
    dc_net = DCNet(image_size=32, width=16).eval()
    with torch.no_grad():
        for head in (dc_net.to_adjustments, dc_net.to_layers):
            head.weight.mul_(0.1)
        dc_net.to_layers.bias[3 + LAYERS.index("warped")] = 4.0
    return DCNetPipeline(dc_net, shipped_pipeline)


@pytest.fixture(scope="module")
def photo():
    return wander(0).copy()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A second of a face that comes nearer, with sound."""
    folder = tmp_path_factory.mktemp("clip")
    with av.open(str(folder / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        wave = (8000 * np.sin(np.arange(16000) * 0.2)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(wave, "s16", "mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = [wander(0, 0, 1 + 0.015 * i) for i in range(10)]
    return write(folder / "clip.mp4", frames, audio_from=folder / "sound.wav")


# Portraits ------------------------------------------------------------------------------------------------------------


def test_the_window_is_whole_and_round_the_head(pipeline, photo):
    portrait = pipeline.prepare(photo, box=FACE)
    crop, config = portrait.crop, pipeline.dc_net.config
    low, high = portrait.face.landmarks.min(0), portrait.face.landmarks.max(0)
    assert crop.side == round(config.crop_scale * (high - low).max())
    corner = crop.to_image(np.zeros(2), 1)
    np.testing.assert_allclose(corner, np.round(corner), atol=1e-6)
    assert crop.centre[1] < (low[1] + high[1]) / 2
    assert portrait.draw([portrait.motion] * 3).shape == (3, round(crop.side), round(crop.side), 3)
    assert pipeline.prepare(photo, box=FACE, size=50).draw([portrait.motion]).shape == (1, 50, 50, 3)
    assert pipeline.prepare(photo, box=FACE, most=64).size == 64


def test_the_window_sees_the_head_where_it_is(pipeline, photo):
    """The mesh before the window's camera lies on the mesh in the photo; moved, it moves along."""
    portrait = pipeline.prepare(photo, box=FACE)
    face, motion = portrait.face, portrait.motion
    moved = replace(motion, position=motion.position + (10, -6), scale=motion.scale * 1.2)
    view = portrait.view([motion, moved])
    points = project(view.vertices, view.rotation, view.translation, view.K)[..., :2]
    chosen = face.model.landmark_vertices[17:].numpy()
    points = portrait.crop.to_image(points[:, chosen].numpy(), 1)
    seen = (face.vertices @ face.rotation.T + face.translation) @ face.intrinsics.T
    np.testing.assert_allclose(points[0], (seen[:, :2] / seen[:, 2:])[chosen], atol=0.05)
    grown = (points[0] - motion.position) * 1.2 + motion.position + (10, -6)
    np.testing.assert_allclose(points[1], grown, atol=1.5)  # a nearer head is seen in a little more perspective


def test_an_unmoved_head_stays_nearly_as_it_is(pipeline, photo):
    portrait = pipeline.prepare(photo, box=FACE)
    still = portrait.paste(portrait.draw([portrait.motion])[0]).astype(int)
    turned = pipeline.edit(portrait, yaw=30).image.astype(int)
    assert np.abs(still - photo).mean() < 0.3 * np.abs(turned - photo).mean()


def test_light_of_the_driver(pipeline, photo):
    torch.manual_seed(1)
    dc_net = DCNet(image_size=32, width=16).eval()
    torch.nn.init.normal_(dc_net.to_adjustments.weight, std=0.3)  # enough that what it is told shows
    portrait = Portrait(pipeline.prepare(photo, box=FACE).face, dc_net, pipeline.reconstruction.morphable_model)
    lit = replace(portrait.motion, light=portrait.motion.light.copy())
    lit.light[3] += 1.5  # from the right
    of_source = portrait.draw([portrait.motion, lit]).astype(int)
    of_driver = portrait.draw([portrait.motion, lit], light="driving").astype(int)
    assert np.abs(of_source[0] - of_source[1]).max() <= 1
    assert np.abs(of_driver[0] - of_driver[1]).mean() > 20 * np.abs(of_source[0] - of_source[1]).mean() + 0.02
    strong = replace(portrait.motion, light=2 * portrait.motion.light)  # stronger, but from where it was
    still = portrait.draw([portrait.motion, strong], light="driving").astype(int)
    assert np.abs(still - of_source[:1]).max() <= 1


def test_several_faces(pipeline):
    picture = EXAMPLES / "rendered_four.jpg"
    faces = pipeline.reconstruction(picture).faces
    portrait = pipeline.prepare(picture, face=3, size=32)
    np.testing.assert_allclose(portrait.face.box, faces[3].box, atol=0.1)
    with pytest.raises(LirecError, match="4 faces, so face is a number from 0 to 3, not 4"):
        pipeline.prepare(picture, face=4)


# Videos ---------------------------------------------------------------------------------------------------------------


def test_video_with_sound(pipeline, photo, clip, tmp_path):
    seen = []
    result = pipeline(photo, clip, tmp_path / "out.mp4", box=FACE, callback=seen.append)
    assert result.path == tmp_path / "out.mp4" and result.finished and result.seconds > 0
    assert (result.frame_count, result.frame_rate, result.held, result.cuts) == (10, 10, [], [])
    assert 0 <= result.reference_time < 1
    assert [progress.done for progress in seen] == list(range(1, 11)) and seen[0].total == 10
    assert seen[0].seconds_left > seen[-1].seconds_left == 0
    with open_video(result.path) as video:
        frames = list(video)
        assert video.size == (160, 160) and video.has_audio
    assert [frame.time for frame in frames] == pytest.approx(np.arange(10) / 10, abs=1e-3)
    # the background at the rim stays the photo's, the face grows
    assert np.abs(frames[-1].image[:, -6:].astype(int) - photo[:, -6:]).mean() < 4
    faces = [pipeline.reconstruction(frame.image, boxes=[FACE]).faces[0] for frame in (frames[0], frames[-1])]
    assert np.ptp(faces[1].landmarks[:, 0]) > 1.05 * np.ptp(faces[0].landmarks[:, 0])


def test_callback_stops_and_keeps_what_is_finished(pipeline, photo, clip, tmp_path):
    result = pipeline(photo, clip, tmp_path / "out.mp4", box=FACE, callback=lambda progress: progress.done < 4)
    assert not result.finished and result.frame_count == 4
    with open_video(result.path) as video:
        assert len(list(video)) == 4


def test_an_error_keeps_what_is_finished(pipeline, photo, clip, tmp_path):
    def fail(progress):
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline(photo, clip, tmp_path / "out.mp4", box=FACE, callback=fail)
    with open_video(tmp_path / "out.mp4") as video:
        assert len(list(video)) == 3


def test_frames_come_one_by_one(pipeline, photo, clip):
    frames = pipeline.frames(photo, clip, box=FACE, paste=False, size=40)
    first = list(itertools.islice(frames, 3))
    frames.close()
    assert [frame.image.shape for frame in first] == [(40, 40, 3)] * 3
    assert [frame.time for frame in first] == pytest.approx([0, 0.1, 0.2])
    assert next(pipeline.frames(photo, clip, box=FACE, paste=False)).image.shape == (256, 256, 3)


def test_lost_faces_are_held_and_cuts_listed(pipeline, photo, tmp_path):
    driver = [wander(0)] * 2 + [empty()] * 2 + [wander(10)] * 2
    result = pipeline(photo, driver, tmp_path / "out.mp4", box=FACE)
    assert result.held == pytest.approx([0.08, 0.12]) and result.cuts == pytest.approx([0.08, 0.16])
    with open_video(result.path) as video:
        frames = [frame.image.astype(int) for frame in video]
    assert np.abs(frames[2] - frames[1]).mean() < 1  # but for H.264


def test_a_driver_who_comes_late(pipeline, photo):
    frames = list(pipeline.frames(photo, [empty()] * 2 + [wander(0)] * 3, box=FACE, smoothing=False))
    assert [frame.held for frame in frames] == [True, True, False, False, False]


def test_a_picture_drives_absolutely(pipeline, photo, tmp_path):
    driver = Image.open(EXAMPLES / "rendered_open_mouth.jpg")
    result = pipeline(photo, driver, tmp_path / "out.png", box=FACE)
    assert result.frame_count == 1 and result.reference_time is None
    assert np.asarray(Image.open(tmp_path / "out.png")).shape == photo.shape
    opened = pipeline.reconstruction(driver).faces[0].expression[pipeline.expression_names.index("jawOpen")]
    drive = pipeline._start(photo, driver, box=FACE)
    ((motion, _),) = drive.motions()
    assert motion.expression[pipeline.expression_names.index("jawOpen")] == pytest.approx(opened, abs=0.15)
    with pytest.raises(LirecError, match="single driving picture"):
        pipeline(photo, [driver, driver], tmp_path / "out.png", box=FACE)


def test_motion_capture_drives(pipeline, photo, tmp_path):
    values = np.zeros((5, 51), np.float32)
    values[:, pipeline.expression_names.index("jawOpen")] = np.linspace(0, 0.8, 5)
    result = pipeline(photo, values, tmp_path / "out.mp4", box=FACE, smoothing=False)
    assert (result.frame_count, result.frame_rate) == (5, 30)
    still, *_, opened = (frame.image.astype(int) for frame in pipeline.frames(photo, values, box=FACE, smoothing=False))
    change = np.abs(opened - still).mean(2)
    low, high = np.float32([FACE[0], (FACE[1] + FACE[3]) / 2]).astype(int), FACE[2:].astype(int)
    mouth = change[low[1] : high[1] + 10, low[0] : high[0]].mean()
    assert mouth > 3 * change[:40].mean() and mouth > 1


def test_strength_none_is_the_photo_as_drawn(pipeline, photo, clip):
    portrait = pipeline.prepare(photo, box=FACE)
    still = portrait.paste(portrait.draw([portrait.motion])[0])
    for frame in pipeline.frames(photo, clip, box=FACE, strength=0.0):
        assert np.abs(frame.image.astype(int) - still).max() <= 2


def test_large_photos_are_shrunk_for_videos_with_their_box(pipeline, photo, monkeypatch):
    monkeypatch.setattr("lirec.pipelines.reenactment.MAX_SIDE", 100)
    (frame,) = pipeline.frames(photo, wander(0), box=FACE)
    assert frame.image.shape == (100, 100, 3)
    (face,) = pipeline.reconstruction(frame.image, boxes=[FACE * 100 / 160]).faces
    np.testing.assert_allclose(face.box, FACE * 100 / 160, atol=10)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"light": "moon"}, "source or of the driving"),
        ({"motion": "wild"}, "relative or absolute"),
        ({"size": 3}, "between 16 and 4096"),
        ({"reference": 99}, "0 to 9, not 99"),
        ({"face": 7}, "face is a number"),
    ],
)
def test_wrong_settings(pipeline, photo, clip, wrong, sentence):
    with pytest.raises(LirecError, match=sentence):
        pipeline.frames(photo, clip, **({} if "face" in wrong else {"box": FACE}), **wrong)


def test_no_faces_and_wrong_outputs(pipeline, photo, clip, tmp_path):
    with pytest.raises(LirecError, match="No face was found in the photo"):
        pipeline.frames(empty(), clip)
    for driver in ([empty()] * 3, empty()):
        with pytest.raises(LirecError, match="No face was found in what drives"):
            pipeline.frames(photo, driver, box=FACE)
    with pytest.raises(LirecError, match=r"\.mp4"):
        pipeline(photo, clip, tmp_path / "out.avi")
    with pytest.raises(LirecError, match="no folder"):
        pipeline(photo, clip, tmp_path / "no" / "out.mp4")
    for wrong in ("face", [1, 2, 3, None]):
        with pytest.raises(LirecError, match="Boxes are a list of"):
            pipeline(photo, clip, tmp_path / "out.mp4", box=wrong)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(LirecError):
        pipeline(photo, tmp_path / "text.mp4", tmp_path / "out.mp4", box=FACE)
    assert not (tmp_path / "out.mp4").exists()


def test_the_driver_is_not_written_over(pipeline, photo, tmp_path):
    silent = write(tmp_path / "silent.mp4", [wander(0)] * 2)
    Image.fromarray(wander(0)).save(tmp_path / "picture.png")
    for driver, output in ((silent, silent), ([tmp_path / "picture.png"], tmp_path / "picture.png")):
        before = output.read_bytes()
        with pytest.raises(LirecError, match="read and written at once"):
            pipeline(photo, driver, output, box=FACE)
        assert output.read_bytes() == before


def test_check_before_use(pipeline, clip):
    found = pipeline.check(clip)
    assert found.usable and found.has_sound and found.expected_seconds > 0
    assert any("frames a second, 160 x 160 px, with sound" in sentence for sentence in found.sentences)


# Editing --------------------------------------------------------------------------------------------------------------


def test_edit_changes_photo_and_mesh_together(pipeline):
    before = pipeline.prepare(ASTRONAUT)
    edited = pipeline.edit(before, jawOpen=0.7, yaw=15, gaze_x=10)
    assert edited.image.shape == before.face.image.shape and edited.crop.shape == (before.size, before.size, 3)
    face = edited.face
    assert face.expression[face.expression_names.index("jawOpen")] == pytest.approx(0.7)
    assert np.degrees(face.angles[1] - before.face.angles[1]) == pytest.approx(15, abs=0.5)
    np.testing.assert_allclose(face.identity, before.face.identity)
    lips = (face.landmarks[66] - face.landmarks[62])[1], (before.face.landmarks[66] - before.face.landmarks[62])[1]
    assert lips[0] > lips[1] + 5
    # the picture's own face agrees with the mesh about the turn
    (seen,) = pipeline.reconstruction(edited.image, boxes=[face.box]).faces
    assert np.degrees(seen.angles[1] - before.face.angles[1]) > 7
    changed = np.abs(edited.image.astype(int) - before.face.image).max(2)
    assert changed.max() > 50 and changed[:, -40:].max() == 0
    left, top, right, bottom = (
        max(round(middle + sign * before.crop.side / 2), 0) for sign in (-1, 1) for middle in before.crop.centre
    )
    assert 0 < bottom - top < len(changed) and 0 < right - left < len(changed[0])
    changed[top:bottom, left:right] = 0
    assert changed.max() == 0


def test_edit_from_a_path_and_wrong_names(pipeline, tmp_path):
    assert pipeline.edit(ASTRONAUT, size=48).crop.shape == (48, 48, 3)
    with pytest.raises(LirecError, match="did you mean jawOpen"):
        pipeline.edit(tmp_path / "nowhere.jpg", jawOpn=0.5)


# Stored ---------------------------------------------------------------------------------------------------------------


def test_saved_without_the_reconstruction_and_loaded_beside_it(pipeline, shipped_pipeline, photo, tmp_path):
    pipeline.save_pretrained(tmp_path / "dc-net")
    assert {path.name for path in (tmp_path / "dc-net").iterdir()} == {"dc_net", "model_index.json"}
    index = json.loads((tmp_path / "dc-net" / "model_index.json").read_text())
    assert index["reconstruction_id"] == "rec-aug-net" and "reconstruction" not in index
    with pytest.raises(LirecError, match="no rec-aug-net beside"):
        DCNetPipeline.from_pretrained(tmp_path / "dc-net")
    given = DCNetPipeline.from_pretrained(tmp_path / "dc-net", reconstruction=shipped_pipeline)
    assert given.reconstruction is shipped_pipeline
    shipped_pipeline.save_pretrained(tmp_path / "rec-aug-net")
    beside = DCNetPipeline.from_pretrained(tmp_path / "dc-net")
    for loaded in (given, beside):
        images = [each.edit(photo, box=FACE, yaw=10).image.astype(int) for each in (loaded, pipeline)]
        assert np.abs(images[0] - images[1]).mean() < 0.5  # weights are stored in half precision


def test_to_moves_both(shipped_pipeline):
    parts = copy.deepcopy(shipped_pipeline.rec_net), copy.deepcopy(shipped_pipeline.morphable_model)
    pipeline = DCNetPipeline(DCNet(image_size=32, width=16), type(shipped_pipeline)(*parts))
    assert pipeline.to(torch.float64) is pipeline
    assert pipeline.dc_net.dtype == pipeline.reconstruction.rec_net.dtype == torch.float64
