"""DCNet's training: pairs out of clips and videos, its losses, and the script runs and goes on."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from lirec import LirecError
from lirec.geometry import project
from lirec.geometry.view_synthesis import warp
from lirec.losses import hinge_discriminator_loss, hinge_generator_loss
from lirec.models.conditions import ConditionRenderer
from lirec.models.dc_net import DCNet
from lirec.models.discriminators import PatchDiscriminator
from lirec.models.layered_output import LayeredOutput
from lirec.models.weights import load_model
from lirec.processing.video import VideoWriter
from train.data import pairs
from train.data.augment import look_through
from train.data.cache import to_batch, write_shards
from train.data.pairs import mistaken_view, rendered_pairs, true_view, video_pairs
from train.data.skins import Dice
from train.data.synthetic import SyntheticFaces
from train.data.voxceleb2 import VoxCeleb2Dataset
from train.dc_net import drawing_losses
from train.perceptual import ExpressionReader, Vgg19Features

SIZE = 64
TINY = f"""
steps = 2
batch-size = 2
cpu = true
adversarial_from = 0.0

[model]
image_size = {SIZE}
width = 8
"""


@pytest.fixture(scope="module")
def faces(morphable_model):
    return SyntheticFaces(morphable_model, 80, supersampling=1.0)


@pytest.fixture(scope="module")
def batch(faces):
    return to_batch(faces.sample_clips(4, 2, 3, wild=0.0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_true_views_lead_from_source_to_target(batch, morphable_model):
    """What both frames see of the head is nearer to the target once it is moved by the mesh."""
    pairs = rendered_pairs(batch, morphable_model, generator(), SIZE, varied=False)
    renderer = ConditionRenderer(morphable_model, SIZE)
    source = renderer.source(pairs.source, pairs.source_view)
    surface = renderer.driven(source, pairs.target_view).surface
    seen = surface.correspondence.visible

    def error(picture):
        return ((picture - pairs.target).abs() * seen).sum() / seen.sum()

    assert error(warp(pairs.source, surface.correspondence.grid)) < 0.6 * error(pairs.source)


def test_varied_pairs_stay_pairs(batch, morphable_model):
    pairs = rendered_pairs(batch, morphable_model, generator(1), SIZE)
    assert pairs.source.shape == pairs.target.shape == (4, 3, SIZE, SIZE)
    assert pairs.source.min() >= 0 and pairs.target.max() <= 1
    # one camera and one body for both
    torch.testing.assert_close(pairs.source_view.K, pairs.target_view.K)
    assert (pairs.source_view.rotation - pairs.target_view.rotation).abs().max() > 0.05


def test_mistakes_leave_the_landmarks_in_place(batch, morphable_model):
    view = mistaken_view(batch, morphable_model, Dice(8, generator(2), repeats=2))
    points = morphable_model.landmarks(project(view.vertices, view.rotation, view.translation, view.K), batch.angles)
    distance = (points - batch.landmarks / 80).norm(dim=-1).mean(1)
    assert distance.max() < 0.03
    assert (view.vertices - true_view(batch, morphable_model).vertices).norm(dim=-1).mean() > 5e-4


def test_losses_are_least_at_the_target(batch, morphable_model, shipped_pipeline):
    pairs = rendered_pairs(batch, morphable_model, generator(), SIZE, varied=False)
    reader = ExpressionReader(shipped_pipeline.rec_net, morphable_model)
    renderer = ConditionRenderer(morphable_model, SIZE)
    driven = renderer.driven(renderer.source(pairs.source, pairs.source_view), pairs.target_view)

    def total(image):
        output = LayeredOutput(image=image, generated=image)
        return sum(drawing_losses(output, pairs, driven, lambda images: [images], reader).values())

    assert total(pairs.target) < 1e-6 < 0.02 < total(pairs.source)


def test_what_is_read_in_a_face_does_not_depend_on_its_place(batch, morphable_model, shipped_pipeline):
    """The same faces in a wider and turned window are read alike, other faces are not."""
    reader = ExpressionReader(shipped_pipeline.rec_net, morphable_model)
    none = torch.zeros(len(batch))
    shift, still = torch.stack((none + 0.03, none), 1), torch.stack((none, none), 1)
    moved = look_through(batch, shift, none + 1.15, none + 0.2, SIZE)[0]
    plain = look_through(batch, still, none + 1, none, SIZE)[0]

    def read(faces):
        view = true_view(faces, morphable_model)
        with torch.no_grad():
            return reader._read(faces.image, reader._window(view))

    first, again = read(plain), read(moved)
    assert (first - again).abs().mean() < 0.3 * (first - first.roll(2, 0)).abs().mean()


def test_hinge_losses():
    made, real = torch.full((1, 1, 2, 2), -2.0), torch.full((1, 1, 2, 2), 2.0)
    assert hinge_discriminator_loss(real, made) == 0 and hinge_discriminator_loss(made, real) == 6
    assert hinge_generator_loss(real) == 0 and hinge_generator_loss(made) == 3
    assert PatchDiscriminator(width=8)(torch.rand(2, 3, 64, 64)).shape == (2, 1, 8, 8)


def test_vgg19_has_the_layers_of_torchvision():
    with torch.device("meta"):
        network = Vgg19Features()
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert shapes["features.0.weight"] == (64, 3, 3, 3) and shapes["features.28.weight"] == (512, 512, 3, 3)
    assert [tuple(f.shape[1:]) for f in network(torch.rand(1, 3, 32, 32, device="meta"))] == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)
    ]  # fmt: skip


def test_pairs_out_of_videos(faces, shipped_pipeline, tmp_path):
    """VoxCeleb2's layout, with a rendered clip in it."""
    folder = tmp_path / "dev" / "mp4" / "id00001" / "video"
    folder.mkdir(parents=True)
    frames = faces.sample_clips(1, 4, 11, wild=0.0).clean
    with VideoWriter(folder / "00001.mp4", (80, 80), 25) as writer:
        for frame in frames:
            writer.write((frame.permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    batch = next(video_pairs(VoxCeleb2Dataset(tmp_path, "dev"), shipped_pipeline, SIZE, 2.0, 0.06, 2, seed=0))
    assert batch.source.shape == (2, 3, SIZE, SIZE)
    points = project(*(getattr(batch.source_view, name) for name in ("vertices", "rotation", "translation", "K")))
    middle = points[..., :2].mean(1)
    assert (middle - 0.5).abs().max() < 0.2  # the head is in the middle of the crop


def test_clips_without_faces_end_with_a_sentence(shipped_pipeline, tmp_path, monkeypatch):
    folder = tmp_path / "id00001" / "video" / "00001"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "0.png")
    monkeypatch.setattr(pairs, "TRIES", 2)
    with pytest.raises(LirecError, match="No faces are found"):
        next(video_pairs(VoxCeleb2Dataset(tmp_path), shipped_pipeline, SIZE, 2.0, 0.06, 2, seed=0))


def run(tmp_path, *arguments):
    (tmp_path / "tiny.toml").write_text(TINY)
    command = [sys.executable, "-m", "train.dc_net", "--preset", str(tmp_path / "tiny.toml"), "--photos"]
    command += ["examples/astronaut.jpg", "--output", str(tmp_path / "run"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_script_runs_and_goes_on(faces, tmp_path):
    write_shards(faces, tmp_path / "cache", 8, 8, seed=0, batch=8, per_identity=2, clips=True)
    first = run(tmp_path, "--cache", str(tmp_path / "cache"))
    assert first.returncode == 0, first.stderr
    assert "validation.l1" in first.stdout and "discriminator" in first.stdout
    assert load_model(DCNet, tmp_path / "run" / "dc_net").config.output == "layers"
    assert (tmp_path / "run" / "pictures" / "reenactments.png").exists()
    onward = run(tmp_path, "--cache", str(tmp_path / "cache"), "--resume", "--steps", "3")
    assert onward.returncode == 0 and "step 3 " in onward.stdout, onward.stderr


def test_ablation_without_a_cache(tmp_path):
    result = run(tmp_path, "--steps", "1", "--output_head", "rgb", "--condition", "rendered")
    assert result.returncode == 0, result.stderr
    assert load_model(DCNet, tmp_path / "run" / "dc_net").config.condition == "rendered"


def test_videos_without_a_root(tmp_path):
    result = run(tmp_path, "--data", "voxceleb2")
    assert result.returncode == 1 and "--root" in result.stderr and "Traceback" not in result.stderr
