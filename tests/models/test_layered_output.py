"""Blending of moved and painted pictures."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from lirec.models.layered_output import ON_HEAD, Adjustments, blend, put_in_place, softened, with_own_teeth


def test_adjustments():
    still = Adjustments(torch.zeros(1, 5 + 3, 4, 4), (8, 8))
    assert all((brightness == 1).all() for brightness in still.brightness)
    assert (still.shift == 0).all() and (still.stretch == 0).all() and still.shift.shape == (1, 8, 8, 2)
    raw = torch.full((1, 5 + 3, 4, 4), 9.0)
    raw[:, 4] = -9
    first, second, last = Adjustments(raw, (8, 8)).brightness
    assert first.shape == second.shape == (1, 1, 8, 8)  # moved pixels keep their colour
    assert 0.45 < first.max() < 0.55 and 1.9 < second.min() < 2.1
    red, green, blue = last[0, :, 0, 0]
    assert torch.isclose(green, second.max())
    # hardly warmer or colder: the teeth of a photo must not turn blue
    assert 1.01 < red / green < 1.03 and 1.01 < green / blue < 1.03


def test_softened():
    picture = torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(softened(picture), F.avg_pool2d(picture, 3, stride=1, padding=1))


def test_blended_pictures_are_within_what_is_blended():
    dark, light = torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 8, 8), 0.8)
    shares = torch.zeros(1, 2, 4, 4)
    shares[..., 2:] = torch.tensor([9.0, -9.0]).reshape(2, 1, 1)
    image, weights = blend([dark, light], shares)
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 8, 8))
    torch.testing.assert_close(image[..., 0], torch.full((1, 3, 8), 0.5))
    torch.testing.assert_close(image[..., -1], torch.full((1, 3, 8), 0.2))


def test_the_background_is_not_seen_through_a_head():
    head = torch.zeros(1, 1, 64, 64)
    head[:, :, 16:48, 16:48] = 1
    shares = torch.full((1, 3, 64, 64), 0.5)
    lowered = put_in_place(shares, ("warped", "background", "generated"), head)
    assert (lowered[:, [0, 2]] == shares[:, [0, 2]]).all()
    assert (lowered[:, 1] == shares[:, 1])[(head == 0)[:, 0]].all()
    pictures = [torch.full((1, 3, 64, 64), value) for value in (0.0, 1.0, 0.0)]
    image, _ = blend(pictures, lowered)
    assert image[..., 22:42, 22:42].max() < 0.01 < 0.3 < image[head.expand_as(image) == 0].min()


def test_what_is_of_the_head_alone_is_not_seen_beside_it():
    head = torch.zeros(1, 1, 64, 64)
    head[:, :, 16:48, 16:48] = 1
    names = ("warped", "completed", "background", "interior", "generated")
    black = [torch.full((1, 3, 64, 64), float(name not in ON_HEAD)) for name in names]
    shares = put_in_place(torch.full((1, 5, 64, 64), 0.5), names, head)
    image, _ = blend(black, shares)
    near = F.max_pool2d(head, 5, 1, 2).expand_as(image)
    assert image[near == 0].min() > 0.98
    torch.testing.assert_close(image[..., 18:46, 18:46], torch.full((1, 3, 28, 28), 0.5), atol=0.01, rtol=0)


def test_a_network_that_is_sure_of_the_background_does_not_show_it_through_a_head():
    shares = torch.tensor([-2.0, 4.0]).reshape(1, 2, 1, 1).expand(1, 2, 64, 64)
    image, _ = blend([torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)], put_in_place(
        shares, ("warped", "background"), torch.ones(1, 1, 64, 64)
    ))  # fmt: skip
    assert image.max() < 0.001


def test_a_head_at_the_rim_of_the_picture_hides_the_rim_too():
    lowered = put_in_place(torch.zeros(1, 2, 64, 64), ("warped", "background"), torch.ones(1, 1, 64, 64))
    torch.testing.assert_close(lowered[:, 1], torch.full((1, 64, 64), -10.0))


def mouth(shown):
    """A mouth 8 px wide, of which the source shows so many columns."""
    inside = torch.zeros(1, 1, 16, 16)
    inside[..., 4:12, 4:12] = 1
    return SimpleNamespace(mouth=inside, shown=inside * (torch.arange(16) < 4 + shown))


def test_a_photo_keeps_its_own_teeth_and_the_rest_of_the_mouth_has_their_tone():
    grey, white = torch.full((1, 3, 16, 16), 0.4), torch.full((1, 3, 16, 16), 0.6)
    image, share = with_own_teeth(grey, white, mouth(5))
    assert (image[..., 5:11, 5:8] == 0.6).all() and (share[..., 5:11, 5:8] == 1).all()
    torch.testing.assert_close(image[..., 5:11, 10], torch.full((1, 3, 6), 0.4 * 0.7 / 0.5))
    assert (image[..., :3] == 0.4).all() and (share[..., :3] == 0).all()


def test_a_photo_that_shows_no_teeth_does_not_tell_their_tone():
    grey, lips = torch.full((1, 3, 16, 16), 0.4), torch.full((1, 3, 16, 16), 0.6)
    image, share = with_own_teeth(grey, lips, mouth(0))
    assert (image == grey).all() and (share == 0).all()
    image, _ = with_own_teeth(grey, lips, mouth(1))
    assert (image[..., 7:] == 0.4).all()
