"""LI-Net's training: its losses, and the script runs for each module and goes on."""

import json
import os
import subprocess
import sys

import pytest
import torch

from lirec.geometry.landmarks import box_normalised
from lirec.models.dc_net import DCNet
from lirec.models.discriminators import LandmarkClassifier, LandmarkDiscriminator
from lirec.models.landmark_lifter import LandmarkConditions, LandmarkLifter, Lifting
from lirec.models.layered_output import LayeredOutput
from lirec.models.li_net import ExpressionGenerator, FaceRotator, LandmarkTransformer, LINet
from lirec.models.weights import load_model, save_model
from train import li_net
from train.common import learning_rate_factor
from train.data.cache import to_batch, write_shards
from train.data.clips import rotation_clips
from train.data.landmark_motions import LandmarkMotions
from train.data.rotations import rendered_triples
from train.data.synthetic import SyntheticFaces
from train.li_net import (
    face_weight,
    fit_statistics,
    judge_losses,
    lifter_losses,
    picture_losses,
    transformer_figures,
    transformer_losses,
)

SIZE = 64
LIFTER = ("--lifter", "hub/li-net/landmark_lifter")
PICTURES = "steps = 2\nbatch-size = 2\nshown = 4\ncpu = true\nadversarial_from = 0.0\n"
TINY = {
    "T": "steps = 2\nbatch-size = 4\npeople = 4\ncpu = true\n[model]\nwidth = 16\ndepth = 1\n",
    "L": "steps = 2\nbatch-size = 4\ncpu = true\n[model]\nwidth = 16\ndepth = 1\n",
    "R": f"{PICTURES}[model]\nimage_size = {SIZE}\nwidth = 8\n",
    "G": f"{PICTURES}[model]\nimage_size = {SIZE}\nwidth = 8\ndepth = 1\n",
}


def run(tmp_path, module, *arguments, launcher=()):
    preset = tmp_path / f"{module}.toml"
    preset.write_text(TINY[module])
    command = [sys.executable, *launcher, "-m", "train.li_net", "--module", module, "--preset", str(preset)]
    command += ["--output", str(tmp_path / "run"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


# T --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quartets(morphable_model):
    return LandmarkMotions(morphable_model, people=4).sample(32, 0)


@pytest.fixture(scope="module")
def lifting(landmark_lifter, morphable_model):
    return Lifting(landmark_lifter, morphable_model.of_landmarks())


def test_transformer_learns_a_few_pairs(quartets, lifting):
    """The gap between driver and source is closed on what it is trained on, and equation 1 falls."""
    torch.manual_seed(0)
    transformer, classifier = LandmarkTransformer(width=64, depth=1), LandmarkClassifier(4, 16)
    fit_statistics(transformer, lifting, quartets)
    optimizer = torch.optim.Adam(transformer.parameters(), lr=5e-3)
    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(100):
        terms, _ = transformer_losses(transformer, lifting, classifier, quartets, generator)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(float(sum(terms.values()).detach()))
    figures = transformer_figures(transformer, lifting, quartets)
    assert figures["transformed 0-90"] < 0.5 * figures["driver 0-90"]
    assert losses[-1] < 0.4 * losses[0] and figures["placement"] < 0.1
    assert set(terms) == {"l1", "reconstruction", "cycle", "identity", "placement"}


def test_landmark_images_are_compared_too(quartets, lifting):
    transformer = LandmarkTransformer("images", width=16, depth=1, image_size=32)
    terms, _ = transformer_losses(
        transformer, lifting, LandmarkClassifier(4, 16), quartets, torch.Generator()
    )
    assert terms["pixels"] > 0


def test_judges_learn_who_and_what_is_real(quartets):
    torch.manual_seed(0)
    classifier, discriminator = LandmarkClassifier(4, 32), LandmarkDiscriminator(32)
    optimizer = torch.optim.Adam([*classifier.parameters(), *discriminator.parameters()], lr=3e-3)
    made = torch.rand(32, 68, 2) - 0.5
    for _ in range(60):
        terms = judge_losses(classifier, discriminator, quartets, made)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    assert terms["discriminator"] < 0.2 and terms["classifier"] < 0.5


def test_rates_that_drop():
    factors = [learning_rate_factor(1000, progress, 10, 0.2) for progress in (0.0, 0.19, 0.2, 0.41, 0.99)]
    assert factors == pytest.approx([1, 1, 0.1, 0.01, 1e-4])


def test_transformer_script_runs_and_goes_on(tmp_path):
    first = run(tmp_path, "T", *LIFTER)
    assert first.returncode == 0, first.stderr
    assert "validation.transformed 60-90" in first.stdout and "classifier" in first.stdout
    folder = tmp_path / "run" / "transformer"
    assert load_model(LandmarkTransformer, folder / "landmark_transformer").config.width == 16
    assert (folder / "pictures" / "landmarks.png").exists()
    onward = run(tmp_path, "T", *LIFTER, "--resume", "--steps", "3")
    assert onward.returncode == 0 and "step 3 " in onward.stdout, onward.stderr


def test_transformer_on_two_processes(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    result = run(tmp_path, "T", *LIFTER, launcher=launcher)
    assert result.returncode == 0, result.stderr
    assert load_model(LandmarkTransformer, tmp_path / "run" / "transformer" / "landmark_transformer")


def test_all_goes_on_where_it_stopped(tmp_path, monkeypatch):
    """L is finished, T is not, and the others have not begun."""
    for folder, step in (("lifter", 2), ("transformer", 1)):
        (tmp_path / folder / "checkpoint").mkdir(parents=True)
        (tmp_path / folder / "checkpoint" / "run.json").write_text(json.dumps({"step": step, "seconds": 1}))
    begun = []
    for module in li_net.TRAINING:
        monkeypatch.setitem(li_net.TRAINING, module, lambda o, module=module: begun.append((module, o.resume)))
    li_net.main(["--output", str(tmp_path), "--steps", "2", "--resume"])
    assert begun == [("T", True), ("R", False), ("G", False)]


# L --------------------------------------------------------------------------------------------------------------------


def test_lifter_learns_a_few_heads(morphable_model):
    torch.manual_seed(0)
    motions = LandmarkMotions(morphable_model, people=4)
    heads = motions.sample_heads(32, 0)
    lifter = LandmarkLifter(width=64, depth=1)
    lifter.fit_statistics(heads.landmarks)
    optimizer = torch.optim.Adam(lifter.parameters(), lr=5e-3)
    found = []
    for _ in range(60):
        terms = lifter_losses(lifter(heads.landmarks), heads, box_normalised(heads.landmarks), motions.model)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        found.append({name: float(term.detach()) for name, term in terms.items()})
    told = ("vertices", "landmarks", "rotation", "expression", "nearness")
    assert all(found[-1][name] < 0.5 * found[0][name] for name in told)


# R and G --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def renderer(morphable_model):
    return SyntheticFaces(morphable_model, 80, supersampling=1.0)


@pytest.fixture(scope="module")
def batch(renderer):
    return to_batch(rotation_clips(renderer, 2, 5, wild=0.0))


@pytest.fixture(scope="module")
def triples(batch, renderer, morphable_model):
    generator = torch.Generator().manual_seed(0)
    return rendered_triples(batch, morphable_model.of_landmarks(), renderer.expressions, generator, SIZE, varied=False)


def test_three_frames_of_one_scene(batch):
    first, turned, moved = (torch.arange(2) * 3 + i for i in range(3))
    assert torch.equal(batch.expression[first], batch.expression[turned])
    assert torch.equal(batch.angles[turned], batch.angles[moved])
    assert (batch.angles[first] - batch.angles[turned]).abs().max() > 0.05
    assert (batch.expression[turned] - batch.expression[moved]).abs().max() > 0.1
    for name in ("identity", "focal", "light"):
        assert torch.equal(getattr(batch, name)[first], getattr(batch, name)[moved]), name


def test_triples_are_of_one_person_and_pose(batch, triples, renderer, morphable_model):
    assert triples.source.shape == triples.result.shape == (2, 3, SIZE, SIZE)
    torch.testing.assert_close(triples.source_landmarks, batch.landmarks[::3] / 80, atol=1e-5, rtol=0)
    # the pose's landmarks are near those of the turned face, but for the expression
    gap = (triples.pose_landmarks - batch.landmarks[1::3] / 80).norm(dim=2)
    assert gap.max() > 0.005 and gap[:, 27:31].max() < 0.02
    small, generator = morphable_model.of_landmarks(), torch.Generator().manual_seed(1)
    varied = rendered_triples(batch, small, renderer.expressions, generator, SIZE)
    assert varied.shown.shape == (2, 9) and 0 < varied.shown.mean() < 1
    assert varied.source.min() >= 0 and not torch.equal(varied.source, triples.source)
    far = (varied.result_landmarks - varied.pose_landmarks).norm(dim=2)[:, 27:31]
    assert far.max() < 0.03  # cut and mirrored alike


def test_picture_losses_are_least_at_the_target(triples):
    def total(image):
        return sum(picture_losses(LayeredOutput(image=image, generated=image), triples.result, marks).values())

    marks = triples.result_landmarks
    assert total(triples.result) < 1e-6 < 0.02 < total(triples.source)
    weight = face_weight(marks, SIZE)
    nose = (marks[0, 30] * SIZE).int()
    assert weight[0, 0, nose[1], nose[0]] > 1.5 * weight[0, 0, 0, 0]
    torch.testing.assert_close(weight.mean((1, 2, 3)), torch.ones(2))


@pytest.mark.parametrize("kind", [FaceRotator, ExpressionGenerator])
def test_drawers_learn_a_few_pictures(kind, triples, morphable_model):
    torch.manual_seed(0)
    network = kind(image_size=SIZE, width=16)
    conditions = LandmarkConditions(LandmarkLifter(width=16, depth=1), morphable_model, SIZE)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    found = []
    for _ in range(40):
        if kind is FaceRotator:
            net = LINet(conditions, network)
            source = net.prepare(triples.source, triples.source_landmarks)
            heads = conditions.lift(triples.pose_landmarks, source.head.identity)
            output, target = net.rotate(source, net.turn(source, heads), triples.pose_landmarks), triples.rotated
        else:
            net = LINet(conditions, FaceRotator(image_size=SIZE, width=8), network)
            source = net.prepare(triples.source, triples.source_landmarks)
            output, target = net(source, triples.result_landmarks)[1], triples.result
        loss = sum(picture_losses(output, target, triples.result_landmarks).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.8 * found[0]


def test_picture_scripts_run_and_go_on(renderer, tmp_path):
    write_shards(renderer, tmp_path / "cache", 6, 6, seed=0, batch=6, per_identity=3, clips="rotation")
    lifted = run(tmp_path, "L")
    assert lifted.returncode == 0 and "validation.degrees" in lifted.stdout, lifted.stderr
    save_model(DCNet(image_size=SIZE, width=8), tmp_path / "dc_net")
    cache = ("--cache", str(tmp_path / "cache"))
    first = run(tmp_path, "R", *cache, "--drawer", str(tmp_path / "dc_net"))
    assert first.returncode == 0, first.stderr
    assert "validation.l1" in first.stdout and "pose_regressor" in first.stdout and "discriminator" in first.stdout
    folder = tmp_path / "run" / "rotator"
    assert load_model(FaceRotator, folder / "face_rotator").config.output == "layers"
    assert (folder / "pictures" / "rotations.png").exists()
    onward = run(tmp_path, "R", *cache, "--resume", "--steps", "3")
    assert onward.returncode == 0 and "step 3 " in onward.stdout, onward.stderr
    second = run(tmp_path, "G", *cache)
    assert second.returncode == 0 and "perceptual" in second.stdout, second.stderr
    assert load_model(ExpressionGenerator, tmp_path / "run" / "generator" / "expression_generator").config.rotated


def test_baseline_without_a_cache(tmp_path):
    save_model(LandmarkLifter(width=16, depth=1), tmp_path / "lifter")
    result = run(tmp_path, "G", "--variant", "pix2pix", "--steps", "1", "--lifter", str(tmp_path / "lifter"))
    assert result.returncode == 0, result.stderr
    config = load_model(ExpressionGenerator, tmp_path / "run" / "pix2pix" / "expression_generator").config
    assert (config.output, config.encoder, config.rotated) == ("rgb", "concatenated", False)


def test_generator_needs_a_rotator(tmp_path):
    result = run(tmp_path, "G")
    assert result.returncode == 1 and "--rotator" in result.stderr and "Traceback" not in result.stderr


def test_photos_without_a_root(tmp_path):
    result = run(tmp_path, "R", "--data", "rafd")
    assert result.returncode == 1 and "--root" in result.stderr and "Traceback" not in result.stderr
