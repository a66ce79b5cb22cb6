"""ETNet's training: crops, losses, and the script runs, goes on and starts from a RecNet."""

import subprocess
import sys
from dataclasses import fields

import pytest
import torch

from lirec.models.et_net import ETNet
from lirec.models.mesh_feedback import Head
from lirec.models.rec_net import RecNet
from lirec.models.weights import load_model, save_model
from train.data.cache import to_batch, write_shards
from train.data.synthetic import SyntheticFaces
from train.et_net import prepare
from train.rec_net import FaceProbes, head_losses, look_losses

TINY = """
steps = 2
batch-size = 4
cpu = true

[model]
image_size = 32
depths = [1, 1, 1, 1]
hidden_sizes = [8, 8, 16, 16]
embedding_size = 8
head_width = 24
feedback_steps = 2
"""


@pytest.fixture(scope="module")
def renderer(morphable_model):
    return SyntheticFaces(morphable_model, 64, supersampling=1.0)


@pytest.fixture(scope="module")
def truth(renderer, morphable_model):
    batch = to_batch(renderer.sample(8, 1, degraded=False))
    config = ETNet(image_size=48, depths=(1, 1), hidden_sizes=(8, 8)).config
    return prepare(batch, morphable_model, torch.Generator().manual_seed(0), config, 0.5)


def test_crops_are_upright_round_the_landmarks(truth):
    assert truth.image.shape == (8, 3, 48, 48)
    assert truth.angles[:, 2].abs().max() < 0.2
    low, high = truth.landmarks.amin(1), truth.landmarks.amax(1)
    assert ((low + high) / 2 / 48 - 0.5).abs().max() < 0.1
    assert (48 / (high - low).amax(1) - 1.2).abs().max() < 0.2


def heads(truth, expression):
    names = {field.name for field in fields(Head)} - {"expression"}
    return Head(expression=expression, **{name: getattr(truth, name) for name in names})


def test_losses_vanish_at_the_truth(truth, morphable_model):
    probes = FaceProbes(morphable_model)
    expression = truth.expression.clone().requires_grad_()
    terms = look_losses([heads(truth, expression)] * 2, head_losses, truth, probes)
    assert all(value.abs() < 0.02 for value in terms.values()), terms
    sum(terms.values()).backward()
    assert torch.isfinite(expression.grad).all()
    wrong = heads(truth, truth.expression.roll(1, 0))
    worse = look_losses([wrong], head_losses, truth, probes)
    assert min(worse[name] for name in ("expression_coefficients", "movement", "activation")) > 0.1
    unsure = look_losses([wrong, heads(truth, truth.expression)], head_losses, truth, probes)
    assert 0 < unsure.pop("look_0") < sum(worse.values()) and sum(unsure.values()) < 0.05


def run(tmp_path, *arguments):
    (tmp_path / "tiny.toml").write_text(TINY)
    command = [sys.executable, "-m", "train.et_net", "--preset", str(tmp_path / "tiny.toml")]
    command += ["--output", str(tmp_path / "run"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_script(renderer, tmp_path):
    write_shards(renderer, tmp_path / "cache", 16, 16, seed=0, batch=8, per_identity=2)
    sizes = {"depths": (1, 1, 1, 1), "hidden_sizes": (8, 8, 16, 16), "head_width": 24}
    rec_net = RecNet(32, layer_type="basic", embedding_size=8, **sizes)
    save_model(rec_net, tmp_path / "rec_net")
    first = run(tmp_path, "--cache", str(tmp_path / "cache"), "--backbone", str(tmp_path / "rec_net"))
    assert first.returncode == 0, first.stderr
    assert "validation.correlation" in first.stdout
    trained = load_model(ETNet, tmp_path / "run" / "et_net")
    assert trained.config.head_width == 24 and trained.feedback.mean.abs().sum() > 0
    onward = run(tmp_path, "--cache", str(tmp_path / "cache"), "--resume", "--steps", "3")
    assert onward.returncode == 0 and "step 3 " in onward.stdout, onward.stderr
    wider = run(tmp_path, "--pairs", str(tmp_path / "cache"), "--resume", "--steps", "4")  # drawn faces have 40 px
    assert wider.returncode == 1 and "--pairs are 64 px wide, the other faces 40" in wider.stderr
    more = ("--cache", str(tmp_path / "cache"), "--pairs", str(tmp_path / "cache"), "--pairs_batch", "3")
    joined = run(tmp_path, *more, "--resume", "--steps", "4")
    assert joined.returncode == 0 and "step 4 " in joined.stdout, joined.stderr


def test_a_backbone_of_another_size_is_refused(tmp_path):
    save_model(RecNet(32, layer_type="basic", depths=(1, 1), hidden_sizes=(8, 8)), tmp_path / "rec_net")
    result = run(tmp_path, "--backbone", str(tmp_path / "rec_net"))
    assert result.returncode == 1 and "other sizes" in result.stderr and "Traceback" not in result.stderr
