"""What is taken for hair in a picture."""

import pytest
import torch

from lirec.geometry import linear_to_srgb
from lirec.models.hair import find_hair

SIZE = 96
SKIN, HAIR, BACKGROUND = (0.8, 0.6, 0.5), (0.3, 0.2, 0.1), (0.4, 0.5, 0.8)
AXIS = torch.tensor([[[0.5, 0.75], [0.5, 0.25]]])  # an upright head in the middle


def ellipse(width, height, rise=0.0):
    """(1, 1, S, S) of half a width and height, in picture widths."""
    place = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    y, x = torch.meshgrid(place + rise, place, indexing="ij")
    return ((x / width) ** 2 + (y / height) ** 2 < 1).float()[None, None]


def scene(hair, background=BACKGROUND, shade=HAIR):
    """A picture of a head before a background, with hair where (1, 1, S, S) is 1, and the head's mask."""
    colours = [torch.tensor(colour)[None, :, None, None] for colour in (background, shade, SKIN)]
    head = ellipse(0.18, 0.25)
    image = torch.where(head > 0, colours[2], torch.where(hair > 0, colours[1], colours[0]))
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return (image + 0.02 * noise).clamp(0, 1), head


def upper(part=0.5):
    return (torch.arange(SIZE) < part * SIZE).float()[None, None, :, None]


def test_colour_and_place_of_hair():
    hair = ellipse(0.27, 0.33, 0.02)
    image, head = scene(hair)
    found = find_hair(image, head, head, AXIS)
    assert found.trust == 1 and (found.hanging == 1).all()
    assert (linear_to_srgb(found.colour)[0] - torch.tensor(HAIR)).abs().max() < 0.03
    assert (found.likelihood * hair * (1 - head)).sum() > 0.98 * (hair * (1 - head)).sum()
    assert (found.likelihood * (1 - hair)).mean() < 0.02 and (found.likelihood * head).mean() < 0.02


@pytest.mark.parametrize("shade", [BACKGROUND, SKIN])
def test_what_looks_like_background_or_skin_is_no_hair(shade):
    image, head = scene(ellipse(0.27, 0.33), shade=shade)
    assert find_hair(image, head, head, AXIS).trust == 0


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_hair_hangs_at_the_side_where_it_is_seen(turn):
    """Also of heads that lie, or stand upside down."""
    place = torch.arange(SIZE) < SIZE // 2
    hair = ellipse(0.27, 0.33) * torch.maximum(upper(), place.float()[None, None, None])
    image, head = scene(hair)
    rotated = torch.rot90(image, turn, (2, 3)), torch.rot90(head, turn, (2, 3))
    centred = AXIS - 0.5
    for _ in range(turn):
        centred = torch.stack((centred[..., 1], -centred[..., 0]), -1)
    found = find_hair(*rotated, rotated[1], centred + 0.5)
    assert found.trust == 1 and (found.hanging[0, 0] > 0.9).all() and (found.hanging[0, 1] < 0.1).all()
    left = centred.flip(1)[:, 0] * 0 + 0.5 + 0.2 * torch.stack((centred[:, 1, 1], -centred[:, 1, 0]), -1)
    places = torch.stack((left, 1 - left), 1)[:, None]  # beside the middle of the head, at both sides
    torch.testing.assert_close(found.covers(places).flatten(), torch.tensor([1.0, 0.0]), atol=0.1, rtol=0)


def test_short_hair_does_not_hang():
    image, head = scene(ellipse(0.27, 0.33) * upper(0.4))
    found = find_hair(image, head, head, AXIS)
    assert found.trust == 1 and (found.hanging == 0).all()


def test_rows_of_a_batch_do_not_mix():
    pictures = [scene(ellipse(0.27, 0.33)), scene(ellipse(0.27, 0.33) * upper(0.4), shade=(0.9, 0.9, 0.2))]
    image, head = (torch.cat(parts) for parts in zip(*pictures, strict=True))
    together = find_hair(image, head, head, AXIS.expand(2, -1, -1))
    for row, (picture, mask) in enumerate(pictures):
        alone = find_hair(picture, mask, mask, AXIS)
        for name, value in vars(alone).items():
            torch.testing.assert_close(getattr(together, name)[row : row + 1], value, atol=1e-3, rtol=1e-3)


def test_a_head_out_of_the_picture_has_none():
    image, _ = scene(ellipse(0.27, 0.33))
    none = torch.zeros(1, 1, SIZE, SIZE)
    found = find_hair(image, none, none, AXIS + 3)
    assert found.trust == 0 and all(torch.isfinite(value).all() for value in vars(found).values())
