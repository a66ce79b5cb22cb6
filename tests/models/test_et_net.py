"""ETNet: sizes and files."""

import pytest
import torch

from lirec.models.et_net import ETNet
from lirec.models.weights import load_model, save_model

TINY = {"image_size": 32, "depths": (1, 1, 1, 1), "hidden_sizes": (8, 8, 16, 16), "embedding_size": 8}


def network(**settings):
    torch.manual_seed(0)
    return ETNet(**TINY, **settings).eval()


@pytest.mark.parametrize("settings", [{}, {"head_width": 24}])
def test_shapes(settings):
    net = network(**settings)
    output = net(torch.rand(3, 3, 32, 32))
    assert output.expression.shape == (3, 51)
    assert len(output.heads) == 1 and output.heads[0].identity.shape == (3, 80)
    assert output.expression.abs().max() < 0.5  # untrained: hardly any expression


def test_paper_defaults():
    with torch.device("meta"):
        network = ETNet()
    count = sum(p.numel() for p in network.backbone.parameters())
    assert network.config.image_size == 224 and 21.0e6 < count < 21.6e6  # ResNet-34 without its classifier


def test_saved_and_loaded(tmp_path):
    net = network(head_width=24, feedback_steps=2)
    save_model(net.half(), tmp_path)
    pictures = torch.rand(2, 3, 32, 32)
    again = load_model(ETNet, tmp_path)
    torch.testing.assert_close(again(pictures).expression, net.float()(pictures).expression)
    save_model(again, tmp_path / "again")
    assert str(tmp_path) not in (tmp_path / "again" / "config.json").read_text()  # no path of this machine
