import torch
from torch.nn.functional import normalize

from lirec.geometry import (
    directional_light,
    fit_light,
    linear_to_srgb,
    shade,
    spherical_harmonics,
    srgb_to_linear,
)


def random_normals(*shape, dtype=torch.float32):
    return normalize(torch.randn(*shape, 3, dtype=dtype), dim=-1)


def test_harmonics_are_orthonormal():
    basis = spherical_harmonics(random_normals(400_000))
    products = basis.T @ basis * (4 * torch.pi / len(basis))
    assert torch.allclose(products, torch.eye(9), atol=0.03)


def test_directional_light_is_nearly_a_clamped_cosine():
    torch.manual_seed(0)
    direction, normals = random_normals(1), random_normals(1, 5000)
    light = directional_light(direction, torch.tensor([[1.0, 0.5, 0.0]]))
    cosine = (normals * direction[:, None]).sum(-1).clamp_min(0)
    shading = shade(normals, light)
    # Three bands hold over 99 % of a clamped cosine's energy.
    assert (shading[..., 0] - cosine).square().mean() < 0.01 * cosine.square().mean()
    assert torch.allclose(shading[..., 1], 0.5 * shading[..., 0], atol=1e-6)
    assert shading[..., 2].abs().max() == 0


def test_light_comes_back_from_a_picture():
    torch.manual_seed(0)
    normals = random_normals(2, 24, 24).movedim(-1, 1)
    albedo = 0.2 + 0.6 * torch.rand(2, 3, 24, 24)
    light = 0.3 * torch.randn(2, 9, 3)
    mask = (torch.rand(2, 1, 24, 24) > 0.3).float()
    image = albedo * shade(normals.movedim(1, -1), light).movedim(-1, 1)
    image = torch.where(mask > 0, image, 9.0)
    assert torch.allclose(fit_light(albedo, normals, image, mask, ridge=1e-6), light, atol=1e-3)
    assert fit_light(albedo, normals, image, torch.zeros_like(mask)).abs().max() < 1e-6


def test_srgb_there_and_back():
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert torch.allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-7)
    assert torch.allclose(srgb_to_linear(torch.tensor(0.5)), torch.tensor(0.21404), atol=1e-5)


def test_srgb_gradient_is_finite_at_zero():
    for function in (linear_to_srgb, srgb_to_linear):
        values = torch.zeros(3, requires_grad=True)
        function(values).sum().backward()
        assert values.grad.isfinite().all() and (values.grad > 0).all()


def test_gradients():
    normals = random_normals(2, 4, dtype=torch.float64).requires_grad_()
    light = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    values = torch.rand(20, dtype=torch.float64, requires_grad=True)
    albedo, image = torch.rand(2, 3, 3, 4, dtype=torch.float64), torch.rand(2, 3, 3, 4, dtype=torch.float64)
    albedo.requires_grad_(), image.requires_grad_()
    directions, mask = (
        random_normals(2, 3, 4, dtype=torch.float64).movedim(-1, 1),
        torch.ones(2, 1, 3, 4).double(),
    )
    assert torch.autograd.gradcheck(shade, (normals, light))
    assert torch.autograd.gradcheck(linear_to_srgb, values)
    assert torch.autograd.gradcheck(srgb_to_linear, values)
    assert torch.autograd.gradcheck(lambda a, i: fit_light(a, directions, i, mask), (albedo, image))
