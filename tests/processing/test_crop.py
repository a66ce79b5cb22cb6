import math

import numpy as np
import pytest
import torch

from lirec.errors import LirecError
from lirec.processing.crop import Crop


def smooth_picture(height=160, width=200):
    """A picture whose value at a point is known: red and green are smooth waves of x and y."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return np.stack([wave(x), wave(y), np.full_like(x, 40)], -1).round().astype(np.uint8)


def wave(position):
    return 128 + 100 * np.sin(position / 12)


CROPS = [
    Crop((100, 80), 64),
    Crop((100.3, 80.7), 101.5),
    Crop((90, 70), 70, 0.4),
    Crop((95, 85), 30, -1.2),
    Crop((100, 80), 60, math.pi / 2),
]


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [32, 64])
def test_extract_shows_what_the_matrix_says(crop, size):
    patch = crop.extract(smooth_picture(), size)
    assert patch.shape == (size, size, 3) and patch.dtype == np.uint8
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1)
    expected = wave(crop.to_image(grid, size))
    assert np.abs(patch[..., :2] - expected).max() < 8
    assert np.abs(patch[..., :2] - expected).mean() < 2


def test_positive_angle_is_content_turned_counter_clockwise():
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[10:20, 45:55] = 255  # above the middle
    # Turned counter-clockwise by a quarter, the upright content's right side lies above the middle.
    patch = Crop((50, 50), 100, math.pi / 2).extract(picture, 100)
    bright = np.argwhere(patch[..., 0] > 128).mean(0) + 0.5
    np.testing.assert_allclose(bright, [50, 85], atol=0.6)


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_shrinking_does_not_alias(angle):
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    patch = Crop((256, 256), 360, angle).extract(stripes, 60).astype(int)
    assert np.abs(patch - 128).max() < 12


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_beyond_the_picture_its_border_goes_on(angle):
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 20:] = 200
    patch = Crop((40, 20), 80, angle).extract(picture, 80)
    assert patch[40, 75, 0] == 200 and patch[40, 5, 0] == 0
    assert Crop((500, 500), 50, angle).extract(picture, 16).min() == 200
    assert Crop((20, 20), 4000, angle).extract(picture, 16).shape == (16, 16, 3)


def test_points_there_and_back():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 200, (3, 68, 2))
    for crop in CROPS:
        back = crop.to_image(crop.to_crop(points, 96), 96)
        np.testing.assert_allclose(back, points, atol=1e-9)
        tensor = torch.from_numpy(points).float()
        there = crop.to_crop(tensor, 96)
        assert isinstance(there, torch.Tensor) and there.dtype == torch.float32
        np.testing.assert_allclose(there.numpy(), crop.to_crop(points, 96), atol=1e-3)
        np.testing.assert_allclose(crop.to_crop(np.array(crop.centre), 96), [48, 48], atol=1e-9)
        homogeneous = np.append(points[0, 0], 1) @ crop.matrix(96).T
        np.testing.assert_allclose(homogeneous[:2], crop.to_crop(points[0, 0], 96), atol=1e-9)


def rotation_x(angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_z(angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def project(points, rotation, translation, intrinsics):
    camera = points @ np.swapaxes(rotation, -1, -2) + translation[..., None, :]
    pixels = camera @ np.swapaxes(intrinsics, -1, -2)
    return pixels[..., :2] / pixels[..., 2:]


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_pose_projects_to_the_same_place_in_crop_and_picture(crop, kind):
    rng = np.random.default_rng(1)
    points = rng.normal(0, 0.06, (2, 20, 3))
    flip = np.diag([1.0, -1.0, -1.0])
    rotation = np.stack([flip @ rotation_x(0.3), flip @ rotation_z(0.7)])
    translation = np.array([[0.01, -0.02, 0.6], [0.0, 0.03, 1.1]])
    focal = np.array([3.2, 5.0])
    camera = np.zeros((2, 3, 3))
    camera[:, 0, 0] = camera[:, 1, 1] = 128 * focal
    camera[:, :2, 2], camera[:, 2, 2] = 64, 1
    inside = project(points, rotation, translation, camera)
    if kind == "torch":
        given = [torch.from_numpy(value) for value in (rotation, translation, focal)]
        outside = [value.numpy() for value in crop.to_image_camera(*given)]
    else:
        outside = crop.to_image_camera(rotation, translation, focal)
    np.testing.assert_allclose(crop.to_image(inside, 128), project(points, *outside), atol=1e-9)


def test_the_angle_adds_to_the_roll():
    flip = np.diag([1.0, -1.0, -1.0])
    turned, _, _ = Crop((10, 10), 5, 0.3).to_image_camera(flip @ rotation_z(0.2), np.zeros(3), np.array(2.0))
    np.testing.assert_allclose(turned, flip @ rotation_z(0.5), atol=1e-12)


def test_from_box_and_landmarks():
    crop = Crop.from_box((10, 20, 50, 40), scale=1.5)
    assert crop == Crop((30, 30), 60)
    points = np.array([[10.0, 20.0], [50.0, 30.0], [20.0, 40.0]])
    assert Crop.from_landmarks(points, scale=1.5) == crop
    assert Crop.from_landmarks(torch.from_numpy(points), scale=1.5) == crop
    # The same points, turned with the picture: the same window, turned.
    turn = Crop((7, 3), 100, 0.8)
    turned = Crop.from_landmarks(turn.to_image(points, 100), angle=0.8, scale=1.5)
    np.testing.assert_allclose(turned.centre, turn.to_image(np.array([30.0, 30.0]), 100), atol=1e-9)
    assert turned.side == pytest.approx(60)


def test_impossible_crops_give_a_sentence():
    for arguments in [((0, 0), 0), ((0, 0), -3), ((math.nan, 0), 4), ((0, 0), 4, math.inf)]:
        with pytest.raises(LirecError, match="finite numbers"):
            Crop(*arguments)
    with pytest.raises(LirecError, match="x1 < x2"):
        Crop.from_box((5, 5, 5, 9))
    with pytest.raises(LirecError, match="smaller box"):
        Crop((0, 0), 1e6).extract(np.zeros((8, 8, 3), np.uint8), 64)
