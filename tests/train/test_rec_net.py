"""RecNet's and the embedder's training: the losses vanish at the truth, and the scripts run and go on."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from lirec.models.face_embedder import FaceEmbedder
from lirec.models.rec_net import RecNet, RecNetOutput
from lirec.models.weights import load_model
from train.data.cache import to_batch, write_shards
from train.data.crops import PhotoBatch
from train.data.synthetic import SyntheticFaces
from train.face_embedder import contrastive_loss
from train.rec_net import FaceProbes, self_supervised_losses, supervised_losses

TINY = """
steps = 2
batch-size = 4
cpu = true

[model]
image_size = 32
{}depths = [1, 1, 1, 1]
hidden_sizes = [8, 8, 16, 16]
embedding_size = 8
{}"""


@pytest.fixture(scope="module")
def model(morphable_model):
    return morphable_model


@pytest.fixture(scope="module")
def renderer(model):
    return SyntheticFaces(model, 64, supersampling=1.0)


@pytest.fixture(scope="module")
def truth(renderer):
    return to_batch(renderer.sample(4, 1, degraded=False))


def perfect(truth):
    return RecNetOutput(
        identity=truth.identity.clone().requires_grad_(),
        expression=truth.expression.clone().requires_grad_(),
        albedo=truth.albedo_coefficients.clone().requires_grad_(),
        angles=truth.angles.clone().requires_grad_(),
        translation=truth.translation.clone().requires_grad_(),
        focal=truth.focal.clone().requires_grad_(),
        light=truth.light.clone().requires_grad_(),
    )


def test_supervised_losses_vanish_at_the_truth(model, truth):
    output = perfect(truth)
    eye = torch.eye(3).expand(4, 3, 3)
    terms = supervised_losses(output, truth, eye, model, FaceProbes(model))
    assert all(value.abs() < 2e-3 for value in terms.values()), terms
    sum(terms.values()).backward()
    assert all(torch.isfinite(value.grad).all() for value in output.values())
    output.identity = truth.identity.roll(1, 0)
    worse = supervised_losses(output, truth, eye, model, FaceProbes(model))
    assert worse["identity"] > 0.5 and worse["points"] > 0.1 and worse["movement"] < 2e-3


def test_every_look_learns_all(model, truth):
    """Of the looks before the last, too, each number has a gradient."""
    output, earlier = (perfect(truth) for _ in range(2))
    for value in earlier.values():
        value.data += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    output["earlier"] = [earlier]
    terms = supervised_losses(output, truth, torch.eye(3).expand(4, 3, 3), model, FaceProbes(model))
    terms["look_0"].backward()
    assert all(value.grad.abs().sum() > 0 for value in earlier.values())


def test_self_supervised_losses_prefer_the_truth(model, truth):
    photo = PhotoBatch(truth.image, truth.landmarks, torch.ones(4))
    good = self_supervised_losses(perfect(truth), photo, model, None)
    output = perfect(truth)
    output.albedo, output.light, output.angles = (
        truth.albedo_coefficients.roll(1, 0),
        truth.light.roll(1, 0),
        truth.angles * 0.5,
    )
    bad = self_supervised_losses(output, photo, model, None)
    assert good["landmarks"] < 0.02 < bad["landmarks"]
    assert good["render"] < bad["render"]


def test_contrastive_loss_pairs_neighbours():
    vectors = torch.nn.functional.normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    people = torch.arange(4).repeat_interleave(2)
    paired = vectors[::2].repeat_interleave(2, 0)
    assert contrastive_loss(paired, people) < 0.1 * contrastive_loss(vectors, people)


def run(module, tmp_path, preset, *arguments):
    (tmp_path / "tiny.toml").write_text(preset)
    command = [sys.executable, "-m", module, "--preset", str(tmp_path / "tiny.toml"), "--output", str(tmp_path / "run")]
    return subprocess.run([*command, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def cache(renderer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    write_shards(renderer, folder, 16, 16, seed=0, batch=8, per_identity=2)
    return folder


def test_script_on_rendered_faces_and_photos(cache, truth, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, picture in enumerate(truth.image):
        Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(photos / f"{index}.png")
    names = ["file", *(f"{axis}{i}" for i in range(68) for axis in "xy")]
    rows = [[f"{i}.png", *p.flatten().tolist()] for i, p in enumerate(truth.landmarks)]
    (photos / "landmarks68.csv").write_text("\n".join(",".join(map(str, row)) for row in (names, *rows)) + "\n")
    preset = TINY.format('layer_type = "basic"\n', "feedback_steps = 2\n")
    common = ("--cache", str(cache), "--data", "synthetic", "folder", "--root", str(photos))
    first = run("train.rec_net", tmp_path, preset, *common)
    assert first.returncode == 0, first.stderr
    assert "photo_render" in first.stdout and "validation.points" in first.stdout
    assert load_model(RecNet, tmp_path / "run" / "rec_net").config.image_size == 32
    assert (tmp_path / "run" / "pictures" / "reconstructions.png").exists()
    onward = run("train.rec_net", tmp_path, preset, *common, "--resume", "--steps", "3")
    assert onward.returncode == 0 and "step 3 " in onward.stdout, onward.stderr


def test_script_without_a_root_says_so(tmp_path):
    result = run("train.rec_net", tmp_path, TINY.format("", ""), "--data", "celeba")
    assert result.returncode == 1 and "--root" in result.stderr and "Traceback" not in result.stderr


def test_embedder_script(cache, tmp_path):
    result = run("train.face_embedder", tmp_path, TINY.format("", ""), "--cache", str(cache))
    assert result.returncode == 0, result.stderr
    assert "validation.verification" in result.stdout
    assert load_model(FaceEmbedder, tmp_path / "run" / "face_embedder").config.dimension == 128
