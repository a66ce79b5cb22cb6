"""Layers are kept to their tasks."""

import pytest
import torch

from lirec.geometry.view_synthesis import Correspondence
from lirec.models.conditions import Surface
from lirec.models.dc_net import LAYERS
from lirec.models.layered_output import LayeredOutput
from train.layering import layer_losses

SIZE = 64


def half(*rows: slice) -> torch.Tensor:
    mask = torch.zeros(1, 1, SIZE, SIZE)
    for row in rows:
        mask[:, :, row] = 1
    return mask


HEAD, SEEN, MOUTH, SEEN_MIRRORED = half(slice(16, 56)), half(slice(16, 40)), half(slice(40, 48)), half(slice(48, 56))


@pytest.fixture
def surface():
    grid = torch.zeros(1, SIZE, SIZE, 2)
    return Surface(
        correspondence=Correspondence(grid, SEEN),
        mirrored=Correspondence(grid, SEEN_MIRRORED),
        albedo=torch.zeros(1, 3, SIZE, SIZE),
        mask=HEAD,
        mouth=MOUTH,
        eyes=torch.zeros(1, 1, SIZE, SIZE),
        shown=torch.zeros(1, 1, SIZE, SIZE),
        unseen=torch.zeros(1, 1, SIZE, SIZE),
    )


def output(**where: torch.Tensor) -> LayeredOutput:
    """Layers shown where masks say, the first of them elsewhere."""
    weights = torch.cat([where.get(name, torch.zeros(1, 1, SIZE, SIZE)) for name in LAYERS], 1)
    weights[:, :1] += 1 - weights.sum(1, keepdim=True)
    image, still = torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, 4, SIZE // 2, SIZE // 2)
    return LayeredOutput(image=image, generated=image, weights=weights, offsets=still)


def test_every_layer_in_its_place_costs_nothing(surface):
    places = {"warped": SEEN, "interior": MOUTH, "completed": HEAD - SEEN - MOUTH, "background": 1 - HEAD}
    assert all(value == 0 for value in layer_losses(output(**places), surface).values())


@pytest.mark.parametrize(
    ("layer", "place", "expected"),
    [
        ("generated", SEEN, {"copy"}),
        ("generated", 1 - HEAD, {"copy"}),
        ("completed", SEEN, {"copy"}),
        ("completed", 1 - HEAD, {"completed"}),
        ("warped", MOUTH, {"mouth"}),
        ("interior", SEEN, {"skin"}),
    ],
)
def test_a_layer_out_of_place_costs(surface, layer, place, expected):
    places = {"interior": MOUTH, "background": 1 - MOUTH}
    places = {name: where * (1 - place) for name, where in places.items()}
    places[layer] = places.get(layer, 0) + place
    terms = layer_losses(output(**places), surface)
    assert all((value > 1e-3) == (name in expected) and (value == 0) == (name not in expected)
               for name, value in terms.items())  # fmt: skip


def test_narrow_mouths_are_free(surface):
    surface.mouth = half(slice(42, 46))
    places = {"background": 1 - surface.mouth, "generated": surface.mouth}
    assert layer_losses(output(**places), surface)["mouth"] == 0


def test_offsets_are_to_be_smooth(surface):
    drawn = output(warped=torch.ones(1, 1, SIZE, SIZE))
    drawn.offsets[:, :, ::2] = 0.5
    assert layer_losses(drawn, surface)["smooth"] > 0.01
