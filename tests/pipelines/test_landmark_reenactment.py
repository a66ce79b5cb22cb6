"""Photos driven by landmarks of pictures, videos and arrays."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lirec import LINetPipeline, LirecError
from lirec.geometry.landmarks import box_normalised
from lirec.models.li_net import LAYERS, ExpressionGenerator, FaceRotator, LandmarkTransformer
from lirec.pipelines.landmark_reenactment import LandmarkSmoother
from lirec.pipelines.tracking import Motion
from lirec.processing.motion_capture import MotionCapture
from lirec.processing.video import open_video
from tests.pipelines.clips import ASTRONAUT, FACE, empty, wander, write


@pytest.fixture(scope="module")
def pipeline(shipped_pipeline, landmark_lifter):
    """Tiny networks: T leaves landmarks as they are, R and G let moved pixels through, and little else."""
    torch.manual_seed(0)
    transformer = LandmarkTransformer(guided=False, width=16, depth=1).eval()
    torch.nn.init.zeros_(transformer.to_shift.weight)
    rotator, generator = FaceRotator(image_size=32, width=8).eval(), ExpressionGenerator(image_size=32, width=8).eval()
    with torch.no_grad():
        generator.to_layers.bias[3 + LAYERS.index("warped")] = 4.0
    return LINetPipeline(transformer, landmark_lifter, rotator, generator, shipped_pipeline)


@pytest.fixture(scope="module")
def photo():
    return wander(0).copy()


@pytest.fixture(scope="module")
def portrait(pipeline, photo):
    return pipeline.prepare(photo, box=FACE)


def tilted(points, angle=0.2):
    """Landmarks turned in the picture, about their middle."""
    turn = np.float32([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (points - points.mean(0)) @ turn + points.mean(0)


# Pictures -------------------------------------------------------------------------------------------------------------


def test_a_photo_and_all_the_steps(pipeline, photo, portrait):
    output = pipeline(portrait, wander(8))
    assert output.image.shape == photo.shape and output.image.dtype == np.uint8
    size = portrait.size
    for picture in (output.crop, output.source, output.rotated):
        assert picture.shape == (size, size, 3)
    names = [name for _, name in output.steps()]
    assert names == ["1 source", "2 driver", "3 transformed", "4 rotated", "5 result"]
    assert all(picture.shape == (256, 256, 3) and picture.max() > 200 for picture, _ in output.steps()[:3])
    # the driver is the same face, moved: it stays where it is
    assert np.abs(output.landmarks - portrait.motion.landmarks).mean() < 4
    assert np.abs(output.image.astype(int) - photo).mean() < 12


def test_pixels_follow_the_landmarks(pipeline, photo, portrait):
    points = portrait.motion.landmarks
    still, turned = pipeline(portrait, points), pipeline(portrait, tilted(points))
    np.testing.assert_allclose(still.landmarks, points, atol=0.01)
    assert np.abs(turned.image.astype(int) - photo).mean() > 1.5 * np.abs(still.image.astype(int) - photo).mean()
    again = pipeline.prepare(turned.image, box=FACE).motion.landmarks
    eyes = [marks[42:48].mean(0) - marks[36:42].mean(0) for marks in (points, again, turned.landmarks)]
    lean = [np.arctan2(eye[1], eye[0]) for eye in eyes]
    assert abs(lean[2] - lean[0]) > 0.15 and (lean[1] - lean[0]) / (lean[2] - lean[0]) > 0.5


def test_the_transformer_can_be_left_out(pipeline, portrait):
    points = tilted(portrait.motion.landmarks) * (1.2, 1)
    transformer = LandmarkTransformer(width=16, depth=1).eval()
    torch.nn.init.normal_(transformer.to_shift.bias[:136], std=1.0)
    given = LINetPipeline(transformer, pipeline.landmark_lifter, pipeline.face_rotator, pipeline.expression_generator,
                          pipeline.reconstruction)  # fmt: skip
    with_it, without = given(portrait, points), given(portrait, points, transform=False)
    wanted = box_normalised(torch.from_numpy(points).float()[None])

    def shape(landmarks):
        return box_normalised(torch.from_numpy(landmarks)[None])

    torch.testing.assert_close(shape(without.landmarks), wanted, atol=1e-4, rtol=0)
    assert (shape(with_it.landmarks) - wanted).abs().mean() > 0.005


def test_bad_input_gives_sentences(pipeline, photo, portrait, tmp_path):
    with pytest.raises(LirecError, match="No face was found in the driving picture"):
        pipeline(portrait, empty())
    with pytest.raises(LirecError, match="No face was found in the photo"):
        pipeline(empty(), photo)
    with pytest.raises(LirecError, match="use `animate`"):
        pipeline(portrait, [photo, photo])
    with pytest.raises(LirecError, match="Motion capture has no landmarks"):
        pipeline(portrait, np.zeros((3, 51), np.float32))
    with pytest.raises(LirecError, match="68 points"):
        pipeline(portrait, np.full((68, 2), np.nan, np.float32))
    with pytest.raises(LirecError, match="between 16 and 4096"):
        pipeline(photo, photo, size=5)
    with pytest.raises(LirecError, match=r"end the name out.avi in .mp4"):
        pipeline.animate(photo, photo, tmp_path / "out.avi")


# Videos ---------------------------------------------------------------------------------------------------------------


def test_video(pipeline, photo, tmp_path):
    clip = write(tmp_path / "clip.mp4", [wander(2 * i) for i in range(5)] + [empty()] * 2)
    seen = []
    result = pipeline.animate(photo, clip, tmp_path / "out.mp4", box=FACE, callback=seen.append)
    assert (result.frame_count, result.frame_rate, result.finished) == (7, 10, True)
    assert len(result.held) == 2 and len(seen) == 7 and result.reference_time is None
    with open_video(result.path) as video:
        assert video.size == (160, 160) and len(list(video)) == 7


def test_landmarks_drive_a_video_and_a_picture_is_written(pipeline, photo, portrait, tmp_path):
    points = portrait.motion.landmarks
    landmarks = np.stack([tilted(points, angle) for angle in (0, 0.1, 0.2)])
    frames = list(pipeline.frames(photo, landmarks, box=FACE, paste=False, size=48))
    assert [frame.image.shape for frame in frames] == [(48, 48, 3)] * 3
    assert (frames[0].image != frames[2].image).any()
    pipeline.animate(photo, landmarks[:1], tmp_path / "out.png", box=FACE)
    assert Image.open(tmp_path / "out.png").size == (160, 160)


def test_rows_without_landmarks_are_held(pipeline, photo, portrait, tmp_path):
    landmarks = np.stack([portrait.motion.landmarks] * 4)
    landmarks[[0, 2]] = 0
    result = pipeline.animate(photo, landmarks, tmp_path / "out.mp4", box=FACE)
    assert result.frame_count == 4 and result.held == pytest.approx([0, 0.08])
    with pytest.raises(LirecError, match="show no face"):
        pipeline(portrait, landmarks[0])


def test_check_before_use(pipeline, portrait, tmp_path):
    found = pipeline.check(write(tmp_path / "clip.mp4", [wander(0)] * 3))
    assert found.usable and found.expected_seconds > 0 and found.reference_time is None
    assert not any("compared" in sentence for sentence in found.sentences)
    landmarks = np.stack([portrait.motion.landmarks, np.zeros((68, 2), np.float32)])
    found = pipeline.check(landmarks)
    assert found.usable and found.missing == [0.04]
    assert found.sentences[0] == "Landmarks of 0.1 s, 2 frames." and "0.0 s" in found.sentences[1]
    MotionCapture.from_arrays(np.zeros((2, 51)), names=pipeline.expression_names).save(tmp_path / "take.csv")
    with pytest.raises(LirecError, match="Motion capture has no landmarks"):
        pipeline.check(tmp_path / "take.csv")


def test_a_driver_that_wanders_moves_the_head_within_limits(pipeline, portrait):
    source = portrait.motion
    points = tilted(source.landmarks)
    driver = replace(Motion.at_rest(), landmarks=points)
    transfer = pipeline._transfer(portrait, transform=True)
    first = transfer(driver).landmarks
    side = np.ptp(points, axis=0).max()
    near = transfer(replace(driver, landmarks=points + (0.05 * side, 0))).landmarks
    np.testing.assert_allclose((near - first).mean(0), [0.05 * np.ptp(source.landmarks, axis=0).max(), 0], atol=0.5)
    far = transfer(replace(driver, landmarks=points * 3 + 500)).landmarks
    assert np.abs(far.mean(0) - first.mean(0)).max() < 0.45 * np.ptp(source.landmarks, axis=0).max()
    transfer.start(None)
    np.testing.assert_allclose(transfer(replace(driver, landmarks=points * 3 + 500)).landmarks, first, atol=0.05)


def test_smoothing_is_calm_and_starts_anew():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (68, 2))
    smoother = LandmarkSmoother()
    noisy = [points + rng.normal(0, 0.5, points.shape) for _ in range(40)]
    given = [smoother(replace(Motion.at_rest(), landmarks=p), i / 25).landmarks for i, p in enumerate(noisy)]
    assert np.std(given[10:], axis=0).mean() < 0.6 * np.std(noisy[10:], axis=0).mean()
    smoother.reset()
    moved = smoother(replace(Motion.at_rest(), landmarks=points + 300), 3.0).landmarks
    np.testing.assert_allclose(moved, points + 300, atol=0.01)


# Files ----------------------------------------------------------------------------------------------------------------


def test_saved_and_loaded(pipeline, portrait, shipped_pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "li-net")
    assert not (tmp_path / "li-net" / "rec_net").exists()
    again = LINetPipeline.from_pretrained(tmp_path / "li-net", reconstruction=shipped_pipeline)
    assert again.config.reconstruction_id == "rec-aug-net"
    points = tilted(portrait.motion.landmarks)
    first, second = pipeline(portrait, points), again(again.prepare(portrait.face.image, box=FACE), points)
    assert np.abs(first.image.astype(int) - second.image).max() < 12
    with pytest.raises(LirecError, match="no rec-aug-net beside"):
        LINetPipeline.from_pretrained(tmp_path / "li-net")


def test_a_whole_photo(pipeline):
    output = pipeline(ASTRONAUT, ASTRONAUT, size=64)
    assert output.image.shape == np.asarray(Image.open(ASTRONAUT)).shape
