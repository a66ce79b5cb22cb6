"""Light is read off the pixels of the skin."""

import pytest
import torch

from lirec.geometry import euler_to_matrix, intrinsics, render
from lirec.models.rec_net import RecNetOutput
from lirec.pipelines.light_fitting import fitted_light

SIZE = 96


@pytest.fixture(scope="module")
def seen(morphable_model):
    """Two faces, and what RecNet says of them; their light is too dark and from the wrong side."""
    light = torch.zeros(2, 9, 3)
    light[:, 0], light[:, 3] = 1.0, -0.5
    return RecNetOutput(
        identity=torch.randn(2, 80, generator=torch.Generator().manual_seed(0)),
        expression=torch.zeros(2, 51),
        albedo=torch.zeros(2, 64),
        angles=torch.tensor([[0.1, 0.4, 0.0], [0.0, -0.2, 0.1]]),
        translation=torch.tensor([[0.0, 0.0, 1.2]] * 2),
        focal=torch.full((2,), 5.5),
        light=light,
    )


def drawn(model, seen, light):
    camera = intrinsics(SIZE * seen.focal, torch.full((2, 2), SIZE / 2))
    return render(
        model(seen.identity, seen.expression), model.triangles, euler_to_matrix(seen.angles), seen.translation, camera,
        SIZE, SIZE, texture=model.albedo(seen.albedo), uv=model.uv, triangles_uv=model.triangles_uv, light=light,
        triangle_mask=model.select_triangles("skin"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def photo(morphable_model, seen):
    light = torch.zeros(2, 9, 3)
    light[:, 0] = torch.tensor([2.4, 2.2, 2.0])
    light[:, 2], light[:, 3] = -0.6, 0.5
    return drawn(morphable_model, seen, light)


def error(model, seen, photo, light):
    result = drawn(model, seen, light)
    return float(((result.colour - photo.colour).abs() * photo.mask).sum() / (3 * photo.mask.sum()))


def test_light_is_found(morphable_model, seen, photo):
    found = fitted_light(photo.colour, seen, morphable_model)
    assert found.shape == (2, 9, 3)
    before = error(morphable_model, seen, photo, seen.light)
    assert before > 0.1
    assert error(morphable_model, seen, photo, found) < 0.3 * before
    again = fitted_light(photo.colour, RecNetOutput(**{**seen, "light": found}), morphable_model)
    assert error(morphable_model, seen, photo, again) < 0.015


def test_what_hides_the_skin_does_not_count(morphable_model, seen, photo):
    covered = photo.colour.clone()
    covered[:, :, : SIZE // 2, : SIZE // 2] = torch.tensor([0.0, 0.9, 0.1])[:, None, None]
    found = fitted_light(covered, seen, morphable_model)
    assert error(morphable_model, seen, photo, found) < 0.05


def test_without_skin_the_light_stays(morphable_model, seen, photo):
    away = RecNetOutput(**{**seen, "translation": torch.tensor([[5.0, 0.0, 1.2]] * 2)})
    torch.testing.assert_close(fitted_light(photo.colour, away, morphable_model), seen.light)
