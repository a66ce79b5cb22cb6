from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lirec import LirecError
from lirec.geometry import euler_to_matrix
from train.data.folder import write_table
from train.evaluate.landmarks import (
    Photos,
    evaluate,
    landmark_yaw,
    main,
    mean_landmarks,
    mean_points,
    move,
    place,
)

SIZE = 96


class TellsTheTruth:
    """A pipeline that knows the landmarks of the box that it is given, and is `off` by some pixels."""

    def __init__(self, model, truth, off=0.0, finds=True):
        self.morphable_model, self.truth, self.off, self.finds = model, truth, off, finds

    def __call__(self, image, boxes=None):
        if boxes is None:
            return SimpleNamespace(faces=self.find(image))
        centre = np.array(boxes[0]).reshape(2, 2).mean(0)
        nearest = min(
            self.truth, key=lambda points: np.abs((points.min(0) + points.max(0)) / 2 - centre).sum()
        )
        return SimpleNamespace(faces=[SimpleNamespace(landmarks=torch.from_numpy(nearest) + self.off)])

    def find(self, image):
        grey = image[..., 2] == 128  # around photos that were moved
        y, x = np.argwhere(~grey)[0]
        person = int(image[y, x, 0])
        if not self.finds and person == 1:
            return []
        points = self.truth[person] + np.array((x, y))
        box = np.concatenate((points.min(0) - 1, points.max(0) + 1)).astype(np.float32)
        nothing = SimpleNamespace(box=np.zeros(4, np.float32), landmarks=0 * points)
        return [nothing, SimpleNamespace(box=box, landmarks=points + self.off)]


@pytest.fixture
def turned(model):
    """Landmarks of the mean face turned by 0, 25 and -70 degrees, in pixels."""
    yaws = torch.deg2rad(torch.tensor([0.0, 25.0, -70.0]))
    angles = torch.stack((torch.zeros(3), yaws, torch.zeros(3)), 1)
    points = model.mean_vertices @ euler_to_matrix(angles).transpose(1, 2)
    shift = torch.tensor([[40.0, 40.0], [50.0, 45.0], [45.0, 52.0]])[:, None]
    return yaws, points[..., :2] * 250 + shift


@pytest.fixture
def folder(tmp_path, turned):
    names = ["000_1.png", "001_1.png", "002_1.png"]
    for number, name in enumerate(names):
        Image.new("RGB", (SIZE, SIZE), (number, 0, 0)).save(tmp_path / name)
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "unlabelled.png")
    write_table(tmp_path / "landmarks68.csv", dict(zip(names, turned[1].numpy(), strict=True)))
    return tmp_path


def test_photos_are_chosen_by_person_and_number(folder):
    assert len(Photos(folder)) == 3
    assert [photo.identity for photo in Photos(folder, people="1-5")] == ["001", "002"]
    assert [photo.identity for photo in Photos(folder, limit=2)] == ["000", "002"]
    with pytest.raises(LirecError, match="two numbers"):
        Photos(folder, people="1")
    with pytest.raises(LirecError, match="of the people"):
        Photos(folder, people="7-9")
    (folder / "landmarks68.csv").unlink()
    with pytest.raises(LirecError, match="has landmarks"):
        Photos(folder)


def test_yaw_is_read_off_the_true_landmarks(model, turned):
    yaws, points = turned
    assert torch.allclose(landmark_yaw(points, mean_points(model)), yaws, atol=0.02)


def test_mean_face_fills_its_box(model):
    boxes = torch.tensor([[10.0, 20.0, 50.0, 90.0]])
    placed = place(mean_landmarks(model), boxes)[0]
    assert placed.amin(0).tolist() == pytest.approx([10, 20]) and placed.amax(0).tolist() == pytest.approx(
        [50, 90]
    )
    assert (
        placed[8, 1] == placed[:, 1].max() and placed[36, 0] < placed[45, 0]
    )  # chin down, right eye on the left


def test_a_perfect_pipeline(folder, model, turned):
    report = evaluate(TellsTheTruth(model, turned[1].numpy()), Photos(folder))
    for name in (
        "box given, all 68",
        "box given, inner 51",
        "box found, all 68",
        "box given, error above 8 %",
    ):
        assert report[name].result == pytest.approx(0, abs=0.02)
    assert report["box given, all 68"].baseline > 1
    assert report["faces found"].result == report["faces found, photo moved"].result == 100
    assert report["faces found"].baseline > report["faces found, photo moved"].baseline
    bins = {name: report[f"box given, all 68, |yaw| {name}°"] for name in ("0-15", "15-30", "30-45", "60-90")}
    assert [figure.samples for figure in bins.values()] == [1, 1, 0, 1]
    assert bins["0-15"].baseline < 0.1 < bins["15-30"].baseline < bins["60-90"].baseline


def test_errors_and_missed_faces_show(folder, model, turned):
    truth = turned[1].numpy()
    report = evaluate(TellsTheTruth(model, truth, off=3.0, finds=False), Photos(folder))
    sides = truth.max(1) - truth.min(1)
    expected = (100 * 3 * 2**0.5 / sides.prod(1) ** 0.5).mean()
    assert report["box given, all 68"].result == pytest.approx(expected, rel=1e-2)
    assert report["faces found"].result == pytest.approx(200 / 3)
    assert report["box found, inner 51"].samples == 2
    assert report["faces found, |yaw| 15-30°"].result == 0


def test_a_moved_photo_keeps_its_face_in_its_box():
    image = np.zeros((20, 30, 3), np.uint8)
    image[5:10, 12:20] = 255
    moved, box = move(image, torch.tensor([12.0, 5.0, 20.0, 10.0]), seed=3)
    x1, y1, x2, y2 = box.int().tolist()
    assert moved.shape == (40, 60, 3) and (moved[y1:y2, x1:x2] == 255).all()
    assert (moved == 255).sum() == (image == 255).sum()


def test_wrong_folders_give_a_sentence(folder, tmp_path):
    with pytest.raises(LirecError, match="no folder"):
        main(["--data", str(tmp_path / "missing")])
    with pytest.raises(LirecError):
        main(["--data", str(folder), "--weights", str(tmp_path / "missing")])
