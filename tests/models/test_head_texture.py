"""What is read off one side of a head, and what it becomes on the other."""

import pytest
import torch
import torch.nn.functional as F

from lirec.geometry import euler_to_matrix, interpolate, intrinsics, project, rasterize, vertex_normals
from lirec.geometry.view_synthesis import HeadView, hiding_depth
from lirec.models.hair import Hair, find_hair
from lirec.models.head_texture import TextureReader

SIZE = 96
SKIN, HAIR, BACKGROUND = (1.4, 1.0, 0.8), (0.3, 0.25, 0.2), (0.1, 0.9, 0.2)
EVEN = torch.zeros(1, 9, 3)
EVEN[:, 0] = 1 / 0.2821


@pytest.fixture(scope="module")
def reader(morphable_model):
    return TextureReader(morphable_model)


def view(model, yaw: float, shift: float = 0.0) -> HeadView:
    return HeadView(
        model(torch.zeros(1, 80), torch.zeros(1, 51)),
        euler_to_matrix(torch.tensor([[0.0, yaw, 0.0]])),
        torch.tensor([[shift, 0.0, 1.0]]),
        intrinsics(torch.tensor([3.0]), torch.tensor([0.5, 0.5])),
    )


def painted(reader, skin, hair):
    """A texture with one colour of skin and one of hair."""
    skin, hair = (torch.tensor(colour)[None, :, None, None] for colour in (skin, hair))
    return torch.where(reader.hair > 0, hair, skin)


class Seen:
    """A head with a texture, as a camera sees it."""

    def __init__(self, reader, view, texture, light=EVEN):
        model = reader.model
        self.view, self.light = view, light
        self.points = project(view.vertices, view.rotation, view.translation, view.K)
        self.normals = vertex_normals(view.vertices, model.triangles) @ view.rotation.transpose(1, 2)
        scale = torch.tensor([SIZE, SIZE, 1.0])
        fragments = rasterize(self.points * scale, model.triangles, SIZE, SIZE)
        self.mask = (fragments.triangle >= 0)[:, None].float()
        self.depth = hiding_depth(fragments)
        uv = interpolate(fragments, model.triangles_uv, model.uv[None])
        normal = F.normalize(interpolate(fragments, model.triangles, self.normals), dim=-1)
        skin = model.select_triangles("skin", "lips")[fragments.triangle.clamp_min(0)][:, None]
        self.skin = skin * self.mask
        shown = reader.show(texture, uv, normal, light)
        self.image = torch.where(self.mask > 0, shown, torch.tensor(BACKGROUND)[None, :, None, None])
        # the outer head only, and no hair next to skin
        near = F.max_pool2d(F.pad(reader.hair, (2, 2, 2, 2)), 5, 1), -F.max_pool2d(-reader.hair, 5, 1, 2)
        plain = ((near[0] == near[1]) & (reader.head > 0)).float()
        plain = F.grid_sample(-F.max_pool2d(-plain, 3, 1, 1), uv * 2 - 1, align_corners=False)
        self.plain = (plain > 0.99) & (self.mask > 0)

    def read(self, reader):
        hair = self.find_hair(reader.model)
        return reader.read(self.image, self.mask, hair, self.points, self.normals, self.depth, self.light, self.view)

    def find_hair(self, model):
        return find_hair(self.image, self.mask, self.skin, self.points[:, model.chin_and_crown, :2])


def error(reader, texture, wanted, yaw):
    """Mean difference of pictures of a texture and the wanted one, sRGB."""
    made, true = (Seen(reader, view(reader.model, yaw), values) for values in (texture, wanted))
    return float((made.image - true.image).abs().mean(1, keepdim=True)[true.plain].mean())


@pytest.mark.parametrize("yaw", [0.0, 0.7, -1.4, 1.4, 3.1])
def test_hair_and_skin_go_on_round_the_head(reader, yaw):
    wanted = painted(reader, SKIN, HAIR)
    texture = Seen(reader, view(reader.model, 0.0), wanted).read(reader)
    assert error(reader, texture, wanted, yaw) < 0.25 * error(reader, torch.ones_like(wanted), wanted, yaw)


@pytest.mark.parametrize("yaw", [0.8, -0.8])
def test_the_other_half_is_as_the_one_that_is_seen(reader, yaw):
    wanted = painted(reader, SKIN, HAIR)
    rows = slice(24, 30)  # a band about the head, cheeks included
    wanted[:, :, rows] = torch.tensor([0.4, 0.8, 1.6])[None, :, None, None]
    texture = Seen(reader, view(reader.model, yaw), wanted).read(reader)
    assert error(reader, texture, wanted, -yaw) < 0.05


def test_light_is_not_part_of_the_texture(reader):
    lamp = EVEN.clone()
    lamp[:, 3] = 0.8  # from one side
    wanted = painted(reader, SKIN, HAIR)
    texture = Seen(reader, view(reader.model, 0.0), wanted, lamp).read(reader)
    assert error(reader, texture, wanted, 0.0) < 0.03


def test_a_head_that_is_not_in_the_picture_is_an_average_one(reader):
    seen = Seen(reader, view(reader.model, 0.0, shift=9.0), torch.ones(1, 3, 64, 64))
    torch.testing.assert_close(seen.read(reader), torch.ones(1, 3, 64, 64), atol=1e-3, rtol=0)


def test_rows_of_a_batch_do_not_mix(reader):
    wanted = ((0.3, painted(reader, SKIN, HAIR)), (-0.5, painted(reader, HAIR, SKIN)))
    looks = [Seen(reader, view(reader.model, yaw), texture) for yaw, texture in wanted]

    def both(name):
        return torch.cat([getattr(seen, name) for seen in looks])

    heads = HeadView(*(torch.cat([getattr(seen.view, name) for seen in looks]) for name in vars(looks[0].view)))
    found = [seen.find_hair(reader.model) for seen in looks]
    hair = Hair(*(torch.cat([getattr(one, name) for one in found]) for name in vars(found[0])))
    places = (both(name) for name in ("points", "normals", "depth", "light"))
    together = reader.read(both("image"), both("mask"), hair, *places, heads)
    torch.testing.assert_close(together, torch.cat([seen.read(reader) for seen in looks]), atol=1e-4, rtol=0)


BESIDE = (0.35, 0.2, 0.5)  # sRGB


def side_colour(reader, texture, light=EVEN):
    """What a texture shows of the head's left side, where long hair hangs, (3,) sRGB."""
    seen = Seen(reader, view(reader.model, -1.4), texture, light)
    marked = torch.where(reader.under_long_hair > 0.9, 1.0, 0.0).expand(1, 3, -1, -1)
    ears = Seen(reader, view(reader.model, -1.4), 1 + 5 * marked)
    plain = Seen(reader, view(reader.model, -1.4), torch.ones(1, 3, 64, 64))
    here = (ears.image - plain.image).abs().mean(1, keepdim=True) > 0.1
    return (seen.image * here).sum((0, 2, 3)) / here.sum()


def with_hair(seen, reach):
    """Hair as thick as a finger round a head, down from the crown by a share of its height."""
    rows = torch.arange(SIZE)[None, None, :, None]
    head = torch.nonzero(seen.mask[0, 0].any(1)).flatten()
    hair = F.max_pool2d(seen.mask, 17, 1, 8) - seen.mask
    hair = hair * (rows < head[0] + reach * (head[-1] - head[0]))
    seen.image = torch.where(hair > 0, torch.tensor(BESIDE)[None, :, None, None], seen.image)
    return seen


@pytest.mark.parametrize(("reach", "covered"), [(1.0, True), (0.45, False)])
def test_hair_that_hangs_beside_the_face_covers_the_ears(reader, reach, covered):
    """Down to the chin, or above the eyes alone."""
    seen = Seen(reader, view(reader.model, 0.0), painted(reader, SKIN, SKIN))
    plain = side_colour(reader, seen.read(reader))
    colour, away = side_colour(reader, with_hair(seen, reach).read(reader)), torch.tensor(BESIDE)
    if covered:
        assert (colour - away).abs().mean() < 0.4 * (plain - away).abs().mean()
    else:
        assert (colour - plain).abs().mean() < 0.1 * (plain - away).abs().mean()


def test_hair_is_no_lighter_where_it_faces_the_lamp_than_beside_the_face(reader):
    lamp = EVEN.clone()
    lamp[:, 2] = -2.0  # from the camera, as a flash
    seen = Seen(reader, view(reader.model, 0.0), painted(reader, SKIN, SKIN), lamp)
    colour = side_colour(reader, with_hair(seen, 1.0).read(reader), lamp)
    torch.testing.assert_close(colour, torch.tensor(BESIDE), atol=0.06, rtol=0)


@pytest.mark.parametrize(("lamp", "copied"), [(0.0, True), (1.5, False)])
def test_a_shaded_half_does_not_tell_what_the_lit_one_is_like(reader, lamp, copied):
    light = EVEN.clone()
    light[:, 3] = lamp  # from the side that the picture does not show
    wanted = painted(reader, SKIN, HAIR)
    patched = wanted.clone()
    for columns in (slice(12, 18), slice(46, 52)):  # a patch on each cheek
        patched[:, :, 24:34, columns] = torch.tensor([0.4, 0.8, 1.6])[None, :, None, None]
    plain, texture = (Seen(reader, view(reader.model, 0.8), look, light).read(reader) for look in (wanted, patched))
    shown, hidden = ((texture - plain).abs()[:, :, 27:33, columns].mean() for columns in (slice(14, 16), slice(48, 50)))
    assert shown > 0.5 and (hidden > 0.5 * shown) == copied


def test_strands_before_the_neck_are_none_of_its_skin(reader):
    seen = with_hair(Seen(reader, view(reader.model, 0.0), painted(reader, SKIN, SKIN)), 1.0)
    without = seen.read(reader)
    chin = float(seen.points[0, reader.model.chin_and_crown[0], 1]) * SIZE
    below = torch.arange(SIZE)[None, None, :, None] > chin + 3
    strand = (torch.arange(SIZE) % 8 < 3) & below & (seen.mask > 0)
    assert strand.sum() > 20
    seen.image = torch.where(strand, torch.tensor(BESIDE)[None, :, None, None], seen.image)
    neck = (reader.neck > 0).expand_as(without)
    assert (seen.read(reader) - without).abs()[neck].mean() < 0.05


@pytest.mark.parametrize(("factor", "skin"), [(0.1, True), (0.7, False)])
def test_what_is_nearly_black_beside_the_face_is_not_the_skin_of_ears(reader, factor, skin):
    """Dark hair before them, whose tint would be a purple or green ear; a shade of the skin is kept."""
    plain = painted(reader, SKIN, HAIR)
    dark = torch.where(reader.under_long_hair > 0.9, factor * plain, plain)
    without, read = (Seen(reader, view(reader.model, 0.8), look).read(reader) for look in (plain, dark))
    darker = (side_colour(reader, read) - side_colour(reader, without)).abs().mean()
    as_dark = (side_colour(reader, dark) - side_colour(reader, plain)).abs().mean()
    assert darker < 0.1 * as_dark if skin else darker > 0.2 * as_dark
