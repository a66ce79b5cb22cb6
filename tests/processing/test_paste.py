"""A changed square goes back into its photo without a seam."""

import numpy as np
import pytest
from PIL import Image

from lirec.processing.crop import Crop
from lirec.processing.paste import PasteBack


@pytest.fixture(scope="module")
def photo():
    noise = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((200, 150), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("crop", [Crop((100, 70), 80), Crop((20, 20), 90), Crop((150, 140), 101), Crop((100, 75), 400)])
def test_an_unchanged_patch_changes_nothing(photo, crop):
    crop = Crop(crop.centre if crop.side % 2 == 0 else (150.5, 140.5), crop.side)
    paste = PasteBack(photo, crop)
    size = round(crop.side)
    np.testing.assert_array_equal(paste(crop.extract(photo, size)), photo)


def test_the_middle_is_the_patch_and_the_outside_the_photo(photo):
    crop = Crop((100, 70), 80)
    patch = crop.extract(photo, 80)
    changed = patch.copy()
    changed[30:50, 30:50] = (255, 0, 0)
    result = PasteBack(photo, crop)(changed)
    np.testing.assert_array_equal(result[60:80, 90:110], changed[30:50, 30:50])
    outside = np.ones(photo.shape[:2], bool)
    outside[30:110, 60:140] = False
    np.testing.assert_array_equal(result[outside], photo[outside])


def test_no_step_along_the_rim(photo):
    flat = np.full_like(photo, 120)
    crop = Crop((100, 70), 80)
    result = PasteBack(flat, crop)(np.full((80, 80, 3), 180, np.uint8)).astype(int)
    steps = np.abs(np.diff(result, axis=1)).max(), np.abs(np.diff(result, axis=0)).max()
    assert max(steps) < 20 and result.max() > 160


def test_a_slight_difference_of_colour_is_taken_off(photo):
    crop = Crop((100, 70), 80)
    patch = crop.extract(photo, 80)
    tinted = (patch.astype(int) + (6, -4, 3)).clip(0, 255).astype(np.uint8)
    result = PasteBack(photo, crop)(tinted).astype(int)
    assert np.abs(result - photo).mean() < 0.5


def test_at_the_photos_own_border_nothing_fades(photo):
    crop = Crop((30, 75), 80)  # reaches beyond the left border
    result = PasteBack(photo, crop)(np.full((80, 80, 3), 255, np.uint8))
    assert (result[75, 0] > 235).all()
    np.testing.assert_array_equal(result[75, 70:], photo[75, 70:])


def test_patches_of_another_size(photo):
    crop = Crop((100, 70), 80)
    result = PasteBack(photo, crop)(crop.extract(photo, 160))
    assert np.abs(result.astype(int) - photo).mean() < 3
    assert result.shape == photo.shape and result.dtype == np.uint8
