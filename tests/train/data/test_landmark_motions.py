"""Landmarks of two people making the same motions."""

import pytest
import torch

from lirec.geometry.landmarks import Frame, box_normalised
from train.data.landmark_motions import FRESH, LandmarkMotions, batches
from train.data.synthetic import HELD_OUT_SEED


@pytest.fixture(scope="module")
def motions(morphable_model):
    return LandmarkMotions(morphable_model, people=8)


def test_quartets(motions):
    first, again, other = (motions.sample(8, seed) for seed in (3, 3, 4))
    assert first.source.shape == (8, 68, 2) and torch.equal(first.wanted, again.wanted)
    assert not torch.equal(first.wanted, other.wanted)
    assert (first.label[:4] >= 0).all() and (first.label[4:] == FRESH).all()
    assert (motions.sample(8, HELD_OUT_SEED).label == FRESH).all()
    # the driver who makes q is nearer to the source who makes q than the source who makes p, or the driver who does
    gap = [(box_normalised(points) - box_normalised(first.wanted)).norm(dim=2).mean() for points in
           (first.driving, first.source, first.before)]  # fmt: skip
    assert gap[0] < 0.5 * gap[1] and gap[0] < 0.5 * gap[2]
    # and where the driver is: they are seen by one camera, in one place
    frame = Frame.of(first.driving)
    placement = frame.placement(Frame.of(first.wanted))
    assert placement[:, :2].abs().max() < 0.2 and placement[:, 2].abs().max() < 0.25
    assert frame.placement(Frame.of(first.turned)).abs().max() > 0.5
    assert len(next(batches(motions.sample, 4, 0))) == 4


def test_heads_turn_about_their_necks(motions):
    """A turned head stays near, about as large as it was."""
    quartets = motions.sample(64, 0)
    placement = Frame.of(quartets.source).placement(Frame.of(quartets.turned))
    assert placement[:, :2].abs().max() < 2 and placement[:, :2].abs().mean() > 0.05
    assert placement[:, 2].abs().median() < 0.2
