"""The 3D tab's sliders, parts and motion capture, as their users meet them, driven in headless Chromium."""

import io
import json

import numpy as np
import pygltflib
import pytest
from PIL import Image

from app_reconstruction import ALBEDO, CLAY, EXPRESSION, IDENTITY, TEXTURED, FaceFiles
from app_shared import EXPRESSIONS, faces_of
from lirec.processing.motion_capture import read_live_link_csv
from lirec.processing.video import VideoWriter, open_video
from tests.browsing import EXAMPLES, LONG, download, message, open_tab, running_app, upload
from tests.processing.glb import accessor, animated


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("app") / "log.txt") as url:
        yield url


@pytest.fixture
def page(browser, address):
    page = open_tab(browser, address, "3D reconstruction")
    page.wait_for_selector("#start")
    yield page
    page.close()


@pytest.fixture
def video_page(page):
    page.get_by_role("tab", name="From a video").click()
    page.wait_for_selector("#capture")
    return page


def clip(path, seconds, times=1):
    """The first `seconds` of somebody who talks, several times over."""
    frames = [frame.image for frame in open_video(EXAMPLES / "talking.mp4") if frame.time < seconds]
    with VideoWriter(path, frames[0].shape[1::-1], 25) as writer:
        for frame in frames * times:
            writer.write(frame)
    return path


def shot(page, viewer):
    picture = page.locator(f"{viewer} canvas").screenshot(timeout=LONG)
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.float32)
    height, width = pixels.shape[:2]
    return pixels[height // 8 :, : width - width // 8]  # without the label and the buttons


def still(page, unlike=None):
    """The photo's viewer once it stands still, and shows something else than before."""
    before = None
    for _ in range(LONG // 1000):
        pixels = shot(page, "#viewer")
        unmoved = before is not None and before.shape == pixels.shape and np.abs(pixels - before).mean() < 0.1
        if unmoved and pixels.std() > 8 and (unlike is None or np.abs(pixels - unlike).mean() > 0.3):
            return pixels
        before = pixels
        page.wait_for_timeout(700)
    raise AssertionError("the viewer does not change")


def test_parts_sliders_and_networks(page):
    upload(page, EXAMPLES / "astronaut.jpg")
    page.wait_for_selector("#expressions .bar", timeout=LONG)
    page.wait_for_selector("#viewer canvas", timeout=LONG)
    textured = still(page)
    page.get_by_label(IDENTITY).click()
    identity = still(page, unlike=textured)
    page.get_by_label(EXPRESSION).click()
    expression = still(page, unlike=identity)

    page.get_by_role("button", name="Move the mesh").click()
    slider = page.locator("#mesh-jawOpen input[type=number]")
    slider.wait_for()
    assert float(page.locator("#mesh-mouthSmileLeft input[type=number]").input_value()) > 0.2  # she smiles
    slider.fill("1")
    opened = still(page, unlike=expression)
    page.click("#mesh-reset")
    assert np.abs(still(page, unlike=opened) - expression).mean() < 0.1
    assert float(slider.input_value()) < 0.5

    page.get_by_role("button", name="RecNet and RecAugNet").click()
    pictures = page.locator("#comparison img")
    pictures.nth(7).wait_for(timeout=LONG)
    assert pictures.count() == 8
    captions = page.inner_text("#comparison")
    for name in ("RecNet: identity", "RecAugNet: expression", "RecAugNet: albedo"):
        assert name in captions


def test_the_viewers_files():
    files = FaceFiles(faces_of(str(EXAMPLES / "astronaut.jpg"))[0])
    own = list(files.own.values())

    def shown(style, weights):
        path = files.view(style, weights)
        return path and pygltflib.GLTF2().load(path)

    whole = shown(TEXTURED, own)
    names = whole.meshes[0].extras["targetNames"]
    assert sorted(names) == sorted(EXPRESSIONS)
    smile = names.index("mouthSmileLeft")
    assert whole.meshes[0].weights[smile] > 0.2 and whole.textures
    assert shown(TEXTURED, list(own)) is None  # nothing twice
    opened = shown(TEXTURED, [1.0 if name == "jawOpen" else weight for name, weight in files.own.items()])
    assert opened.meshes[0].weights[names.index("jawOpen")] == 1 and opened.meshes[0].weights[smile] > 0.2

    parts = {style: shown(style, own) for style in (CLAY, IDENTITY, EXPRESSION, ALBEDO)}
    positions = {style: accessor(glb, glb.meshes[0].primitives[0].attributes.POSITION) for style, glb in parts.items()}
    np.testing.assert_array_equal(positions[IDENTITY], positions[CLAY])
    assert np.abs(positions[EXPRESSION] - positions[CLAY]).max() > 0.001
    weights = {style: max(glb.meshes[0].weights) for style, glb in parts.items()}
    assert weights[IDENTITY] == weights[ALBEDO] == 0 and weights[EXPRESSION] > 0.2
    assert parts[ALBEDO].textures and not parts[IDENTITY].textures


def test_a_video_becomes_an_animated_face(video_page, tmp_path):
    page = video_page
    upload(page, clip(tmp_path / "clip.mp4", 1.0), "#video")
    page.wait_for_selector("#video video", timeout=LONG)
    page.click("#capture")
    page.locator("#capture-summary").get_by_text("25 frames, 1.0 s, at 25 a second.").wait_for(timeout=LONG)
    page.locator("#capture").wait_for(timeout=LONG)
    assert not page.locator("#stop-capture").is_visible()

    (tmp_path / "take.glb").write_bytes(download(page, "take-glb"))
    document = pygltflib.GLTF2().load(tmp_path / "take.glb")
    channels = animated(document)
    assert len(document.meshes[0].extras["targetNames"]) == 51 and document.textures
    (tmp_path / "take.csv").write_bytes(download(page, "take-csv"))
    motion = read_live_link_csv(tmp_path / "take.csv", document.meshes[0].extras["targetNames"])
    assert len(motion) == 25
    np.testing.assert_allclose(channels["weights"][1], motion.expression, atol=1e-4)
    assert json.loads(download(page, "take-json"))["frame_rate"] == 25

    page.wait_for_selector("#animated canvas", timeout=LONG)
    for _ in range(LONG // 1000):
        before = shot(page, "#animated")
        page.wait_for_timeout(300)
        after = shot(page, "#animated")
        if before.shape == after.shape and before.std() > 8 and np.abs(after - before).mean() > 0.05:
            return
    raise AssertionError("the animation does not play")


def test_stop_keeps_what_is_finished(video_page, tmp_path):
    page = video_page
    upload(page, clip(tmp_path / "long.mp4", 2, times=30), "#video")
    page.wait_for_selector("#video video", timeout=LONG)
    page.click("#capture")
    page.get_by_text("of 1500").first.wait_for(timeout=LONG)
    page.click("#stop-capture")
    page.locator("#capture-summary").get_by_text("what was finished is kept").wait_for(timeout=LONG)
    count = int(page.inner_text("#capture-summary").split(" frames")[0].split()[-1])
    assert 8 <= count < 1400
    assert len(json.loads(download(page, "take-json"))["times"]) == count


def test_without_a_video_or_a_face(video_page, tmp_path):
    page = video_page
    page.click("#capture")
    message(page, "There is no video yet")
    with VideoWriter(tmp_path / "empty.mp4", (160, 160), 25) as writer:
        for shade in range(90, 100):
            writer.write(np.full((160, 160, 3), shade, np.uint8))
    upload(page, tmp_path / "empty.mp4", "#video")
    page.wait_for_selector("#video video", timeout=LONG)
    page.click("#capture")
    message(page, "No face was found in the video")
    page.locator("#capture").wait_for(timeout=LONG)
    assert not page.locator("#download-take-glb").is_visible()


def test_narrow_window(browser, address):
    page = open_tab(browser, address, "3D reconstruction", width=400, height=800)
    page.wait_for_selector("#start")
    page.get_by_role("tab", name="From a video").click()
    page.wait_for_selector("#capture")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()
