"""Hair goes round with the head, before what it hangs over and behind what hides it."""

import pytest
import torch
import torch.nn.functional as F

from lirec.geometry import euler_to_matrix, intrinsics
from lirec.geometry.view_synthesis import HeadView, pixel_grid, warp
from lirec.models.conditions import ConditionRenderer, without_head
from lirec.models.dc_net import DCNet
from lirec.models.hair_sheet import SHOULDERS
from lirec.models.layered_output import Adjustments, tinted

SIZE = 96
SKIN, HAIR, BACKGROUND = (0.8, 0.6, 0.5), (0.3, 0.15, 0.1), (0.4, 0.5, 0.8)


def colour(rgb):
    return torch.tensor(rgb)[None, :, None, None]


def view(model, *yaws):
    count = len(yaws)
    angles = torch.zeros(count, 3)
    angles[:, 1] = torch.tensor(yaws)
    return HeadView(
        model(torch.zeros(count, 80), torch.zeros(count, 51)),
        euler_to_matrix(angles),
        torch.tensor([[0.0, 0.0, 1.0]]).expand(count, 3),
        intrinsics(torch.full((count,), 1.6), torch.tensor([0.5, 0.5])),
    )


@pytest.fixture(scope="module")
def renderer(morphable_model):
    return ConditionRenderer(morphable_model, SIZE)


@pytest.fixture(scope="module")
def plain(renderer):
    """A head before a background, (1, 3, S, S), and where it is."""
    mask = renderer.source(torch.zeros(1, 3, SIZE, SIZE), view(renderer.model, 0.0)).mask
    noise = 0.02 * torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return (torch.where(mask > 0, colour(SKIN), colour(BACKGROUND)) + noise).clamp(0, 1), mask


def with_hair(plain, side=None, upper=False):
    """The same head with hair three fingers thick, from the crown down; at one side, or above the eyes only."""
    image, mask = plain
    hair = F.max_pool2d(mask, 17, 1, 8).cummax(2).values * (1 - mask)
    x = torch.arange(SIZE)
    if side:
        hair = hair * ((x > SIZE / 2) if side == "right" else (x < SIZE / 2))
    if upper:
        hair = hair * (x < 0.4 * SIZE)[:, None]
    return torch.where(hair > 0, colour(HAIR), image)


@pytest.fixture(scope="module")
def source(renderer, plain):
    return renderer.source(with_hair(plain), view(renderer.model, 0.0))


def test_a_head_that_stays_keeps_its_hair_where_it_is(renderer, source):
    hair = renderer.driven(source, view(renderer.model, 0.0)).hair
    seen = hair.share > 0.5
    assert seen.float().mean() > 0.05
    off = (hair.grid - pixel_grid(SIZE, SIZE, hair.grid)).abs().amax(-1)
    assert off[seen[:, 0]].max() < 0.02
    assert (warp(source.photo, hair.grid) - colour(HAIR)).abs().mean(1, keepdim=True)[hair.share > 0.9].mean() < 0.05


@pytest.mark.parametrize(("near", "yaw"), [("left", 0.8), ("right", -0.8)])
def test_it_covers_the_side_of_a_head_that_turns_and_not_its_face(renderer, plain, near, yaw):
    source = renderer.source(with_hair(plain, near), view(renderer.model, 0.0))
    driven = renderer.driven(source, view(renderer.model, yaw))
    over = driven.hair.share * driven.surface.mask
    columns = torch.nonzero(driven.surface.mask[0, 0].any(0)).flatten()
    middle = (columns[0] + columns[-1]) // 2
    left, right = over[..., :middle].sum(), over[..., middle:].sum()
    assert (left if near == "left" else right) > 50 > 10 * (right if near == "left" else left)
    x, y = driven.surface.correspondence.grid.unbind(-1)
    chin = 2 * source.points[0, renderer.model.chin_and_crown[0], 1] - 1
    face = driven.surface.correspondence.visible * ((x.abs() < 0.15) & (y < chin))[:, None]  # between the source's ears
    assert face.sum() > 200 and (over * face).sum() < 5


def test_the_head_hides_the_hair_behind_it(renderer, source):
    """At the far side, which a head that turns hides, hair is seen beyond the face alone."""
    driven = renderer.driven(source, view(renderer.model, 1.2))
    columns = torch.nonzero(driven.surface.mask[0, 0].any(0)).flatten()
    far = driven.hair.share * driven.surface.mask * (torch.arange(SIZE) > columns.float().mean())
    assert driven.hair.share.sum() > 100 and far.sum() < 5


def test_hair_on_the_shoulders_stays(renderer, source):
    hair = renderer.driven(source, view(renderer.model, 0.8)).hair
    chin, crown = source.points[0, renderer.model.chin_and_crown, 1]
    low = (torch.arange(SIZE) + 0.5) / SIZE > chin + (SHOULDERS[0] - 0.1) * (crown - chin)
    seen = hair.share[0, 0] * low[:, None] > 0.5
    off = (hair.grid - pixel_grid(SIZE, SIZE, hair.grid)).abs().amax(-1)[0]
    assert seen.sum() > 20 and off[seen].max() < 0.02


def test_dark_clothes_below_a_gap_are_no_hair(renderer, plain, source):
    gap, clothes = slice(70, 73), slice(73, SIZE)
    image = with_hair(plain)
    image[:, :, gap] = torch.where(plain[1] > 0, colour(SKIN), colour(BACKGROUND))[:, :, gap]
    image[:, :, clothes] = colour(HAIR)
    share = renderer.source(image, view(renderer.model, 0.0)).sheet.share
    assert source.sheet.share[:, :, clothes].sum() > 100 and share[:, :, clothes].sum() < 1
    assert share[:, :, : gap.start - 3].sum() > 100


def test_short_hair_does_not_hang(renderer, plain):
    image = with_hair(plain, upper=True)
    source = renderer.source(image, view(renderer.model, 0.0))
    rows = torch.nonzero((source.sheet.share[0, 0] > 0.1).any(1)).flatten()
    assert len(rows) > 3 and rows[-1] < 0.42 * SIZE
    assert renderer.driven(source, view(renderer.model, 0.8)).hair.share[:, :, SIZE // 2 :].sum() < 1


@pytest.mark.parametrize("upper", [False, True])
def test_short_hair_that_turns_leaves_nothing_behind(renderer, plain, upper):
    """Of long hair, which hides much more, what is at the far side stays: a large blur would be in its place."""
    image = with_hair(plain, upper=upper)
    source = renderer.source(image, view(renderer.model, 0.0))
    driven = renderer.driven(source, view(renderer.model, 0.6))
    still = Adjustments(torch.zeros(1, 8, 32, 32), (SIZE, SIZE))
    hair = (image - colour(HAIR)).abs().amax(1, keepdim=True) < 0.1
    beyond = hair * (F.max_pool2d(driven.surface.mask, 5, 1, 2) == 0) * (driven.hair.extent == 0)
    still_there = {
        name: ((picture - colour(HAIR)).abs().amax(1, keepdim=True) < 0.1)[beyond].float().mean()
        for name, picture in (("background", still.background(source, driven)), ("scene", source.scene))
    }
    assert beyond.sum() > 50
    assert all(share < 0.05 if upper else share > 0.7 for share in still_there.values()), still_there
    if upper:
        moved = (still.moved(source, driven) - colour(HAIR)).abs().amax(1, keepdim=True) < 0.1
        around = (F.max_pool2d(driven.surface.mask, 5, 1, 2) == 0) * (driven.hair.extent == 0)
        assert (moved * around).sum() < 20


def test_hair_that_just_covers_the_ears_is_short_too(renderer, plain, source):
    """It turns as a whole, so that nothing of it stays with the body."""
    image, mask = with_hair(plain), plain[1]
    chin, crown = source.points[0, renderer.model.chin_and_crown, 1] * SIZE
    end = int(chin + 0.3 * (crown - chin))
    image[:, :, end:] = plain[0][:, :, end:]
    source = renderer.source(image, view(renderer.model, 0.0))
    hair = ((image - colour(HAIR)).abs().amax(1, keepdim=True) < 0.1) * (mask == 0)
    left = (source.scene - colour(HAIR)).abs().amax(1, keepdim=True) < 0.1
    assert hair[:, :, SIZE // 2 : end].sum() > 100 and (hair * left).sum() < 0.05 * hair.sum()


@pytest.mark.parametrize("open_above", [False, True])
def test_hair_that_shines_has_no_hole(renderer, plain, open_above):
    """Above a head, where a strand is as light as the background."""
    image = with_hair(plain, upper=True)
    rows = torch.nonzero((plain[1][0, 0]).any(1)).flatten()
    strand = slice(0 if open_above else rows[0] - 4, rows[0]), slice(SIZE // 2 - 2, SIZE // 2 + 2)
    whole = renderer.source(image, view(renderer.model, 0.0)).sheet.share
    shiny = image.clone()
    shiny[(..., *strand)] = colour(BACKGROUND)
    share = renderer.source(shiny, view(renderer.model, 0.0)).sheet.share
    there = whole[(..., *strand)] > 0.9
    assert there.sum() > 10 and share[(..., *strand)][there].mean() > 0.8


def test_streaks_behind_a_head_are_no_hair(renderer, plain):
    image = with_hair(plain, upper=True)
    whole = renderer.source(image, view(renderer.model, 0.0)).sheet.share
    row = torch.nonzero((plain[1][0, 0]).any(1)).flatten()[0] + 2
    beyond = slice(row, row + 2), slice(0, SIZE // 4)
    image[(..., *beyond)] = colour(HAIR)
    share = renderer.source(image, view(renderer.model, 0.0)).sheet.share
    assert whole.sum() > 100 and share[..., : SIZE // 4].max() < 0.1


def test_hair_that_is_probably_short_does_not_colour_the_scene():
    photo = colour(BACKGROUND).repeat(1, 1, SIZE, SIZE)
    head = torch.zeros(1, 1, SIZE, SIZE)
    head[..., 30:60, 30:40], head[..., 30:60, 40:60] = 1, 0.95
    photo = torch.where(head > 0, colour(HAIR), photo)
    scene = without_head(photo, head)
    assert (scene - colour(BACKGROUND)).abs().max() < 0.1 * (colour(HAIR) - colour(BACKGROUND)).abs().max()


def test_what_is_painted_round_a_head_is_hair_or_the_scene(renderer, source):
    driven = renderer.driven(source, view(renderer.model, 0.6))
    around = driven.hair.around
    assert around[:, :, : SIZE // 4].sum() > 1000 and around[driven.surface.mask > 0].max() == 0
    for painted in ((0.1, 0.9, 0.1), (0.0, 0.0, 0.0), HAIR):
        shown = tinted(colour(painted).expand(1, 3, SIZE, SIZE), source, driven)
        ends = driven.hair.colour.expand_as(shown), source.small_scene
        sure = (around > 0.99).expand_as(shown)
        assert (shown > torch.minimum(*ends) - 0.011)[sure].all()
        assert (shown < torch.maximum(*ends) + 0.011)[sure].all()
    assert (shown - driven.hair.colour).abs()[sure].mean() < 0.02  # hair, where it is painted
    assert (driven.hair.colour - colour(HAIR)).abs().max() < 0.05


@pytest.mark.parametrize("motley", [False, True])
def test_there_is_no_sheet_without_hair(renderer, plain, motley):
    image = plain[0]
    if motley:  # a bright thing beside the head, in which hair would be of two colours
        image = with_hair(plain, upper=True)
        thing = (torch.arange(SIZE) > 0.5 * SIZE) & (torch.arange(SIZE)[:, None] < 0.8 * SIZE) & (plain[1] == 0)
        image = torch.where(thing & (F.max_pool2d(plain[1], 25, 1, 12) > 0), colour((0.9, 0.8, 0.3)), image)
    source = renderer.source(image, view(renderer.model, 0.0))
    assert source.sheet is None and renderer.driven(source, view(renderer.model, 0.8)).hair is None


def test_rows_of_a_batch_do_not_mix(renderer, plain, source):
    both = renderer.source(torch.cat((source.photo, plain[0])), view(renderer.model, 0.0, 0.0))
    together = renderer.driven(both, view(renderer.model, 0.5, 0.5)).hair
    alone = renderer.driven(source, view(renderer.model, 0.5)).hair
    torch.testing.assert_close(together.share[:1], alone.share, atol=1e-4, rtol=0)
    assert together.share[1].max() == 0
    many = renderer.driven(source, view(renderer.model, 0.5, -0.5)).hair  # one source, two poses
    torch.testing.assert_close(many.share[:1], alone.share, atol=1e-4, rtol=0)


def test_dcnet_draws_it_out_of_the_photo(renderer, source):
    torch.manual_seed(0)
    net = DCNet(image_size=SIZE, width=8).eval()
    driven = renderer.driven(source, view(renderer.model, 0.8))
    with torch.no_grad():
        output = net(source, driven)
    surely = (driven.hair.share > 0.99) & (F.avg_pool2d(driven.hair.share, 3, 1, 1) > 0.99)
    moved = warp(source.photo, driven.hair.grid)
    difference = (output.image - moved).abs().amax(1, keepdim=True)
    assert surely.sum() > 50 and difference[surely].max() < 0.02
    assert (output.weights.sum(1, keepdim=True) < 0.02)[surely].all()
