"""The tab that moves photos, as its users meet it: started as a program, driven in headless Chromium."""

import av
import numpy as np
import pygltflib
import pytest

from app_reenactment import VideoFiles
from app_shared import faces_of
from app_video import SLIDERS, EditedSitter
from lirec.pipelines.editing import GAZES, TURNS
from lirec.processing.image import load_image
from lirec.processing.video import VideoWriter, open_video
from tests.browsing import EXAMPLES, LONG, beginning, download, message, open_tab, printed, running_app, upload

PHOTO = EXAMPLES / "astronaut.jpg"
FACE = np.s_[55:175, 175:275]  # in the photo


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("app") / "log.txt") as url:
        yield url


@pytest.fixture
def page(browser, address):
    page = open_tab(browser, address, "Video reenactment")
    yield page
    page.close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return beginning(tmp_path_factory.mktemp("driver") / "driver.mp4", 1.2)


@pytest.fixture(scope="module")
def made(browser, address, driver):
    """A page with a finished video, and the lines of progress that were seen; tests leave it so."""
    page = open_tab(browser, address, "Video reenactment")
    upload(page, PHOTO, "#source")
    upload(page, driver, "#driving")
    page.locator("#report").get_by_text("will take about").wait_for(timeout=LONG)
    page.wait_for_selector("#source img")
    page.click("#drive")
    page.locator("#stop").wait_for(timeout=LONG)
    seen = progress(page)
    yield page, seen
    page.close()


def progress(page):
    """The lines of progress until there is a summary."""
    seen = []
    page.wait_for_selector("#result", timeout=LONG)
    for _ in range(LONG // 100):
        if page.locator("#summary li").count():
            return seen
        line = " ".join(page.locator("#result").all_inner_texts())
        seen += [line] if line not in seen else []
        page.wait_for_timeout(100)
    raise AssertionError("no video was made")


@pytest.fixture
def film(tmp_path):
    """Bytes of a downloaded video -> its reader and its file."""

    def opened(data):
        (tmp_path / "film.mp4").write_bytes(data)
        return open_video(tmp_path / "film.mp4"), tmp_path / "film.mp4"

    return opened


def test_page(page):
    assert page.locator("#source-examples img").count() == 4
    page.locator("#driving-examples video").nth(2).wait_for(state="attached")
    assert page.locator("#driving-examples video").count() == 3
    assert not page.locator("#result").is_visible() and not page.locator("#stop").is_visible()
    page.get_by_role("tab", name="With sliders").click()
    page.locator("#sliders").wait_for()
    page.get_by_role("button", name="Eyes").click()
    page.get_by_role("button", name="Brows, cheeks and nose").click()
    page.locator("#slider-browInnerUp").wait_for()
    assert page.locator("#sliders input[type=range]").count() == 51 + 5


def test_sliders_are_what_can_be_edited(morphable_model):
    assert sorted(SLIDERS) == sorted((*morphable_model.expression_names, *TURNS, *GAZES))


def test_driver_is_looked_at_first(made, driver):
    page, _ = made
    report = page.inner_text("#report")
    for sentence in (
        "1.2 s at 25 frames a second, 256 x 256 px, with sound.",
        "There is a face in every frame looked at.",
        "other frames are compared with it",
    ):
        assert sentence in report


def test_progress_says_what_is_left(made):
    _, seen = made
    assert any("of 30" in line and "left" in line for line in seen), seen


def test_result_plays_with_sound(made):
    page, _ = made
    page.wait_for_selector("#result video")
    page.evaluate("document.querySelector('#result video').play()")
    page.wait_for_function(
        "(() => { const video = document.querySelector('#result video');"
        " return video.currentTime > 0.3 && video.webkitAudioDecodedByteCount > 0 })()"
    )
    state = page.evaluate(
        "(() => { const video = document.querySelector('#result video');"
        " return [video.videoWidth, video.videoHeight, video.duration, video.error] })()"
    )
    height, width = load_image(PHOTO).shape[:2]
    assert state[:2] == [width + height, height]  # the driver is square
    assert state[2] == pytest.approx(1.2, abs=0.1) and state[3] is None


def test_result(made, film):
    page, _ = made
    assert "30 frames, 1.2 s of video" in page.inner_text("#summary")
    photo = load_image(PHOTO)
    video, path = film(download(page, "result"))
    frames = np.stack([frame.image for frame in video]).astype(np.float32)
    assert frames.shape == (30, *photo.shape)
    change = np.abs(frames[1:] - frames[:1]).max(0).mean(2)
    assert change[FACE].max() > 40  # lips part and lids close
    assert change[300:].max() < 25  # the rest of the picture keeps still
    assert np.abs(frames[0] - photo)[300:].mean() < 4
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.streams.audio[0].codec_context.name == "aac"


def test_result_beside_its_driver(made, film, driver):
    page, _ = made
    video, _ = film(download(page, "side-by-side"))
    frames = [frame.image for frame in video]
    height, width = load_image(PHOTO).shape[:2]
    assert len(frames) == 30 and frames[0].shape == (height, height + width, 3) and video.has_audio
    last = [frame.image for frame in open_video(driver)][-1]
    scaled = frames[-1][:, :height].reshape(-1, 3).mean(0)
    assert np.allclose(scaled, last.reshape(-1, 3).mean(0), atol=4)


def test_a_result_that_fits_beside_no_driver_is_kept(tmp_path):
    files = VideoFiles()
    files.result.write_bytes((EXAMPLES / "smiling.mp4").read_bytes())
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.warns(UserWarning, match="^notes.mp4 is no video"):
        assert not files.put_side_by_side(str(tmp_path / "notes.mp4"))
    assert files.result.exists() and not files.side_by_side.exists()
    assert files.put_side_by_side(str(files.result)) and files.side_by_side.exists()


def test_stop_keeps_what_is_finished(page, tmp_path, film):
    upload(page, EXAMPLES / "rendered_beard.jpg", "#source")
    upload(page, beginning(tmp_path / "long.mp4", 2, times=20), "#driving")
    page.locator("#report").get_by_text("will take about").wait_for(timeout=LONG)
    page.click("#drive")
    page.get_by_text("Frame 8 of 1000").wait_for(timeout=LONG)
    page.click("#stop")
    page.locator("#summary").get_by_text("what was finished is kept").wait_for(timeout=LONG)
    video, _ = film(download(page, "result"))
    count = sum(1 for _ in video)
    assert 8 <= count < 500 and f"{count} frames" in page.inner_text("#summary")
    page.locator("#drive").wait_for()
    assert not page.locator("#stop").is_visible()


def test_without_a_photo_or_a_driver(page):
    page.click("#drive")
    message(page, "There is no picture yet")
    upload(page, PHOTO, "#source")
    page.wait_for_selector("#source img")
    page.click("#drive")
    message(page, "There is no driving video yet")
    assert page.locator("#drive").is_visible() and not page.locator("#stop").is_visible()


def test_no_video(page, tmp_path):
    (tmp_path / "notes.mp4").write_text("Dear diary, this is no video.\n" * 20)
    upload(page, tmp_path / "notes.mp4", "#driving")
    page.locator("#report").get_by_text("notes.mp4 is no video").wait_for(timeout=LONG)
    assert "/" not in page.inner_text("#report")


def test_video_without_a_face(page, tmp_path):
    ramp = np.linspace(0, 255, 160).astype(np.uint8)
    with VideoWriter(tmp_path / "empty.mp4", (160, 160), 25) as writer:
        for shift in range(20):
            writer.write(np.stack(np.broadcast_arrays(np.roll(ramp, shift)[:, None], ramp[None], np.uint8(90)), 2))
    upload(page, tmp_path / "empty.mp4", "#driving")
    page.locator("#report").get_by_text("No face was found in it").wait_for(timeout=LONG)
    upload(page, PHOTO, "#source")
    page.wait_for_selector("#source img")
    page.click("#drive")
    page.locator("#summary").get_by_text("No face was found in what drives").wait_for(timeout=LONG)
    page.locator("#drive").wait_for()


def test_sliders_move_photo_and_mesh(page, tmp_path):
    upload(page, PHOTO, "#source")
    page.get_by_role("tab", name="With sliders").click()
    page.wait_for_selector("#edited-mesh canvas", timeout=LONG)
    picture, glb = edited(page, tmp_path)
    smile = float(page.locator("#slider-mouthSmileLeft input[type=number]").input_value())
    assert smile > 0.2  # she smiles
    assert weights(glb)["mouthSmileLeft"] == pytest.approx(smile, abs=0.02)

    opened_picture, opened = move(page, tmp_path, "jawOpen", 0.9, picture)
    assert weights(opened)["jawOpen"] == pytest.approx(0.9)
    assert weights(opened)["mouthSmileLeft"] == pytest.approx(smile, abs=0.02)
    change = np.abs(opened_picture - picture).mean(2)
    half = len(change) // 2
    assert change[half:].max() > 60 and change[half:].mean() > 2 * change[: half // 2].mean()

    turned_picture, turned = move(page, tmp_path, "yaw", 25, opened_picture)
    # the nose moves to the picture's right in both
    assert tip(turned)[0] - tip(opened)[0] > 0.02
    assert np.abs(turned_picture - opened_picture).mean() > 3

    page.click("#reset")
    again, _ = changed(page, tmp_path, turned_picture)
    assert np.abs(again - picture).mean() < 0.5
    assert page.locator("#slider-yaw input[type=number]").input_value() == "0"


def test_the_same_is_not_drawn_twice():
    sitter = EditedSitter(faces_of(str(PHOTO))[0], str(PHOTO))
    assert sitter.edit(sitter.own, False, sitter.key) is not None
    assert sitter.edit(dict(sitter.own), False, sitter.key) is None
    assert sitter.edit(sitter.own | {"jawOpen": 0.9}, False, sitter.key) is not None


def test_values_of_another_face_are_not_drawn():
    """The sliders in the browser may still have them when the next face is chosen."""
    photo = str(EXAMPLES / "rendered_four.jpg")
    first, second = (EditedSitter(face, photo) for face in faces_of(photo)[:2])
    assert first.key != second.key == EditedSitter(second.face, photo).key
    assert second.edit(first.own, False, first.key) is None
    assert second.edit(dict.fromkeys(SLIDERS, 0.0), False, None) is None  # of no face
    assert second.edit(second.own, False, second.key) is not None


def test_a_mesh_is_not_written_over_while_it_is_sent():
    sitter = EditedSitter(faces_of(str(PHOTO))[0], str(PHOTO))
    _, first = sitter.edit(sitter.own, False, sitter.key)
    _, second = sitter.edit(sitter.own | {"jawOpen": 0.9}, False, sitter.key)
    opened = [weights(pygltflib.GLTF2().load(path))["jawOpen"] for path in (first, second)]
    assert opened == pytest.approx([sitter.own["jawOpen"], 0.9], abs=0.02)


def edited(page, tmp_path):
    """The edited photo's pixels and its mesh."""
    page.wait_for_selector("#edited img", timeout=LONG)
    address = page.get_attribute("#edited img", "src")
    (tmp_path / "edited.png").write_bytes(page.request.get(address).body())
    (tmp_path / "edited.glb").write_bytes(download(page, "edited"))
    return load_image(tmp_path / "edited.png").astype(np.float32), pygltflib.GLTF2().load(tmp_path / "edited.glb")


def weights(glb):
    """The weights of the expressions, by name."""
    return dict(zip(glb.meshes[0].extras["targetNames"], glb.meshes[0].weights, strict=True))


def move(page, tmp_path, name, value, before):
    page.locator(f"#slider-{name} input[type=number]").fill(str(value))
    return changed(page, tmp_path, before)


def changed(page, tmp_path, before):
    """Picture and mesh, once they differ from what was and stand still."""
    last = None
    for _ in range(LONG // 1000):
        page.wait_for_timeout(1000)
        picture, glb = edited(page, tmp_path)
        if np.abs(picture - before).max() > 8 and last is not None and np.array_equal(picture, last):
            return picture, glb
        last = picture
    raise AssertionError("the picture does not change")


def tip(glb):
    """The vertex that is nearest to the viewer in the upper two thirds of the face: the nose's tip."""
    accessor = glb.accessors[glb.meshes[0].primitives[0].attributes.POSITION]
    view = glb.bufferViews[accessor.bufferView]
    start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
    data = np.frombuffer(glb.binary_blob(), np.float32, accessor.count * 3, start).reshape(-1, 3)
    return data[data[:, 2].argmax()]


def test_several_faces(page):
    upload(page, EXAMPLES / "rendered_four.jpg", "#source")
    page.locator("#source-picker .thumbnail-item").nth(3).wait_for(timeout=LONG)
    page.get_by_role("tab", name="With sliders").click()
    page.wait_for_selector("#edited img", timeout=LONG)
    before = page.get_attribute("#edited img", "src")
    page.locator("#source-picker .thumbnail-item").nth(2).click()
    page.wait_for_function(
        "before => { const image = document.querySelector('#edited img'); return image && image.src != before }",
        arg=before,
        timeout=LONG,
    )


def test_narrow_window(browser, address):
    page = open_tab(browser, address, "Video reenactment", 400, 800)
    page.wait_for_selector("#drive")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.get_by_role("tab", name="With sliders").click()
    page.locator("#sliders").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()


def test_missing_weights(browser, tmp_path):
    """The page comes, and says what is missing when it is asked for a video; so does the terminal."""
    (tmp_path / "empty").mkdir()
    with running_app(tmp_path / "log.txt", LIREC_DC_NET_WEIGHTS=str(tmp_path / "empty")) as url:
        page = open_tab(browser, url, "Video reenactment")
        upload(page, EXAMPLES / "smiling.mp4", "#driving")
        page.locator("#report").get_by_text("holds no DCNetPipeline").wait_for(timeout=LONG)
        page.close()
        assert printed(tmp_path / "log.txt", "holds no DCNetPipeline: there is no model_index.json in it.")
