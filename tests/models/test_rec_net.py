"""RecNet and FaceEmbedder: sizes, gradients, files."""

import pytest
import torch

from lirec.geometry import euler_to_matrix, project
from lirec.models.face_embedder import FaceEmbedder
from lirec.models.mesh_feedback import TYPICAL_FOCAL, TYPICAL_SCALE
from lirec.models.rec_net import RecNet
from lirec.models.weights import load_model, save_model

TINY = {
    "image_size": 32,
    "layer_type": "basic",
    "depths": (1, 1, 1, 1),
    "hidden_sizes": (8, 8, 16, 16),
    "embedding_size": 8,
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return RecNet(**TINY, head_width=24).eval()


def test_shapes(network):
    output = network(torch.rand(3, 3, 32, 32))
    shapes = {name: tuple(value.shape) for name, value in output.items()}
    assert shapes == {
        "identity": (3, 80),
        "expression": (3, 51),
        "albedo": (3, 64),
        "angles": (3, 3),
        "translation": (3, 3),
        "focal": (3,),
        "light": (3, 9, 3),
    }


def test_starts_at_a_plausible_face(network):
    """Untrained, the face looks at the camera from the middle of the crop, as large as crops are cut."""
    output = network(torch.rand(2, 3, 32, 32))
    assert output.angles.abs().max() < 0.2 and output.translation[:, :2].abs().max() < 0.05
    torch.testing.assert_close(output.focal, torch.full((2,), TYPICAL_FOCAL), rtol=0.3, atol=0)
    scale = output.focal / output.translation[:, 2]
    torch.testing.assert_close(scale, torch.full((2,), TYPICAL_SCALE), rtol=0.3, atol=0)
    camera = torch.eye(3).repeat(2, 1, 1)
    camera[:, 0, 0] = camera[:, 1, 1] = output.focal
    camera[:, :2, 2] = 0.5
    origin = project(torch.zeros(2, 1, 3), euler_to_matrix(output.angles), output.translation, camera)
    assert (origin[..., :2] - 0.5).abs().max() < 0.15


def test_paper_defaults():
    with torch.device("meta"):
        network = RecNet()
    assert network.config.image_size == 224 and tuple(network.config.depths) == (3, 4, 6, 3)
    count = sum(p.numel() for p in network.backbone.parameters())
    assert 23.0e6 < count < 24.0e6  # ResNet-50 without its classifier


def test_every_weight_is_trained(network):
    network.train()
    output = network(torch.rand(4, 3, 32, 32))
    sum(value.square().sum() for value in output.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", [RecNet, FaceEmbedder])
def test_saved_as_loaded(kind, tmp_path):
    torch.manual_seed(1)
    network = kind(**TINY).eval()
    save_model(network, tmp_path)
    again = load_model(kind, tmp_path)
    picture = torch.rand(2, 3, 32, 32)
    first, second = network(picture), again(picture)
    first, second = (x if torch.is_tensor(x) else x.identity for x in (first, second))
    torch.testing.assert_close(first, second, atol=2e-3, rtol=0)  # stored in half precision
    for name in TINY:
        assert list(again.config[name]) == list(TINY[name]) if name in ("depths", "hidden_sizes") else (
            again.config[name] == TINY[name]
        )


def test_embedder_gives_unit_vectors_of_any_size():
    network = FaceEmbedder(**TINY, dimension=12).eval()
    vectors = network(torch.rand(2, 3, 50, 50))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    assert [f.shape[1] for f in network.features(torch.rand(1, 3, 32, 32))] == [8, 8, 16, 16]
