"""DCNet and its conditions: shapes, kinds, what the layers copy, files."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lirec.geometry import euler_to_matrix, intrinsics
from lirec.geometry.view_synthesis import HeadView
from lirec.models.conditions import SKIN, ConditionRenderer, relit
from lirec.models.dc_net import CONDITIONS, LAYERS, DCNet, complete
from lirec.models.layered_output import LUMA, Adjustments, in_its_light, luma, tinted, with_unseen_parts
from lirec.models.weights import load_model, save_model

SIZE = 32


def head(model, yaw=(0.0, 0.0), **expression):
    """Two heads a metre away."""
    weights = torch.zeros(2, 51)
    for name, value in expression.items():
        weights[:, model.expression_names.index(name)] = value
    angles = torch.zeros(2, 3)
    angles[:, 1] = torch.tensor(yaw)
    return HeadView(
        model(torch.zeros(2, 80), weights),
        euler_to_matrix(angles),
        torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3),
        intrinsics(torch.full((2,), 3.0), torch.tensor([0.5, 0.5])),
    )


@pytest.fixture(scope="module")
def photo():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def renderer(morphable_model):
    return ConditionRenderer(morphable_model, SIZE)


@pytest.fixture(scope="module")
def source(renderer, photo, morphable_model):
    return renderer.source(photo, head(morphable_model))


@pytest.fixture(scope="module")
def driven(renderer, source, morphable_model):
    return renderer.driven(source, head(morphable_model, (0.3, -0.2), jawOpen=0.8))


def network(**settings):
    torch.manual_seed(0)
    return DCNet(image_size=SIZE, width=8, **settings).eval()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_painted_output_for_every_condition(condition, source, driven):
    output = network(output="rgb", condition=condition)(source, driven)
    assert output.image.shape == (2, 3, SIZE, SIZE) and output.weights is None


def test_layers_are_blended_at_the_resolution_of_the_photo(source, driven):
    net = network()
    output = net(source, driven)
    assert output.image.shape == (2, 3, 64, 64) and output.generated.shape == (2, 3, SIZE, SIZE)
    assert output.weights.shape == (2, len(LAYERS), 64, 64)
    torch.testing.assert_close(output.weights.sum(1), torch.ones(2, 64, 64))
    features = net.encode(source)
    torch.testing.assert_close(net(source, driven, features).image, output.image)


def test_one_source_serves_many_driven_frames(renderer, photo, morphable_model):
    both = head(morphable_model)
    one = HeadView(**{name: value[:1] for name, value in vars(both).items()})
    source = renderer.source(photo[:1], one)
    net, target = network(), head(morphable_model, (0.3, -0.2))
    many = net(source, renderer.driven(source, target)).image
    for row in range(2):
        single = HeadView(**{name: value[row : row + 1] for name, value in vars(target).items()})
        torch.testing.assert_close(net(source, renderer.driven(source, single)).image[0], many[row], atol=1e-4, rtol=0)


def test_gradients_reach_every_weight(source, driven):
    net = network()
    net(source, driven).image.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_source_driven_by_itself_is_found_where_it_is(renderer, source, morphable_model):
    surface = renderer.driven(source, head(morphable_model)).fine
    seen = surface.mask[0, 0].bool()
    moved = surface.correspondence.grid[0][seen]
    y, x = seen.nonzero(as_tuple=True)
    torch.testing.assert_close(moved, torch.stack((x + 0.5, y + 0.5), 1) * (2 / 64) - 1, atol=2e-3, rtol=0)
    inner = surface.mouth + surface.eyes
    assert surface.correspondence.visible[surface.mask.bool() & ~inner.bool()].mean() > 0.95


def test_an_open_mouth_shows_what_the_source_never_saw(driven):
    surface = driven.fine
    assert surface.mouth.flatten(1).sum(1).min() > 10
    assert (surface.correspondence.visible * surface.mouth).sum() < 0.2 * surface.mouth.sum()


@pytest.mark.parametrize("jaw", [0.3, 1.0])
def test_a_mouth_is_the_darker_the_farther_behind_the_lips(jaw, renderer, morphable_model):
    model, view = morphable_model, head(morphable_model, jawOpen=jaw)
    occlusion, inside = renderer._occlusion(view.vertices)[0, :, 0], renderer.in_mouth > 0
    torch.testing.assert_close(occlusion[~inside], model.ambient_occlusion[~inside])
    light = occlusion / model.ambient_occlusion
    front = model.mean_vertices[:, 2]
    teeth, tongue = model.select_vertices("teeth_upper"), model.select_vertices("tongue")
    assert light[teeth & (front > front[teeth].max() - 0.003)].min() > 0.8
    assert light[teeth & (front < front[teeth].min() + 0.003)].max() < 0.7
    assert occlusion[tongue & (front < -0.01)].min() > 0.19 and light[tongue & (front < -0.01)].max() < 0.45
    depth = view.vertices[0, tongue, 2].sort().indices
    assert (light[tongue][depth].diff() > -1e-6).all()  # lighter and lighter towards the lips


def test_the_photo_tells_of_the_parts_of_the_mouth_that_it_shows(renderer, photo, morphable_model):
    smile = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0}
    shut, wide = head(morphable_model), head(morphable_model, jawOpen=0.9)
    turned = head(morphable_model, (0.2, -0.2), jawOpen=0.9)
    seen, unseen = {}, {}
    for name, (before, after) in {
        "shut": (shut, wide), "wide": (wide, turned), "still": (wide, wide),
        "teeth": (head(morphable_model, jawOpen=0.15, **smile), head(morphable_model, jawOpen=0.9, **smile)),
    }.items():  # fmt: skip
        fine = renderer.driven(renderer.source(photo, before), after).fine
        assert (fine.shown + fine.unseen * fine.mouth <= fine.mouth).all() and fine.mouth.sum() > 40
        seen[name], unseen[name] = (float((x * fine.mouth).sum() / fine.mouth.sum()) for x in (fine.shown, fine.unseen))
    assert seen["shut"] < 0.05 < seen["teeth"] < 0.5 < seen["wide"] < 0.95 < seen["still"]
    assert unseen["shut"] > 0.95 > unseen["teeth"] > 0.5 > 0.3 > unseen["wide"] and unseen["still"] == 0


def test_the_inside_of_a_mouth_that_stays_is_the_photos_own(renderer, photo, morphable_model):
    """Whatever a network paints there; this one has learnt nothing."""
    wide = head(morphable_model, jawOpen=0.9)
    source = renderer.source(photo, wide)
    driven = renderer.driven(source, wide)
    net = network()
    with torch.no_grad():
        net.to_layers.bias[3 + LAYERS.index("generated")] = 9
        output = net(source, driven)
    inside = F.avg_pool2d(driven.fine.shown, 3, 1, 1) > 0.99
    assert inside.sum() >= 20 and (output.weights[:, :1][inside] > 0.98).all()
    smooth = torch.ones_like(photo) * torch.linspace(0, 1, 64)  # it is shifted a little
    with torch.no_grad():
        output = net(renderer.source(smooth, wide), driven)
    assert (output.image - smooth).abs().amax(1, keepdim=True)[inside].max() < 0.1


@pytest.mark.parametrize("kind", ["surface", "fine"])
def test_a_head_of_one_colour_is_completed_up_to_its_rim(kind, renderer, morphable_model):
    colour = torch.tensor([0.75, 0.5, 0.4])[None, :, None, None]
    photo = colour.expand(2, 3, 64, 64).contiguous()
    driven = renderer.driven(renderer.source(photo, head(morphable_model)), head(morphable_model, (1.3, -1.3)))
    surface = getattr(driven, kind)
    picture = complete(photo, driven, surface)
    outer = (surface.mask - surface.mouth - surface.eyes > 0).expand_as(picture)
    unlike = ((picture - colour).abs() * outer).sum() / outer.sum()
    assert picture.shape[3] == surface.mask.shape[3] and unlike < 0.1
    rim = outer & (F.max_pool2d(1 - surface.mask, 3, 1, 1) > 0)
    assert ((picture - colour).abs()[rim]).mean() < 2 * unlike


def test_light_from_elsewhere(renderer, morphable_model):
    """Only what differs between the two reconstructed lights is taken over, in the unit of the source's own."""
    maps = renderer.source(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), head(morphable_model))
    before = torch.zeros(2, 9, 3)
    before[:, 0], before[:, 2] = 1.5, 0.4
    torch.testing.assert_close(relit(maps, before, before), maps.harmonics)
    after = before.clone()
    after[:, 3] = 0.6  # from the right
    change = relit(maps, before, after) - maps.harmonics
    torch.testing.assert_close(change[:, 3], 0.4 * maps.harmonics[:, 0])
    assert change[:, [0, 1, 2, 4, 5, 6, 7, 8]].abs().max() < 1e-6


def test_light_is_that_of_the_pictures(renderer, morphable_model):
    """A head that is dark on its right side gets a light map that is."""
    ramp = torch.linspace(0.1, 0.9, 64).expand(2, 3, 64, 64).contiguous()
    light = renderer.source(ramp, head(morphable_model)).light[0, 0]
    seen = light > 0
    columns = (light * seen).sum(0) / seen.sum(0).clamp_min(1)
    held = torch.nonzero(seen.sum(0) > 5)[:, 0]
    assert columns[held[-3]] > columns[held[2]] + 0.2


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="output"):
        network(output="paint")
    with pytest.raises(ValueError, match="no warped image"):
        network(condition="no_warp")


def test_saved_and_loaded(tmp_path, source, driven):
    net = network()
    save_model(net.half(), tmp_path / "dc_net")
    again = load_model(DCNet, tmp_path / "dc_net")
    torch.testing.assert_close(again(source, driven).image, net.float()(source, driven).image)
    assert again.config.width == 8


RED, BLUE, GREEN = ((0.8, 0.2, 0.2), (0.2, 0.3, 0.8), (0.1, 0.7, 0.2))


def plain(colour):
    return torch.tensor(colour)[None, :, None, None]


@pytest.fixture(scope="module")
def sharper(morphable_model):
    return ConditionRenderer(morphable_model, 64)


@pytest.fixture(scope="module")
def red_before_blue(sharper, morphable_model):
    """Maps of two heads all red before a blue wall."""
    mask = sharper.source(torch.zeros(2, 3, 128, 128), head(morphable_model)).depth > 0
    return sharper.source(torch.where(mask, plain(RED), plain(BLUE)), head(morphable_model))


def test_the_scene_is_what_surrounds_a_head(red_before_blue):
    head_there = red_before_blue.depth > 0
    torch.testing.assert_close(red_before_blue.scene, plain(BLUE).expand(2, 3, 128, 128), atol=0.02, rtol=0)
    far = F.max_pool2d(head_there.float(), 17, 1, 8).expand(-1, 3, -1, -1) == 0
    assert (red_before_blue.scene == red_before_blue.photo)[far].all()


@pytest.mark.parametrize("layer", ["moved", "background"])
def test_nothing_of_a_head_stays_beside_it_when_it_turns(layer, sharper, red_before_blue, morphable_model):
    turned = sharper.driven(red_before_blue, head(morphable_model, (0.9, -0.9)))
    still = Adjustments(torch.zeros(2, 8, 32, 32), (128, 128))
    picture = getattr(still, layer)(red_before_blue, turned)
    beyond = (F.max_pool2d(turned.fine.mask, 7, 1, 3) == 0).expand_as(picture)
    left = beyond & (red_before_blue.depth > 0)
    assert left.sum() > 1000
    assert (picture - plain(BLUE)).abs()[left].mean() < 0.02
    assert (picture - plain(BLUE)).abs()[beyond].max() < 0.5


def test_a_head_that_stays_is_moved_with_its_rim(sharper, red_before_blue, morphable_model):
    driven = sharper.driven(red_before_blue, head(morphable_model))
    still = Adjustments(torch.zeros(2, 8, 32, 32), (128, 128))
    assert (still.moved(red_before_blue, driven) - red_before_blue.photo).abs().mean() < 0.01


def test_no_dots_of_the_scene_along_a_head_that_hardly_turns(sharper, red_before_blue, morphable_model):
    driven = sharper.driven(red_before_blue, head(morphable_model, (0.03, -0.03)))
    still = Adjustments(torch.zeros(2, 8, 32, 32), (128, 128))
    green = torch.tensor([0.0, 1.0, 0.0])[None, :, None, None].expand(2, 3, 64, 64)
    assert (still.moved(replace(red_before_blue, small_scene=green), driven)[:, 1] > 0.6).sum() < 5


def test_painted_pixels_have_the_colours_that_go_on_from_the_photo(sharper, red_before_blue, morphable_model):
    driven = sharper.driven(red_before_blue, head(morphable_model, (0.9, -0.9)))
    green = plain(GREEN).expand(2, 3, 64, 64)
    painted, surface = tinted(green, red_before_blue, driven), driven.surface
    inside, left = surface.mouth + surface.eyes, red_before_blue.mask * (1 - surface.mask)
    elsewhere = inside + (1 - surface.mask) - left
    assert (painted == green)[(elsewhere > 0).expand_as(green)].all()
    skin, left = ((where > 0)[:, 0] for where in (surface.mask - inside, left))
    red, _, blue = painted.unbind(1)
    assert (red > 1.5 * blue)[skin].float().mean() > 0.95 and (blue > 1.5 * red)[left].float().mean() > 0.95
    light = (painted * plain((0.299, 0.587, 0.114))).sum(1)
    wanted = (green * plain((0.299, 0.587, 0.114))).sum(1)
    assert (light - wanted).abs()[skin | left].median() < 0.03  # as light as they were painted
    black = tinted(torch.zeros_like(green), red_before_blue, driven)
    assert black.amax(1)[skin].median() > 0.2  # within limits


@pytest.mark.parametrize(("skin", "warmer"), [((0.9, 0.55, 0.3), True), ((0.5, 0.55, 0.7), False)])
def test_teeth_are_as_warm_as_the_light_and_no_lighter(sharper, morphable_model, skin, warmer):
    teeth = torch.full((2, 3, 8, 8), 0.6)
    shown = in_its_light(teeth, sharper.source(plain(skin).expand(2, -1, 128, 128), head(morphable_model)))
    red, _, blue = shown[:, :, 0, 0].unbind(1)
    assert ((red > 1.1 * blue) if warmer else (blue > 1.05 * red)).all()
    torch.testing.assert_close((shown * plain(LUMA)).sum(1), teeth[:, 0], atol=0.01, rtol=0)


BLINK = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}


def test_eyes_that_the_photo_shows_closed_are_unseen_one_by_one(sharper, morphable_model):
    photo, wide = plain(GREEN).expand(2, -1, 128, 128), {"eyeWideLeft": 0.5, "eyeWideRight": 0.5}
    open_eyes, opened = head(morphable_model), head(morphable_model, (0.2, -0.2), **wide)

    def drawn(before, after):
        return sharper.driven(sharper.source(photo, before), after).fine

    both = drawn(head(morphable_model, **BLINK), opened)
    assert both.eyes.flatten(1).sum(1).min() > 20 and (both.unseen * both.eyes == both.eyes).all()
    assert (drawn(open_eyes, opened).unseen * both.eyes == 0).all()
    still = drawn(head(morphable_model, **BLINK), head(morphable_model, **BLINK))
    assert (still.unseen * still.eyes).sum() < 0.1 * both.eyes.sum()
    one = drawn(head(morphable_model, eyeBlinkLeft=1.0), opened)  # the left eye is at the picture's right
    for anew, eyes in zip((one.unseen * one.eyes)[:, 0], one.eyes[:, 0], strict=True):
        columns = eyes.sum(0).nonzero()[:, 0]
        gap = columns[columns.diff().argmax()] + 1  # behind the first eye
        assert anew[:, :gap].sum() == 0 and (anew[:, gap:] == eyes[:, gap:]).all()


def test_opened_eyes_are_rendered_in_the_photos_light(sharper, morphable_model):
    """Whatever a network makes of their lids. Of a face that is 0.4 as light, half is taken to be the dark."""
    lids, eyes = plain(GREEN).expand(2, -1, 128, 128), torch.full((2, 3, 128, 128), 0.6)
    found = {}
    for light in (0.4, 1.0):
        skin = light * plain(SKIN).expand(2, -1, 128, 128)
        source = sharper.source(skin, head(morphable_model, **BLINK))
        driven = sharper.driven(source, head(morphable_model))
        image, share = with_unseen_parts(lids, eyes, source, driven)
        inside, beside = share > 0.99, share == 0
        assert inside.sum() > 4 and (image == lids)[beside.expand_as(image)].all()
        red, green, blue = image.movedim(1, 0)[:, inside[:, 0]]
        assert (red > green).all() and (green > blue).all()
        found[light] = luma(image)[inside].mean()
    assert 0.45 < found[1.0] < 0.75 and 0.58 < found[0.4] / found[1.0] < 0.68


def test_a_mouth_that_opens_is_dark_whatever_a_network_paints_there(sharper, morphable_model):
    """Its teeth are not."""
    source = sharper.source(plain(SKIN).expand(2, -1, 128, 128), head(morphable_model))
    driven = sharper.driven(source, head(morphable_model, jawOpen=0.9, mouthUpperUpLeft=1.0, mouthUpperUpRight=1.0))
    net = network()
    with torch.no_grad():
        net.to_layers.bias[3 + LAYERS.index("generated")] = 9
        output = net(source, driven)
    inside = driven.fine.unseen * driven.fine.mouth > 0
    light = luma(output.image)[inside]
    assert light.median() < 0.25 and 0.5 < light.quantile(0.98) < 1
    well_inside = -F.max_pool2d(-inside.float(), 3, 1, 1) > 0
    assert (output.weights[:, LAYERS.index("interior")][well_inside[:, 0]] > 0.99).all()
