"""The truth must move with the picture: landmarks projected with the new truth lie on the moved landmarks."""

import math

import pytest
import torch

from lirec.geometry.camera import project
from lirec.geometry.rotation import euler_to_matrix
from train.data.augment import look_through, mirror
from train.data.cache import to_batch
from train.data.skins import Dice
from train.data.synthetic import SyntheticFaces


@pytest.fixture(scope="module")
def model(morphable_model):
    return morphable_model


@pytest.fixture(scope="module")
def batch(model):
    return to_batch(SyntheticFaces(model, 96, supersampling=1.0).sample(6, 3, degraded=False))


def projected(model, batch):
    size = batch.image.shape[3]
    k = torch.zeros(len(batch), 3, 3)
    k[:, 0, 0] = k[:, 1, 1] = batch.focal * size
    k[:, :2, 2], k[:, 2, 2] = size / 2, 1
    vertices = model(batch.identity, batch.expression)
    points = project(vertices, euler_to_matrix(batch.angles), batch.translation, k)
    return model.landmarks(points, batch.angles)


def test_truth_of_the_renderer(model, batch):
    torch.testing.assert_close(projected(model, batch), batch.landmarks, atol=1e-2, rtol=0)


def test_mirrored_truth(model, batch):
    flipped = mirror(batch, torch.ones(len(batch), dtype=torch.bool), model)
    inner = slice(17, 68)  # the outline's points may pick other candidates
    torch.testing.assert_close(
        projected(model, flipped)[:, inner], flipped.landmarks[:, inner], atol=0.15, rtol=0
    )


def test_window_truth(model, batch):
    dice = Dice(len(batch), torch.Generator().manual_seed(0))
    window, turn = look_through(
        batch, dice.uniform(-0.06, 0.06, 2), dice.uniform(0.8, 1.1), dice.normal(0, math.radians(20)), 128
    )
    error = (projected(model, window)[:, 17:] - window.landmarks[:, 17:]).norm(dim=-1)
    # near cameras: turning a camera is not quite shifting its picture
    assert error.median() < 0.35 and error.max() < 2.5
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3).expand(6, 3, 3), atol=1e-5, rtol=0)


def test_untouched_rows(model, batch):
    chosen = torch.arange(len(batch)) % 2 == 0
    mixed = mirror(batch, chosen, model)
    assert torch.equal(mixed.image[1::2], batch.image[1::2])
    assert torch.equal(mixed.light[1::2], batch.light[1::2])
    assert not torch.equal(mixed.image[::2], batch.image[::2])
