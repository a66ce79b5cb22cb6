"""Averaged weights, and the script."""

import pytest
import torch

from lirec import LirecError
from lirec.models.dc_net import DCNet
from lirec.models.et_net import ETNet
from lirec.models.weights import load_model, save_model
from train import average_weights


def stored(folder, seed: int, network_class=DCNet, **settings):
    torch.manual_seed(seed)
    network = network_class(**settings)
    save_model(network, folder)
    return load_model(network_class, folder)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_share(tmp_path, share):
    before, after = (stored(tmp_path / name, seed, image_size=32, width=8) for seed, name in enumerate("ab"))
    average_weights.main(
        [str(tmp_path / "a"), str(tmp_path / "b"), "--share", str(share), "--output", str(tmp_path / "c")]
    )
    found = load_model(DCNet, tmp_path / "c").state_dict()
    for name, value in before.state_dict().items():
        wanted = (1 - share) * value + share * after.state_dict()[name]
        torch.testing.assert_close(found[name], wanted, atol=1e-3, rtol=1e-3)
    changed = max((found[name] - value).abs().max() for name, value in before.state_dict().items())
    assert changed > 0.01


def test_running_statistics_are_averaged_and_counts_are_not():
    small = {"image_size": 64, "depths": [1, 1], "hidden_sizes": [8, 8], "embedding_size": 8, "feedback_steps": 1}
    before, after = ETNet(**small), ETNet(**small)
    for network, mean, count in ((before, 1.0, 3), (after, 3.0, 5)):
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.fill_(mean)
            elif name.endswith("num_batches_tracked"):
                buffer.fill_(count)
    buffers = dict(average_weights.average(before, after, 0.5).named_buffers())
    means = [value for name, value in buffers.items() if name.endswith("running_mean")]
    counts = [value for name, value in buffers.items() if name.endswith("num_batches_tracked")]
    assert means and all((value == 2).all() for value in means)
    assert counts and all(value == 5 for value in counts)


def test_what_cannot_be_averaged(tmp_path, morphable_model):
    stored(tmp_path / "a", 0, image_size=32, width=8)
    stored(tmp_path / "b", 0, image_size=32, width=16)
    save_model(morphable_model, tmp_path / "model")
    output = ["--output", str(tmp_path / "c")]
    with pytest.raises(LirecError, match="one configuration"):
        average_weights.main([str(tmp_path / "a"), str(tmp_path / "b"), *output])
    with pytest.raises(LirecError, match="MorphableModel"):
        average_weights.main([str(tmp_path / "model"), str(tmp_path / "a"), *output])
    with pytest.raises(LirecError, match="--share"):
        average_weights.main([str(tmp_path / "a"), str(tmp_path / "a"), "--share", "1.5", *output])
    assert not (tmp_path / "c").exists()
