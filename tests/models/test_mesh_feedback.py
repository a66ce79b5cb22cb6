"""MeshFeedback: where it looks, and that what it sees there changes what was regressed."""

import math

import pytest
import torch

from lirec.geometry import euler_to_matrix, intrinsics, project
from lirec.geometry.camera import NEAREST
from lirec.models.et_net import ETNet
from lirec.models.mesh_feedback import TYPICAL_SCALE, MeshFeedback, head_counts, read_head
from lirec.models.rec_net import RecNet

TINY = {"image_size": 32, "layer_type": "basic", "depths": (1, 1), "hidden_sizes": (8, 16), "embedding_size": 8}
COUNT = sum(head_counts(80, 51))


@pytest.fixture
def feedback(morphable_model):
    torch.manual_seed(0)
    result = MeshFeedback((4, 8, 16), 16, COUNT, 80, 51, steps=2, point_count=100, width=8, kept=2, hidden=16)
    result.attach(morphable_model)
    return result


def seen(batch=3):
    """Features, maps and pictures as `CropFeatures` gives and takes them."""
    torch.manual_seed(1)
    maps = torch.rand(batch, 4, 16, 16), torch.rand(batch, 8, 8, 8), torch.rand(batch, 16, 4, 4)
    return torch.rand(batch, 16), maps, torch.rand(batch, 3, 32, 32)


def test_looks_at_the_vertices_of_the_head_that_was_seen(feedback, morphable_model):
    numbers = 0.3 * torch.randn(2, COUNT)
    head = read_head(numbers, 80, 51)
    camera = intrinsics(head.focal, head.focal.new_full((2,), 0.5))
    vertices = morphable_model(head.identity, head.expression)
    points = project(vertices, euler_to_matrix(head.angles), head.translation, camera)[..., :2]
    places = feedback.places(numbers) / 2 + 0.5
    for some, among in ((places, points), (points[:, morphable_model.landmark_vertices], places)):
        distance = torch.cdist(some, among, compute_mode="donot_use_mm_for_euclid_dist")
        assert distance.amin(2).max() < 1e-4


def test_nothing_regressed_is_a_plausible_face(feedback):
    places = feedback.places(torch.zeros(1, COUNT))
    assert places.abs().max() < 1.2 and places.mean(1).abs().max() < 0.5
    assert (places.amax(1) - places.amin(1)).min() > 0.6


def test_no_face_is_nearer_than_those_that_were_trained_on():
    """A large face in a wide-angle picture is as large, but seen from the least distance."""
    numbers = torch.zeros(2, COUNT)
    numbers[1, -2] = 0.3
    numbers[:, -1] = -1.7
    head = read_head(numbers, 80, 51)
    torch.testing.assert_close(head.translation[:, 2], torch.full((2,), NEAREST))
    scale = head.focal / head.translation[:, 2]
    torch.testing.assert_close(scale, torch.tensor([TYPICAL_SCALE, TYPICAL_SCALE * math.exp(0.3)]))


def test_each_step_changes_the_numbers(feedback):
    numbers = torch.zeros(3, COUNT)
    result = feedback(numbers, *seen())
    assert len(result) == 3 and result[0].equal(numbers)
    assert all(row.shape == (3, COUNT) for row in result)
    assert not torch.allclose(result[1], result[0]) and not torch.allclose(result[2], result[1])


@pytest.mark.parametrize("what", ["colours", "stem"])
def test_looks_only_where_the_head_is(feedback, what):
    """What is far from the face has no say but through the features of the whole crop."""
    features, maps, images = seen(1)
    numbers = torch.zeros(1, COUNT)
    numbers[:, 136] = -1.2  # small and in the middle

    def after(change):
        layer = (images if what == "colours" else maps[0]).clone()
        size = layer.shape[3]
        change(layer, size)
        given = (maps, layer) if what == "colours" else ([layer, *maps[1:]], images)
        return feedback(numbers, features, *given)[1]

    def blank_corner(layer, size):
        layer[..., : size // 8, : size // 8] = 0

    def blank_middle(layer, size):
        layer[..., size * 3 // 8 : size * 5 // 8, size * 3 // 8 : size * 5 // 8] = 0

    before = feedback(numbers, features, maps, images)[1]
    torch.testing.assert_close(after(blank_corner), before)
    assert not torch.allclose(after(blank_middle), before)


@pytest.mark.parametrize("kind", [RecNet, ETNet])
def test_in_a_network_every_weight_is_trained(kind, morphable_model):
    torch.manual_seed(0)
    network = kind(**TINY, feedback_steps=2)
    network.feedback.attach(morphable_model)
    output = network(torch.rand(4, 3, 32, 32))
    if kind is RecNet:
        looks = [value for look in (*output.earlier, output) for name, value in look.items() if name != "earlier"]
    else:
        looks = [value for head in output.heads for value in vars(head).values()]
    sum(value.square().sum() for value in looks).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
