"""The ablation's trainings: their losses, and that the scripts run and give what is measured."""

import pytest
import torch

from lirec import LirecError
from lirec.models.et_net import ETNet
from lirec.models.rec_net import RecNet, RecNetOutput
from lirec.models.weights import load_model, save_model
from train import ablations
from train.ablations import detect_landmarks, main, pair_losses
from train.data.cache import to_batch, write_shards
from train.data.synthetic import SyntheticFaces
from train.et_net import prepare

SIZES = {"image_size": 32, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "embedding_size": 8}


@pytest.fixture(scope="module")
def renderer(morphable_model):
    return SyntheticFaces(morphable_model, 64, supersampling=1.0)


@pytest.fixture(scope="module")
def truth(renderer, morphable_model):
    """Crops of four faces, 48 px wide."""
    config = ETNet(image_size=48, depths=(1, 1), hidden_sizes=(8, 8)).config
    batch = to_batch(renderer.sample(4, 1, degraded=False))
    return prepare(batch, morphable_model, torch.Generator().manual_seed(0), config, 0.0)


def with_expression(truth, expression: torch.Tensor) -> RecNetOutput:
    """What a RecNet would say that knows everything but the expression."""
    names = {"albedo": "albedo_coefficients"}
    names |= {name: name for name in ("identity", "angles", "translation", "focal", "light")}
    return RecNetOutput(expression=expression, **{key: getattr(truth, name) for key, name in names.items()})


class Knows(torch.nn.Module):
    """A RecNet that is never wrong about some faces."""

    def __init__(self, output: RecNetOutput):
        super().__init__()
        self.output = output

    def forward(self, images: torch.Tensor) -> RecNetOutput:
        return self.output


def test_detected_landmarks_are_those_of_the_reconstruction(truth, morphable_model):
    points = detect_landmarks(Knows(with_expression(truth, truth.expression)), truth.image, morphable_model)
    torch.testing.assert_close(points, truth.landmarks, atol=0.25, rtol=0)  # a window is turned, not warped


def test_pairs_are_photos_and_only_the_baseline_learns_their_expressions(truth, morphable_model):
    expression = truth.expression.roll(1, 0).clone().requires_grad_()
    output, detector = with_expression(truth, expression), Knows(with_expression(truth, truth.expression))
    terms = {with_it: pair_losses(output, truth, morphable_model, detector, with_it) for with_it in (True, False)}
    assert set(terms[True]) - set(terms[False]) == {"pair_activation"}
    assert {"pair_landmarks", "pair_render", "pair_regularisation"} <= set(terms[False])
    sum(terms[True].values()).backward()
    assert torch.isfinite(expression.grad).all() and expression.grad.abs().max() > 0
    best = pair_losses(with_expression(truth, truth.expression), truth, morphable_model, detector, True)
    assert best["pair_activation"] < 1e-3 and best["pair_landmarks"] < 0.05 < terms[True]["pair_landmarks"]


@pytest.fixture(scope="module")
def folder(renderer, tmp_path_factory):
    """Rendered faces that also serve as pairs, a detector and a preset."""
    folder = tmp_path_factory.mktemp("ablations")
    write_shards(renderer, folder / "cache", 8, 8, seed=0, batch=8, per_identity=2)
    save_model(RecNet(layer_type="basic", **SIZES), folder / "detector")
    sizes = "\n".join(f"{name} = {value}" for name, value in SIZES.items())
    for name, option, more in (("rec_net", "validation_faces = 8", 'layer_type = "basic"'), ("et_net", "", "")):
        text = f"steps = 2\nbatch-size = 4\ncpu = true\n{option}\n[model]\n{sizes}\n{more}\nfeedback_steps = 1\n"
        (folder / f"{name}.toml").write_text(text)
    return folder


@pytest.mark.parametrize("variant", ablations.VARIANTS)
def test_script(folder, tmp_path, capsys, variant):
    network = "et_net" if variant == "rec_copy_net" else "rec_net"
    arguments = [variant, "--preset", str(folder / f"{network}.toml"), "--cache", str(folder / "cache")]
    if network == "rec_net":
        arguments += ["--pairs", str(folder / "cache"), "--pairs_batch", "2", "--detector", str(folder / "detector")]
    main([*arguments, "--output", str(tmp_path)])
    log = capsys.readouterr().out
    assert "validation." in log and ("pair_activation" in log) == (variant == "baseline")
    assert "look_0" in log
    assert load_model({"rec_net": RecNet, "et_net": ETNet}[network], tmp_path / network).config.image_size == 32


def test_wrong_options_give_a_sentence(folder, tmp_path):
    with pytest.raises(LirecError, match="one of baseline, rec_data_net, rec_copy_net"):
        main(["--preset", "cpu"])
    save_model(RecNet(48, layer_type="basic", depths=(1, 1), hidden_sizes=(8, 8)), tmp_path / "other")
    arguments = ["baseline", "--preset", str(folder / "rec_net.toml"), "--pairs", str(folder / "cache")]
    with pytest.raises(LirecError, match="sees 48 px and the network 32"):
        main([*arguments, "--output", str(tmp_path / "run"), "--detector", str(tmp_path / "other")])
