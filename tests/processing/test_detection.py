import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lirec.errors import LirecError
from lirec.models.face_detector import FaceDetector, FoundFaces
from lirec.processing.detection import (
    FACE_ALIGNMENT_DETECTORS,
    BuiltInFinder,
    Detection,
    FaceAlignmentFinder,
    default_finder,
    from_face_box,
    largest_first,
    letterbox,
    overlap,
    suppress,
    to_face_box,
)

WEIGHTS = Path(__file__).parents[3] / "shared" / "weights" / "torch_hub"


class GreenSquares(torch.nn.Module):
    """Finds green: a detector whose answers are known, for all that lies between it and the picture."""

    device = torch.device("cpu")
    config = SimpleNamespace(threshold=0.4)

    def __init__(self, least=4, close_up_score=0.9):
        super().__init__()
        self.least = least  # px below which it sees nothing
        self.close_up_score = close_up_score
        self.seen = []  # sizes of whole pictures

    def find(self, images, threshold=None):
        close_up = len(images) > 1
        if not close_up:
            self.seen.append(tuple(images.shape[2:]))
        return [self.look(image, self.close_up_score if close_up else 0.9) for image in images]

    def look(self, image, score):
        green = (image[1] > 0.8) & (image[0] < 0.3)
        rows, columns = green.nonzero(as_tuple=True)
        if len(rows) < self.least**2:
            return FoundFaces(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 5, 2))
        box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        middle = (box[:2] + box[2:]) / 2
        return FoundFaces(box[None], torch.tensor([score]), middle.expand(1, 5, 2))


@pytest.mark.parametrize("shape", [(100, 100), (300, 500), (901, 350), (37, 20)])
def test_boxes_come_back_in_the_pictures_own_pixels(shape):
    height, width = shape
    picture = np.full((height, width, 3), 50, np.uint8)
    box = np.array([width * 0.3, height * 0.2, width * 0.7, height * 0.55]).round()
    left, top, right, bottom = box.astype(int)
    picture[top:bottom, left:right] = (0, 255, 0)
    found = BuiltInFinder(GreenSquares()).detect(picture)
    assert len(found) == 1  # seen in two sizes, told once
    tolerance = 1 + 2 * max(shape) / 192
    np.testing.assert_allclose(found[0].box, box, atol=tolerance)
    np.testing.assert_allclose(found[0].landmarks[2], (box[:2] + box[2:]) / 2, atol=tolerance)
    assert found[0].score == pytest.approx(0.9) and found[0].box.dtype == np.float32


def test_the_second_look_decides_too():
    picture = np.full((200, 200, 3), 50, np.uint8)
    picture[60:120, 70:130] = (0, 255, 0)
    (found,) = BuiltInFinder(GreenSquares(close_up_score=0.4)).detect(picture)
    assert found.score == pytest.approx(0.6)  # sqrt(0.9 * 0.4)
    assert BuiltInFinder(GreenSquares(close_up_score=0.1)).detect(picture) == []


def test_small_faces_are_found_at_the_larger_size():
    picture = np.full((1200, 1600, 3), 50, np.uint8)
    picture[600:630, 900:930] = (0, 255, 0)
    model = GreenSquares()
    found = BuiltInFinder(model).detect(picture)
    np.testing.assert_allclose(found[0].box, [900, 600, 930, 630], atol=5)
    assert model.seen == [(160, 192), (384, 512)]
    model = GreenSquares()
    assert BuiltInFinder(model).detect(picture[:200, :300]) == []
    assert BuiltInFinder(model).detect(picture[:80, :100]) == []
    assert model.seen == [(128, 192), (224, 320), (160, 192)]


def test_the_network_runs_on_any_picture():
    finder = BuiltInFinder(FaceDetector(channels=16, stem_channels=8).eval(), threshold=0.0)
    for shape in [(1, 1, 3), (5, 900, 3), (333, 222, 3)]:
        for face in finder.detect(np.zeros(shape, np.uint8)):
            assert np.isfinite(face.box).all() and face.landmarks.shape == (5, 2)


def test_letterbox_keeps_proportions():
    canvas, scale, shift = letterbox(np.full((100, 200, 3), 255, np.uint8), 256)
    assert canvas.shape == (128, 256, 3) and scale == 1.28 and shift.tolist() == [0, 0]
    canvas, scale, shift = letterbox(np.full((100, 200, 3), 255, np.uint8), 256, square=True)
    assert canvas.shape == (256, 256, 3) and shift.tolist() == [0, 64]
    assert (canvas[:64] == 128).all() and (canvas[64:192] == 255).all()


def test_overlaps_are_told_once_and_the_largest_first():
    def face(x, y, edge, score):
        return Detection(np.array([x, y, x + edge, y + edge], np.float32), score)

    assert overlap(face(0, 0, 10, 1).box, face(5, 0, 10, 1).box) == pytest.approx((1 / 3, 1 / 2))
    assert overlap(face(0, 0, 10, 1).box, face(50, 0, 10, 1).box) == (0, 0)
    same, smaller_within, apart = face(2, 0, 100, 0.6), face(20, 20, 30, 0.7), face(300, 0, 150, 0.5)
    kept = suppress([same, smaller_within, apart, face(0, 0, 100, 0.9)])
    assert [one.score for one in kept] == [0.9, 0.5]
    assert [one.score for one in largest_first(kept)] == [0.5, 0.9]


def test_box_conventions_invert():
    box = np.array([10.0, 20.0, 60.0, 90.0], np.float32)
    for name in FACE_ALIGNMENT_DETECTORS:
        np.testing.assert_allclose(to_face_box(from_face_box(box, name), name), box, atol=1e-3)


def test_finders_that_cannot_be_had_give_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(LirecError, match="no face detector"):
        default_finder()
    with pytest.raises(LirecError, match="no weights"):
        default_finder(source="built-in")
    with pytest.raises(LirecError, match="not yolo"):
        default_finder(source="yolo")
    model = FaceDetector(channels=16, stem_channels=8)
    assert isinstance(default_finder(model), BuiltInFinder)
    assert isinstance(default_finder(model, "built-in"), BuiltInFinder)


def test_weights_that_cannot_be_fetched_give_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(LirecError, match="blazeface could not be fetched"):
        FaceAlignmentFinder("blazeface")


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="BlazeFace weights are not at hand")
def test_blazeface_finds_a_real_face(tmp_path, monkeypatch):
    data = pytest.importorskip("skimage.data")
    shutil.copytree(WEIGHTS, tmp_path / "hub")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    finder = default_finder()
    assert isinstance(finder, FaceAlignmentFinder)
    found = finder.detect(data.astronaut())
    assert len(found) == 1 and found[0].score > 0.6 and found[0].landmarks is None
    assert overlap(found[0].box, np.array([180, 85, 268, 190]))[0] > 0.6
    # Off the middle of a wide picture, where the package itself would not look.
    wide = np.zeros((512, 1400, 3), np.uint8)
    wide[:, :512] = data.astronaut()
    assert overlap(finder.detect(wide)[0].box, found[0].box)[0] > 0.6
    assert finder.detect(np.zeros((64, 64, 3), np.uint8)) == []
    assert default_finder().detector is finder.detector  # its weights are read once
    assert default_finder(threshold=0.99).detect(data.astronaut()) == []
