"""Rendered faces: seeded, varied, and true to what they say of themselves."""

import subprocess
import sys
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lirec.errors import LirecError
from lirec.geometry import linear_to_srgb, project, rasterize, shade
from train.data import synthetic
from train.data.cache import CachedFaces, RenderedBatches, write_shards
from train.data.degradations import degrade, jpeg
from train.data.skins import Dice, SkinPainter


@pytest.fixture(scope="module")
def model(morphable_model):
    return morphable_model


@pytest.fixture(scope="module")
def renderer(model):
    return synthetic.SyntheticFaces(model, 96, supersampling=1.0)


@pytest.fixture(scope="module")
def faces(renderer):
    return renderer.sample(24, 7)


def test_shapes_and_ranges(faces):
    for name in ("image", "clean", "mask", "skin", "foreground"):
        plane = getattr(faces, name)
        assert plane.shape[2:] == (96, 96) and torch.isfinite(plane).all(), name
        assert plane.min() >= 0 and plane.max() <= 1, name
    assert faces.expression.shape == (24, 51) and faces.expression.min() >= 0 and faces.expression.max() <= 1
    assert faces.light.shape == (24, 9, 3) and faces.landmarks.shape == (24, 68, 2)


def test_same_seed_same_pictures(renderer, faces):
    again = renderer.sample(24, 7)
    assert torch.equal(again.image, faces.image) and torch.equal(again.identity, faces.identity)
    other = renderer.sample(24, 8)
    assert not torch.equal(other.identity, faces.identity)


def test_faces_differ_from_each_other(faces):
    tone = (faces.clean * faces.skin).sum((2, 3)) / faces.skin.sum((2, 3)).clamp_min(1)
    assert tone.std(0).min() > 0.1  # from dark to light
    assert faces.angles[:, 1].abs().max() > 1.0  # far turned
    assert (faces.image - faces.clean).abs().mean((1, 2, 3)).median() > 0.005


def test_landmarks_fill_the_crop(faces):
    box = torch.cat((faces.landmarks.amin(1), faces.landmarks.amax(1)), 1)
    share = (box[:, 2:] - box[:, :2]).amax(1) / 96
    assert (share - 1 / synthetic.BOX_SCALE).abs().max() < 0.2
    assert ((box[:, :2] + box[:, 2:]) / 2 / 96 - 0.5).abs().max() < 0.1


def test_mask_is_where_the_mesh_is(model, faces):
    camera = torch.zeros(24, 3, 3)
    camera[:, 0, 0] = camera[:, 1, 1] = faces.focal * 96
    camera[:, :2, 2], camera[:, 2, 2] = 48, 1
    vertices = model(faces.identity, faces.expression)
    seen = rasterize(
        project(vertices, faces.rotation, faces.translation, camera), model.triangles, 96, 96
    ).triangle.ge(0)
    assert not (faces.mask[:, 0].bool() & ~seen).any()  # hair and hands may hide more, never less
    assert (faces.foreground >= faces.mask - 1e-6).all()
    assert (faces.depth[faces.mask > 0] > 0.2).all()


def test_light_explains_the_picture(model, renderer):
    """Albedo under the truth's light is nearer to the picture than under any other face's light."""
    faces = renderer.sample(16, 11, degraded=False)
    normals = faces.normal.permute(0, 2, 3, 1)
    tone = (faces.clean * faces.skin).sum((2, 3)) / faces.skin.sum((2, 3)).clamp_min(1)

    def error(light):
        lit = linear_to_srgb(shade(normals, light).clamp(0, 4).permute(0, 3, 1, 2))
        scale = (lit * faces.skin).sum((2, 3)) / faces.skin.sum((2, 3)).clamp_min(1)
        lit = lit * (tone / scale.clamp_min(1e-3))[..., None, None]
        return ((lit - faces.clean).abs().mean(1, keepdim=True) * faces.skin).sum() / faces.skin.sum()

    assert error(faces.light) < 0.85 * error(faces.light.roll(1, 0))


def test_pictures_of_one_person(renderer):
    faces = renderer.sample(8, 3, pictures_per_identity=4)
    assert torch.equal(faces.identity[0], faces.identity[3])
    assert not torch.equal(faces.identity[3], faces.identity[4])
    assert not torch.equal(faces.expression[0], faces.expression[1])
    assert faces.identity_number.unique_consecutive(return_counts=True)[1].tolist() == [4, 4]


def test_people_in_one_motion(renderer):
    faces = renderer.sample(8, 3, identities_per_motion=4)
    assert torch.equal(faces.expression[0], faces.expression[3]) and torch.equal(faces.angles[0], faces.angles[3])
    assert not torch.equal(faces.identity[0], faces.identity[1])
    with pytest.raises(LirecError, match="multiple"):
        renderer.sample(7, 0, identities_per_motion=2)


def test_every_expression_is_drawn_strongly(model):
    sampler = synthetic.ExpressionSampler(model.expression_names)
    weights = sampler.sample(Dice(4000, torch.Generator().manual_seed(0)))
    strong = (weights > 0.5).float().mean(0)
    rare = {name for name, share in zip(model.expression_names, strong, strict=True) if share < 0.015}
    assert rare <= {"mouthClose"}  # never above jawOpen
    one_sided = (weights[:, model.expression_names.index("eyeBlinkLeft")] > 0.6) & (
        weights[:, model.expression_names.index("eyeBlinkRight")] < 0.1
    )
    assert one_sided.any()
    jaw, close = (weights[:, model.expression_names.index(name)] for name in ("jawOpen", "mouthClose"))
    assert (close <= jaw + 1e-6).all()


@pytest.mark.parametrize(("hair", "which"), [("hair", 4), ("curtain", 5)])
def test_full_hair_stands_off_at_the_sides(renderer, hair, which):
    props, dice = renderer.props, Dice(2, torch.Generator().manual_seed(3))
    skins = renderer.painter.sample(2, torch.Generator().manual_seed(4))
    looks = props.sample_looks(dice, skins)
    looks.long[:], looks.hat[:], looks.volume[:] = 1, 0, 0.01
    head = renderer.model.mean_vertices.expand(2, -1, -1)

    def width(fullness):
        looks.outline[:, which] = fullness
        first, count = props.blocks[hair]
        vertices = props.assemble(Dice(2, torch.Generator().manual_seed(5)), head, head, skins, looks).vertices
        return vertices[:, first : first + count, 0].abs().amax(1)

    assert (width(0.5) == width(0.0)).all()  # most people's hair lies close
    assert ((width(1.0) - width(0.0) > 0.02) & (width(1.0) < 0.2)).all()  # metres


def test_skins_mirror(model):
    painter = SkinPainter(model, 128)
    skins = painter.sample(12, torch.Generator().manual_seed(0))
    twice = painter.mirror(painter.mirror(skins.albedo))
    assert torch.equal(twice, skins.albedo)
    assert (skins.bearded != skins.albedo).any()


def test_jpeg_loses_more_at_low_quality():
    picture = F.interpolate(torch.rand(1, 3, 12, 12), (50, 50), mode="bilinear").expand(2, -1, -1, -1)
    loss = (jpeg(picture, torch.tensor([95.0, 15.0])) - picture).abs().mean((1, 2, 3))
    assert 1e-4 < loss[0] < loss[1] < 0.1


def test_degradation_is_seeded():
    picture = torch.rand(6, 3, 40, 40)
    first, second = (degrade(picture, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first, picture)


def test_cache_gives_what_was_drawn(renderer, tmp_path):
    write_shards(renderer, tmp_path, 16, 8, seed=2, batch=4, per_identity=2)
    batch = next(iter(CachedFaces(tmp_path, 6, people=2)))
    assert batch.image.shape == (6, 3, 96, 96)
    assert torch.equal(batch.identity[0], batch.identity[1])
    pictures = [p.name for p in tmp_path.iterdir()]
    write_shards(renderer, tmp_path, 16, 8, seed=2, batch=4, per_identity=2)  # nothing is left to do
    assert sorted(pictures) == sorted(p.name for p in tmp_path.iterdir())


def test_drawn_faces_are_seen_again_with_their_truth(renderer):
    batches = RenderedBatches(renderer, 8, 3, people=2, reuse=3)
    first = renderer.sample(8, 3, pictures_per_identity=2, degraded=False)
    for batch in islice(batches, 3):
        assert torch.equal(batch.identity[::2], batch.identity[1::2])
        for row, number in enumerate(batch.identity_number):
            same = (first.identity_number == number) & (first.angles == batch.angles[row]).all(1)
            assert (first.clean[same] - batch.image[row]).abs().max() <= 0.51 / 255
    later = next(islice(batches, 9, None))
    assert not torch.isin(later.identity_number, first.identity_number).all()  # new ones come in
    with pytest.raises(LirecError, match="--reuse"):
        RenderedBatches(renderer, 8, 3, reuse=0)


def test_a_cache_of_other_neighbours_is_refused(renderer, tmp_path):
    write_shards(renderer, tmp_path, 8, 8, seed=2, batch=8, per_identity=2)
    with pytest.raises(LirecError, match="4 pictures of each person"):
        CachedFaces(tmp_path, 8, people=4)
    with pytest.raises(LirecError, match="A batch of 1"):
        CachedFaces(tmp_path, 1, people=2)


@pytest.mark.parametrize("module", ["train.data.cache", "train.data.synthetic"])
def test_scripts_are_not_imported_before_they_run(module):
    command = [sys.executable, "-W", "error::RuntimeWarning:runpy", "-m", module, "--help"]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_shards_too_large_for_their_seeds_are_refused(renderer, tmp_path):
    with pytest.raises(LirecError, match="--shard_size"):
        write_shards(renderer, tmp_path, 5000, 5000, seed=0, batch=8, per_identity=2)


def test_empty_cache_says_what_to_do(tmp_path):
    with pytest.raises(LirecError, match=r"train\.data\.cache"):
        CachedFaces(tmp_path, 4)


def test_contact_sheet_command(tmp_path, capsys):
    synthetic.main(["--output", str(tmp_path / "sheet.png"), "--count", "8", "--size", "48"])
    assert (tmp_path / "sheet.png").stat().st_size > 5000
    assert "pictures a second" in capsys.readouterr().out


@pytest.mark.parametrize(("count", "shape"), [(4, (3, 8, 32)), (12, (3, 16, 64))])
def test_contact_sheet_shows_all(count, shape):
    faces = SimpleNamespace(image=torch.ones(count, 3, 8, 8), landmarks=torch.zeros(count, 68, 2))
    sheet = synthetic.contact_sheet(faces)
    assert sheet.shape == shape and sheet.sum() > 0.9 * count * 3 * 64


def test_frames_of_a_clip_share_the_scene(renderer):
    clips = renderer.sample_clips(6, 3, 5, wild=0.0)
    first, others = clips.clean[::3].repeat_interleave(3, 0), clips.clean
    outside = 1 - torch.maximum(clips.foreground[::3].repeat_interleave(3, 0), clips.foreground)
    outside = (outside > 0.99).float()
    assert ((first - others).abs() * outside).max() < 1e-4  # the background stands still
    for name in ("identity", "focal"):
        value = getattr(clips, name).unflatten(0, (6, 3))
        assert torch.equal(value[:, 0], value[:, 1]) and not torch.equal(value[0], value[1])
    assert (clips.angles.unflatten(0, (6, 3)).diff(dim=1).abs().amax((1, 2)) > 0.03).all()
    assert (clips.expression.unflatten(0, (6, 3)).diff(dim=1).abs().amax((1, 2)) > 0.1).any()
    centre = (clips.landmarks[::3].amin(1) + clips.landmarks[::3].amax(1)) / 2 / 96 - 0.5
    assert centre.abs().max() < 0.2
    assert torch.equal(renderer.sample_clips(6, 3, 5, wild=0.0).clean, clips.clean)


def test_a_clip_with_a_script(renderer):
    """Frames show what they are told, and are the same however many there are."""
    names = renderer.model.expression_names
    expression, angles = torch.zeros(3, len(names)), torch.zeros(3, 3)
    expression[1, names.index("jawOpen")] = 0.8
    angles[2, 1] = 0.5
    clip = renderer.sample_clips(1, 3, 5, wild=0.0, motion=synthetic.Motion(expression, angles))
    assert torch.equal(clip.expression, expression) and torch.equal(clip.angles, angles)
    assert torch.equal(clip.light[0], clip.light[2])
    shorter = renderer.sample_clips(1, 2, 5, wild=0.0, motion=synthetic.Motion(expression[:2], angles[:2]))
    assert torch.allclose(shorter.clean, clip.clean[:2], atol=1e-5)
    opened = clip.landmarks[:, 57, 1] - clip.landmarks[:, 51, 1]  # lower lip to upper
    assert opened[1] > opened[0] + 4
