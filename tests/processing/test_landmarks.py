import numpy as np
import pytest
import torch

from lirec.errors import LirecError
from lirec.processing.landmarks import PARTS, FaceAlignmentLandmarks, draw_landmarks


@pytest.fixture
def points():
    """Each of the 68 points at a place of its own, parts apart from one another."""
    points = np.zeros((68, 2), np.float32)
    for row, (first, last, _, _) in enumerate(PARTS.values()):
        points[first : last + 1, 0] = np.linspace(10, 118, last - first + 1)
        points[first : last + 1, 1] = 10 + 12 * row
    return points


def test_every_part_has_its_colour_at_its_place(points):
    picture = draw_landmarks(points, 128)
    assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
    for row, (*_, colour) in enumerate(PARTS.values()):
        y = 10 + 12 * row
        band = picture[y - 1 : y + 1, 60].astype(float).sum(0)  # the pixels above and below the line's middle
        assert band.max() > 0.9 * max(colour)
        np.testing.assert_allclose(band * max(colour) / band.max(), colour, atol=4)
    assert picture[:8].max() == 0
    assert len({colour for *_, colour in PARTS.values()}) == len(PARTS)
    covered = sorted(index for first, last, *_ in PARTS.values() for index in range(first, last + 1))
    assert covered == list(range(68))


def test_sizes_tensors_and_drawing_over_a_picture(points):
    assert draw_landmarks(torch.from_numpy(points), (96, 160)).shape == (96, 160, 3)
    photo = np.full((128, 128, 3), 77, np.uint8)
    drawn = draw_landmarks(points, 128, over=photo)
    assert (drawn[:8] == 77).all() and (drawn != 77).any() and (photo == 77).all()
    assert draw_landmarks(points - 1000, 64).max() == 0  # outside: nothing, and no error
    with pytest.raises(ValueError, match=r"\(68, 2\)"):
        draw_landmarks(points[:5], 64)


def test_landmarks_without_weights_give_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not FaceAlignmentLandmarks.available()
    with pytest.raises(LirecError, match="not cached"):
        FaceAlignmentLandmarks()


@pytest.mark.skipif(not FaceAlignmentLandmarks.available(), reason="2DFAN weights are not cached")
def test_landmarks_of_a_real_photo():
    data = pytest.importorskip("skimage.data")
    found = FaceAlignmentLandmarks().locate(data.astronaut(), np.array([[180, 85, 270, 195]]))
    assert found.shape == (1, 68, 2)
    eyes = found[0, 36:48].mean(0)
    assert np.abs(eyes - [226, 105]).max() < 15
