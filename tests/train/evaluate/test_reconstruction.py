from types import SimpleNamespace

import pytest
import torch

from lirec import LirecError
from lirec.geometry import euler_to_matrix
from train.evaluate.reconstruction import Scene, evaluate, face_region, main

COUNT, SIZE = 24, 48


def truth(count=COUNT, seed=0):
    """What a network that knows everything says of some faces."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(count, *shape, generator=generator)

    light = torch.zeros(count, 9, 3)
    light[:, 0] = 2.5
    light[:, 1:4] += 0.3 * normal(3, 1)
    return SimpleNamespace(
        identity=normal(80), expression=normal(51).sigmoid(), albedo=normal(64), angles=0.4 * normal(3),
        translation=torch.tensor([0.0, 0.0, 1.0]) + 0.01 * normal(3), focal=torch.full((count,), 2.5),
        light=light,
    )  # fmt: skip


def rendered(model, scene):
    """The faces of a scene, as the renderer of training data would give them."""
    drawn = Scene(model, scene, SIZE).draw(scene.albedo, scene.light)
    landmarks = Scene(model, scene, SIZE).landmarks()
    rotation = euler_to_matrix(scene.angles)
    return SimpleNamespace(
        image=drawn.colour, clean=drawn.colour, skin=drawn.mask,
        identity=scene.identity, expression=scene.expression,
        angles=scene.angles, rotation=rotation, light=scene.light, landmarks=landmarks,
        translation=scene.translation, focal=scene.focal, albedo_coefficients=scene.albedo,
    )  # fmt: skip


class Says:
    """A network that gives one answer after the other, each to the pictures as they are and to the undegraded ones."""

    def __init__(self, *answers):
        self.answers = [answer for answer in answers for _ in range(2)]

    def __call__(self, images):
        assert images.shape[1:] == (3, SIZE, SIZE)
        return self.answers.pop(0)


def test_a_perfect_network(model):
    scenes = [truth(seed=1), truth(seed=2)]
    report = evaluate(Says(*scenes), model, [rendered(model, scene) for scene in scenes])
    for figure in report.figures:
        assert figure.samples <= 2 * COUNT
        if figure.figure.startswith("expression coefficients"):
            assert (figure.result, figure.baseline) == (51, 0)
        else:
            assert figure.result == pytest.approx(0, abs=0.05) and figure.baseline > 0.02, figure
    assert set(report.details["expression correlation"]) == set(model.expression_names)
    assert min(report.details["expression correlation"].values()) > 0.99


def test_the_mean_face_is_no_better_than_the_baseline(model):
    scene = truth()
    faces = rendered(model, scene)
    mean = SimpleNamespace(**vars(scene))
    mean.identity, mean.albedo = torch.zeros_like(scene.identity), torch.zeros_like(scene.albedo)
    mean.expression = scene.expression.mean(0).expand_as(scene.expression)
    mean.angles = torch.zeros_like(scene.angles)
    mean.light = scene.light.mean(0).expand_as(scene.light)
    report = evaluate(Says(mean), model, [faces])
    light = report["light and albedo, L1 in the skin, light not fitted"]
    assert light.result == pytest.approx(light.baseline, rel=1e-3)
    assert report["light and albedo, L1 in the skin"].result < 0.5 * light.result
    learnt = report["expression coefficients with correlation >= 0.5"]
    assert learnt.result == 0
    for figure in report.figures:
        if figure is not learnt and not figure.figure.startswith(("landmarks", "light")):
            assert figure.result == pytest.approx(figure.baseline, rel=1e-3), figure


def test_half_the_identity_is_half_the_error(model):
    scene = truth()
    half = SimpleNamespace(**vars(scene))
    half.identity = scene.identity / 2
    report = evaluate(Says(half), model, [rendered(model, scene)])
    ratio = report["identity, not aligned, ratio to the mean face"]
    assert ratio.result == pytest.approx(0.5, abs=1e-3) and ratio.others["degraded"] == pytest.approx(0.5, abs=1e-3)
    assert report["identity, aligned, ratio to the mean face"].result == pytest.approx(0.5, abs=0.05)
    assert report["expression, ratio to the mean expression"].result == pytest.approx(0, abs=1e-4)


def test_face_region_is_around_the_nose(model):
    region = face_region(model)
    tip = model.mean_vertices[30]
    assert region[30] and not region.all()
    assert (model.mean_vertices[region] - tip).norm(dim=-1).max() <= 0.085


def test_wrong_options_give_a_sentence(tmp_path):
    with pytest.raises(LirecError, match="--count"):
        main(["--count", "1"])
    with pytest.raises(LirecError):
        main(["--weights", str(tmp_path / "missing")])
