"""The app as its users meet it: started as a program, driven in headless Chromium."""

import io
import json
import zipfile

import numpy as np
import pygltflib
import pytest
from PIL import Image

from tests.browsing import EXAMPLES, WAIT, download, message, open_tab, printed, running_app, upload


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("app") / "log.txt") as url:
        yield url


@pytest.fixture
def page(browser, address):
    page = open_tab(browser, address, "3D reconstruction", height=900)
    page.wait_for_selector("#start")
    yield page
    page.close()


@pytest.fixture(scope="module")
def astronaut(browser, address):
    """A page that shows the astronaut's face; tests leave it so."""
    page = open_tab(browser, address, "3D reconstruction", height=900)
    upload(page, EXAMPLES / "astronaut.jpg")
    results(page)
    yield page
    page.close()


def results(page):
    page.wait_for_selector("#expressions .bar", timeout=WAIT)
    page.wait_for_selector("#viewer canvas", timeout=WAIT)


def canvas(page) -> np.ndarray:
    """The viewer's pixels, once it has drawn something and stands still."""
    before = None
    for _ in range(40):
        shot = Image.open(io.BytesIO(page.locator("#viewer canvas").screenshot(timeout=WAIT)))
        pixels = np.asarray(shot.convert("RGB"), np.float32)
        height, width = pixels.shape[:2]
        pixels = pixels[height // 8 :, : width - width // 8]  # without the label and the buttons
        still = before is not None and before.shape == pixels.shape and np.abs(pixels - before).mean() < 0.1
        if still and pixels.std() > 8:
            return pixels
        before = pixels
        page.wait_for_timeout(500)
    raise AssertionError("the viewer shows nothing")


def test_page_says_what_it_is(page):
    assert page.title().startswith("lirec")
    assert page.inner_text("#title h1") == "lirec"
    assert page.get_by_role("tab", name="3D reconstruction").is_visible()
    assert page.locator("#examples img").count() == 5
    assert not page.locator("#expressions").is_visible()


def test_narrow_window(browser, address):
    page = open_tab(browser, address, "3D reconstruction", 400, 800)
    upload(page, EXAMPLES / "rendered_four.jpg")
    results(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()


def test_viewer_shows_a_head(astronaut):
    pixels = canvas(astronaut)
    background = pixels[-1, 0]
    covered = np.abs(pixels - background).max(-1) > 12
    assert 0.1 < covered.mean() < 0.9
    assert pixels[covered].std(0).min() > 10  # skin, eyes, hair: not one flat colour
    rows = np.flatnonzero(covered.any(1))
    columns = np.flatnonzero(covered.any(0))
    assert np.ptp(rows) > np.ptp(columns)  # upright


def test_clay(astronaut):
    textured = canvas(astronaut)
    astronaut.get_by_label("Clay").click()
    for _ in range(30):
        astronaut.wait_for_timeout(500)
        clay = canvas(astronaut)
        if np.abs(clay - textured).mean() > 3:
            break
    covered = np.abs(clay - clay[-1, 0]).max(-1) > 12
    spread = clay[covered].max(-1) - clay[covered].min(-1)
    assert np.median(spread) < 40  # nearly grey
    astronaut.get_by_label("Textured").click()


def test_pictures(astronaut):
    for name in ("overlay", "normals", "albedo"):
        picture = astronaut.locator(f"#{name} img").first
        picture.wait_for(timeout=WAIT)
        assert picture.evaluate("image => image.naturalWidth") == 512


def test_bars(astronaut):
    bars = astronaut.locator("#expressions .bar")
    assert bars.count() == 51
    names = [text.split("\n")[0] for text in bars.all_inner_texts()]
    assert {"jawOpen", "mouthSmileLeft", "eyeBlinkRight"} <= set(names)


def test_downloads(astronaut, tmp_path):
    (tmp_path / "face.glb").write_bytes(download(astronaut, "glb"))
    mesh = pygltflib.GLTF2().load(tmp_path / "face.glb").meshes[0]
    names = mesh.extras["targetNames"]
    assert len(names) == len(set(names)) == len(mesh.primitives[0].targets) == len(mesh.weights) == 51

    coefficients = json.loads(download(astronaut, "json"))
    assert list(coefficients["expression"]) == names
    assert np.allclose(list(coefficients["expression"].values()), mesh.weights, atol=1e-3)
    x1, y1, x2, y2 = coefficients["box"]
    assert 150 < x1 < 222 < x2 < 300 and 50 < y1 < 110 < y2 < 220  # her face's middle is at (222, 110)

    with zipfile.ZipFile(io.BytesIO(download(astronaut, "obj"))) as archive:
        assert sorted(archive.namelist()) == ["face.mtl", "face.obj", "face.png"]
        assert b"map_Kd face.png" in archive.read("face.mtl")
    assert download(astronaut, "ply").startswith(b"ply\n")


def test_several_faces(page):
    upload(page, EXAMPLES / "rendered_four.jpg")
    results(page)
    thumbnails = page.locator("#picker .thumbnail-item")
    thumbnails.nth(3).wait_for(timeout=WAIT)
    assert thumbnails.count() == 4
    first = json.loads(download(page, "json"))["box"]
    thumbnails.nth(2).click()
    for _ in range(60):
        page.wait_for_timeout(500)
        third = json.loads(download(page, "json"))["box"]
        if third != first:
            break
    apart_x = max(third[0], first[0]) > min(third[2], first[2])
    apart_y = max(third[1], first[1]) > min(third[3], first[3])
    assert apart_x or apart_y


def test_one_face_needs_no_picker(astronaut):
    assert not astronaut.locator("#picker").is_visible()


def test_example(page):
    page.locator("#examples img").nth(1).click()
    results(page)


def test_no_picture(page):
    page.click("#start")
    message(page, "There is no picture yet")


def test_no_face_keeps_what_was_made(page, tmp_path):
    upload(page, EXAMPLES / "rendered_beard.jpg")
    results(page)
    before = download(page, "json")
    ramp = np.linspace(0, 255, 300).astype(np.uint8)
    Image.fromarray(np.stack([np.tile(ramp, (200, 1))] * 3, 2)).save(tmp_path / "sky.png")
    page.get_by_label("Remove Image").click()
    upload(page, tmp_path / "sky.png")
    message(page, "No face was found")
    assert page.locator("#expressions .bar").count() == 51
    assert page.locator("#viewer canvas").is_visible()
    assert download(page, "json") == before


def test_broken_files(page, tmp_path):
    (tmp_path / "noise.jpg").write_bytes(bytes(range(256)) * 20)
    upload(page, tmp_path / "noise.jpg")
    message(page, "is in no known picture format")


def test_truncated_file(page, tmp_path):
    (tmp_path / "half.jpg").write_bytes((EXAMPLES / "astronaut.jpg").read_bytes()[:20_000])
    upload(page, tmp_path / "half.jpg")
    message(page, "is damaged or cut short")


def test_too_many_pixels(page, tmp_path):
    Image.new("1", (9000, 8000)).save(tmp_path / "large.png")
    upload(page, tmp_path / "large.png")
    message(page, "is too large: scale it down to at most 64 megapixels")


def test_too_large_file(page, tmp_path):
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(110_000_000)
    upload(page, tmp_path / "huge.jpg")
    message(page, "exceed the maximum allowed size")


def test_missing_weights(browser, tmp_path):
    """The page comes, and says what is missing when it is asked for a face; so does the terminal."""
    (tmp_path / "empty").mkdir()
    with running_app(tmp_path / "log.txt", LIREC_WEIGHTS=str(tmp_path / "empty")) as url:
        page = open_tab(browser, url, "3D reconstruction")
        upload(page, EXAMPLES / "astronaut.jpg")
        message(page, "holds no RecAugNetPipeline")
        page.close()
        assert printed(tmp_path / "log.txt", "holds no RecAugNetPipeline: there is no model_index.json in it.")
