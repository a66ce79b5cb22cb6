from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from lirec import LirecError
from train.data.scenes import EMPTY, FACE, UNSURE, FacePool, Scenery, compose_scenes

SIZE = 96
# Where the drawn face's parts are, px of its own picture.
LEFT_EYE, RIGHT_EYE, NOSE, MOUTH = (30.0, 34.0), (52.0, 34.0), (41.0, 48.0), ((31.0, 60.0), (51.0, 60.0))


def drawn_faces(count=8):
    """Green discs with a red left eye and a blue right eye."""
    axis = torch.arange(80) + 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")

    def disc(centre, radius):
        return ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[None].float()

    def paint(picture, mask, colour):
        return picture + mask * (torch.tensor(colour).view(3, 1, 1) - picture)

    head = disc((41, 44), 30)
    picture = paint(torch.full((3, 80, 80), 0.5), head, (0.0, 1.0, 0.0))
    picture = paint(picture, disc(LEFT_EYE, 6), (1.0, 0.0, 0.0))
    picture = paint(picture, disc(RIGHT_EYE, 6), (0.0, 0.0, 1.0))
    points = torch.full((68, 2), 0.0)
    points[:36] = torch.tensor(NOSE)
    points[0], points[16], points[8] = (
        torch.tensor([14.0, 44.0]),
        torch.tensor([68.0, 44.0]),
        torch.tensor([41.0, 70.0]),
    )
    points[19] = torch.tensor([41.0, 24.0])
    points[36:42], points[42:48] = torch.tensor(LEFT_EYE), torch.tensor(RIGHT_EYE)
    points[48:] = torch.tensor([41.0, 60.0])
    points[48], points[54] = torch.tensor(MOUTH[0]), torch.tensor(MOUTH[1])
    faces = SimpleNamespace(image=picture, clean=picture, foreground=head, landmarks=points)
    return SimpleNamespace(
        **{name: value.expand(count, *value.shape).clone() for name, value in vars(faces).items()}
    )


@pytest.fixture(scope="module")
def scenery():
    return Scenery()


@pytest.fixture(scope="module")
def scenes(scenery):
    return compose_scenes(FacePool(drawn_faces()), scenery, 192, seed=3, size=SIZE)


def test_shapes_ranges_and_kinds(scenes):
    assert scenes.image.shape == (192, 3, SIZE, SIZE)
    assert scenes.image.min() >= 0 and scenes.image.max() <= 1
    assert scenes.boxes.shape == (192, 4, 4) and scenes.keypoints.shape == (192, 4, 5, 2)
    assert set(scenes.state.unique().tolist()) == {FACE, EMPTY, UNSURE}
    per_scene = (scenes.state == FACE).sum(1)
    assert (per_scene == 0).float().mean() > 0.1 and (per_scene > 1).float().mean() > 0.15
    edges = (scenes.boxes[..., 2:] - scenes.boxes[..., :2]).amax(2)[scenes.state == FACE]
    assert edges.min() < 25 and edges.max() > 0.8 * SIZE


def test_key_points_lie_in_their_boxes_left_to_right(scenes):
    faces = scenes.state == FACE
    points, boxes = scenes.keypoints[faces], scenes.boxes[faces]
    assert (points >= boxes[:, None, :2] - 0.01).all() and (points <= boxes[:, None, 2:] + 0.01).all()
    assert (points[:, 0, 0] < points[:, 1, 0]).float().mean() > 0.98  # but for heads that lie on their side
    assert (points[:, 3, 0] < points[:, 4, 0]).float().mean() > 0.98


def test_boxes_and_key_points_are_where_the_face_is_drawn(scenes):
    """Green stands out at the nose, and red at one eye and blue at the other, mirrored or not."""
    agree = told = 0
    for image, points, box, state in zip(
        scenes.image, scenes.keypoints[:, 0], scenes.boxes[:, 0], scenes.state, strict=True
    ):
        alone = state[0] == FACE and (state[1:] == EMPTY).all()
        inside = (points > 1).all() and (points < SIZE - 2).all()
        coloured = (image - image.mean(0, keepdim=True)).abs().mean() > 0.01
        if not (alone and inside and coloured and (box[2:] - box[:2]).min() > 30):
            continue
        (left_eye, right_eye, nose), told = points[:3].long().tolist(), told + 1
        green = image[1] - (image[0] + image[2]) / 2
        warm = image[0] - image[2]
        eyes = warm[left_eye[1], left_eye[0]], warm[right_eye[1], right_eye[0]]
        agree += bool(green[nose[1], nose[0]] > 0.02 and min(eyes) < 0 < max(eyes))
    assert told > 15 and agree / told > 0.85  # decoys may lie on some


def test_the_same_seed_gives_the_same_scenes(scenery):
    pool = FacePool(drawn_faces())
    first, second, other = (compose_scenes(pool, scenery, 4, seed, SIZE) for seed in (5, 5, 6))
    assert torch.equal(first.image, second.image) and torch.equal(first.boxes, second.boxes)
    assert not torch.equal(first.image, other.image)


def test_a_pool_exchanges_its_oldest_faces():
    pool = FacePool(drawn_faces(4))
    dark = drawn_faces(3)
    dark.clean *= 0
    pool.renew(dark)
    assert pool.pixels[:, :3].flatten(1).amax(1).tolist() == [0, 0, 0, 255]
    pool.renew(dark)
    assert pool.pixels[:, :3].max() == 0 and len(pool) == 4


def test_pictures_of_a_folder_become_backgrounds(tmp_path, scenery):
    with pytest.raises(LirecError, match="no pictures"):
        Scenery(folder=tmp_path)
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (90, 50), (255, 0, 255)).save(tmp_path / "sub" / "a.png")
    assert len(Scenery(folder=tmp_path).bank) == len(scenery.bank) + 1
