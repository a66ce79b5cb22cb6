"""The tab that moves photos by landmarks, as its users meet it: driven in headless Chromium."""

import io

import numpy as np
import pytest
from PIL import Image

from app_reenactment import check_driving
from lirec.processing.image import load_image
from tests.browsing import EXAMPLES, LONG, beginning, download, message, open_tab, running_app, upload

PHOTO, DRIVER = EXAMPLES / "astronaut.jpg", EXAMPLES / "rendered_open_mouth.jpg"
FACE = np.s_[55:175, 175:275]  # in the photo


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("app") / "log.txt") as url:
        yield url


@pytest.fixture
def page(browser, address):
    page = open_tab(browser, address, "Landmark reenactment")
    yield page
    page.close()


@pytest.fixture(scope="module")
def moved(browser, address):
    """A page with a moved face."""
    page = open_tab(browser, address, "Landmark reenactment")
    upload(page, PHOTO, "#landmark-source")
    page.wait_for_selector("#landmark-source img")
    upload(page, DRIVER, "#landmark-driver")
    page.wait_for_selector("#landmark-whole img", timeout=LONG)
    yield page
    page.close()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)


def test_the_first_tab_is_this_one(page):
    assert page.locator("#landmark-source-examples img").count() == 4
    assert page.locator("#landmark-driver-examples img").count() == 4
    assert page.locator("#landmark-start").is_visible()


def test_result_and_steps(moved):
    result, photo = pixels(download(moved, "landmark-picture")), load_image(PHOTO)
    assert result.shape == photo.shape
    change = np.abs(result - photo).mean(2)
    assert change[FACE].mean() > 4 and change[350:].max() == 0  # only the head moves
    moved.locator("#landmark-steps img").nth(4).wait_for()
    text = moved.inner_text("#landmark-steps")
    assert moved.locator("#landmark-steps img").count() >= 5 and "transformed" in text and "rotated" in text
    moved.locator("#landmark-slider img").nth(1).wait_for()
    assert moved.locator("#landmark-slider img").count() == 2


def test_without_the_transformer_it_is_another_picture(moved):
    before = moved.get_attribute("#landmark-whole img", "src")
    moved.locator("#landmark-transform input").uncheck()
    moved.wait_for_function(f"document.querySelector('#landmark-whole img').src != '{before}'", timeout=LONG)
    moved.locator("#landmark-transform input").check()


def test_without_a_photo_or_a_driver(page):
    page.click("#landmark-start")
    message(page, "There is no picture yet")
    upload(page, PHOTO, "#landmark-source")
    page.wait_for_selector("#landmark-source img")
    page.click("#landmark-start")
    message(page, "There is no driving picture yet")


def test_driver_without_a_face(page, tmp_path):
    Image.new("RGB", (200, 200), (90, 120, 60)).save(tmp_path / "grass.png")
    upload(page, PHOTO, "#landmark-source")
    upload(page, tmp_path / "grass.png", "#landmark-driver")
    message(page, "No face was found in the driving picture")


def test_a_video_is_looked_at_without_dc_net(monkeypatch):
    monkeypatch.setattr("app_reenactment.reenactment_pipeline", None)
    found = check_driving(str(EXAMPLES / "smiling.mp4"), by_landmarks=True)
    assert found.usable and found.expected_seconds > 0 and found.reference_time is None


def test_video(page, tmp_path):
    page.get_by_role("tab", name="With a video").first.click()
    upload(page, PHOTO, "#landmark-source")
    upload(page, beginning(tmp_path / "driver.mp4", 0.4), "#landmark-driving")
    page.locator("#landmark-report").get_by_text("will take about").wait_for(timeout=LONG)
    assert "compared" not in page.inner_text("#landmark-report")
    page.click("#landmark-drive")
    page.locator("#landmark-summary").get_by_text("10 frames").wait_for(timeout=LONG)
    page.wait_for_selector("#landmark-result video")
    page.wait_for_function("document.querySelector('#landmark-result video').videoWidth > 0")
