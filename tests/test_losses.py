"""Every loss is 0 at the truth, above 0 away from it, and has a finite gradient in both places."""

import pytest
import torch

from lirec import losses
from lirec.geometry import euler_to_matrix

B, V = 3, 20


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(random(*shape, seed=seed) - 0.5, dim=-1)


TRANSLATION, FOCAL = random(B, 3) + torch.tensor([-0.5, -0.5, 0.5]), random(B) + 1
NORMALS, ALBEDO = unit(B, V, 3), random(B, V, 3) * 0.8 + 0.1

# name -> (loss of the prediction, truth, step away from it)
CASES = {
    "landmark": (
        lambda x: losses.landmark_loss(x, random(B, 68, 2) * 100, 100.0),
        random(B, 68, 2) * 100,
        1.0,
    ),
    "render": (
        lambda x: losses.render_loss(x, random(B, 3, 8, 8), random(B, 1, 8, 8) > 0.3),
        random(B, 3, 8, 8),
        0.1,
    ),
    "identity": (lambda x: losses.identity_loss(x, unit(B, 16)), unit(B, 16), 0.1),
    "coefficient": (lambda x: losses.coefficient_loss(x, random(B, 80)), random(B, 80), 0.1),
    "expression": (lambda x: losses.expression_loss(x, random(B, 51)), random(B, 51), 0.1),
    "scale": (lambda x: losses.scale_loss(TRANSLATION, x, TRANSLATION, FOCAL), FOCAL, 0.1),
    "focal": (lambda x: losses.focal_loss(x, FOCAL), FOCAL, 0.1),
}


@pytest.mark.parametrize("name", CASES)
def test_zero_at_truth_and_growing_with_finite_gradients(name):
    loss, truth, step = CASES[name]
    at_truth = truth.clone().requires_grad_()
    value = loss(at_truth)
    assert value.shape == () and abs(value.item()) < 1e-6
    value.backward()
    assert at_truth.grad.isfinite().all()

    values = []
    for distance in (1.0, 2.0):
        away = (truth + distance * step * unit(*truth.shape, seed=7)).requires_grad_()
        values.append(loss(away))
        values[-1].backward()
        assert away.grad.isfinite().all() and away.grad.abs().sum() > 0
    assert 1e-6 < values[0] < values[1]


def test_landmark_loss_is_a_fraction_of_the_size():
    target = random(B, 68, 2) * 100
    assert losses.landmark_loss(target + torch.tensor([3.0, 4.0]), target, 50.0).item() == pytest.approx(
        0.1, rel=1e-3
    )
    sizes = torch.tensor([50.0, 100.0, 200.0])
    expected = (5 / sizes).mean().item()
    assert losses.landmark_loss(target + torch.tensor([3.0, 4.0]), target, sizes).item() == pytest.approx(
        expected, 1e-3
    )


def test_landmark_weights_leave_points_out():
    weights = losses.landmark_weights()
    assert weights.shape == (68,) and weights.mean().item() == pytest.approx(1)
    target = random(B, 68, 2)
    predicted = target.clone()
    predicted[:, :17] += 10
    assert losses.landmark_loss(predicted, target, 1.0, losses.landmark_weights(contour=0)).item() < 1e-5
    assert losses.landmark_loss(predicted, target, 1.0, torch.zeros(68)).item() == 0


def test_render_loss_sees_only_the_mask():
    image, mask = random(B, 3, 8, 8), torch.zeros(B, 1, 8, 8)
    mask[:, :, 2:6] = 1
    mask[2] = 0
    rendered = (image + (1 - mask)).requires_grad_()
    loss = losses.render_loss(rendered, image, mask)
    loss.backward()
    assert loss.item() == 0 and rendered.grad.isfinite().all()
    assert losses.render_loss(image + 0.1 * mask, image, mask).item() == pytest.approx(
        2 / 3 * 0.1 * 3**0.5, rel=1e-3
    )


def test_identity_loss_survives_a_zero_embedding():
    zero = torch.zeros(1, 8, requires_grad=True)
    loss = losses.identity_loss(zero, unit(1, 8))
    loss.backward()
    assert loss.item() == pytest.approx(1) and zero.grad.isfinite().all()


def test_rotation_loss_is_the_angle():
    angles = torch.tensor([[0.1, -0.4, 0.2], [0.0, 1.4, 0.0], [-0.5, 0.3, 1.0]])
    truth = euler_to_matrix(angles)
    for turn in (0.0, 0.01, 0.5, 2.0, 3.1, torch.pi):
        cosine, sine = torch.cos(torch.tensor(turn)), torch.sin(torch.tensor(turn))
        turned = torch.stack((torch.stack((cosine, sine)), torch.stack((-sine, cosine))))
        other = torch.eye(3)
        other[:2, :2] = turned
        predicted = (other @ truth).requires_grad_()
        loss = losses.rotation_loss(predicted, truth)
        loss.backward()
        assert loss.item() == pytest.approx(turn, abs=5e-3)
        assert predicted.grad.isfinite().all()


def test_rotation_loss_leads_to_the_truth():
    truth = euler_to_matrix(torch.tensor([[0.2, 0.6, -0.3]]))
    angles = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.Adam([angles], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        losses.rotation_loss(euler_to_matrix(angles), truth).backward()
        optimizer.step()
    assert losses.rotation_loss(euler_to_matrix(angles), truth).item() < 0.02


def test_scale_ignores_what_the_picture_cannot_tell():
    """Twice as far through a lens twice as long: the same size."""
    far = TRANSLATION * torch.tensor([1.0, 1.0, 2.0])
    assert losses.scale_loss(far, 2 * FOCAL, TRANSLATION, FOCAL).item() < 1e-5
    assert losses.focal_loss(2 * FOCAL, FOCAL).item() == pytest.approx(0.693, abs=1e-2)


def test_expression_loss_weighs_what_is_active():
    rest, active = torch.zeros(1, 51), torch.full((1, 51), 0.8)
    assert losses.expression_loss(active + 0.1, active) > 5 * losses.expression_loss(rest + 0.1, rest)


def test_expression_prior_keeps_to_the_range():
    assert losses.expression_prior(torch.zeros(1, 51)).item() == 0
    inside = losses.expression_prior(torch.full((1, 51), 0.3))
    assert losses.expression_prior(torch.full((1, 51), -0.3)) > inside
    assert losses.expression_prior(torch.full((1, 51), 1.3)) > inside + 0.85
    one, many = torch.zeros(1, 51), torch.full((1, 51), 0.02)
    one[0, 0] = 1.0
    assert losses.expression_prior(one) < losses.expression_prior(many)


def test_albedo_flattening_measures_plain_skin_only():
    albedo = torch.full((2, 10, 3), 0.4)
    albedo[:, 5:] = random(2, 5, 3)
    weights = torch.zeros(10)
    weights[:5] = 1
    assert losses.albedo_flattening(albedo, weights).item() < 1e-10
    assert losses.albedo_flattening(albedo, 1 - weights) > 1e-3


def test_regularisation_is_zero_for_the_mean_face_in_white_light():
    zero = [torch.zeros(B, n, requires_grad=True) for n in (80, 51, 64)]
    light = random(B, 9, 1).expand(B, 9, 3).clone().requires_grad_()
    skin = torch.full((B, V, 3), 0.5, requires_grad=True)
    loss = losses.regularisation_loss(*zero, light, skin, torch.ones(V))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert all(x.grad.isfinite().all() for x in (*zero, light, skin))
    assert losses.regularisation_loss(*(x + 1 for x in zero), light) > 1
    with pytest.raises(ValueError, match="skin_weights"):
        losses.regularisation_loss(*zero, skin_albedo=skin)
