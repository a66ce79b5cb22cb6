import pytest
import torch

from lirec.geometry import linear_to_srgb, render, vertex_normals
from tests.geometry.shapes import bumpy_sphere, look_at, sphere

SIZE = 48
PLANES = ("colour", "albedo", "normal", "light", "depth", "mask")


def scene(batch=2, surface="texture", shared=False, dtype=torch.float32):
    """Arguments of `render` for bumpy spheres."""
    torch.manual_seed(0)
    vertices, triangles = bumpy_sphere(14, 18, batch)
    rotation, translation, K = look_at(batch, SIZE)
    count = 1 if shared else batch
    arguments = {
        "vertices": vertices,
        "triangles": triangles,
        "rotation": rotation,
        "translation": translation,
        "K": K,
        "height": SIZE,
        "width": SIZE + 4,
        "light": 0.3 * torch.randn(count, 9, 3),
    }
    arguments["light"][:, 0] += 2
    if surface == "texture":
        arguments["texture"] = torch.rand(count, 3, 20, 24)
        arguments["uv"] = torch.rand(40, 2) * 1.1 - 0.05
        arguments["triangles_uv"] = torch.randint(40, triangles.shape)
    elif surface == "albedo":
        arguments["albedo"] = torch.rand(count, vertices.shape[1], 3)
    arguments["triangle_mask"] = torch.rand(len(triangles)) > 0.3
    return {
        name: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in arguments.items()
    }


@pytest.mark.parametrize("surface", ["texture", "albedo", "none"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("lit", [False, True])
@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_the_compiled_pass_has_the_values_of_the_torch_path(surface, shared, lit, engine):
    arguments = scene(surface=surface, shared=shared)
    if not lit:
        del arguments["light"]
    fused, plain = render(**arguments), render(**arguments, engine=engine)
    assert 0.2 < fused.mask.mean() < 0.8
    same = fused.fragments.triangle == plain.fragments.triangle
    assert same.double().mean() >= 0.999
    for name in PLANES:
        a, b = getattr(fused, name), getattr(plain, name)
        assert a.shape == b.shape and a.dtype == b.dtype, name
        assert torch.allclose(a.movedim(1, -1)[same], b.movedim(1, -1)[same], atol=2e-4), name
        assert (a.movedim(1, -1)[fused.fragments.triangle < 0] == 0).all(), name
        assert (b.movedim(1, -1)[plain.fragments.triangle < 0] == 0).all(), name


@pytest.mark.parametrize("surface", ["texture", "albedo", "none"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_compiled_gradients_are_those_of_the_torch_path(surface, shared):
    torch.manual_seed(1)
    weights = {name: torch.randn(2, 3, SIZE, SIZE + 4) for name in PLANES}
    weights["depth"] = weights["depth"][:, :1]

    def gradients(**options):
        arguments = scene(surface=surface, shared=shared)
        names = [
            n for n in ("vertices", "translation", "rotation", "light", "texture", "albedo") if n in arguments
        ]
        inputs = [arguments[name].requires_grad_() for name in names]
        result = render(**arguments, **options)
        loss = sum((getattr(result, name) * weights[name]).sum() for name in PLANES[:5])
        loss = loss + (result.fragments.barycentric[..., 0] * weights["mask"][:, 0]).sum()
        return dict(zip(names, torch.autograd.grad(loss, inputs), strict=True))

    expected = gradients(engine="numba")
    for name, gradient in gradients().items():
        assert gradient.shape == expected[name].shape
        difference = (gradient - expected[name]).norm() / expected[name].norm()
        assert difference < 2e-3, (name, difference)


def test_gradients_for_one_output_only():
    arguments = scene(surface="albedo")
    arguments["albedo"].requires_grad_()
    for name in ("colour", "albedo"):
        (gradient,) = torch.autograd.grad(getattr(render(**arguments), name).sum(), arguments["albedo"])
        expected = render(**arguments, engine="numba")
        (expected,) = torch.autograd.grad(getattr(expected, name).sum(), arguments["albedo"])
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-3)
    assert not render(**arguments).normal.sum().isnan()


def test_gradients_in_float64():
    arguments = scene(batch=1, surface="albedo", dtype=torch.float64)
    arguments.update(height=10, width=10, K=arguments["K"] * torch.tensor([[10 / SIZE], [10 / SIZE], [1]]))
    albedo, light = arguments.pop("albedo").requires_grad_(), arguments.pop("light").requires_grad_()
    normals = vertex_normals(arguments["vertices"], arguments["triangles"]).requires_grad_()

    def run(albedo, light, normals):
        result = render(**arguments, albedo=0.5 * albedo, light=light, normals=normals)
        return result.colour, result.normal, result.light

    assert torch.autograd.gradcheck(run, (albedo, light, normals))


def test_gradients_with_a_texture_in_float64():
    arguments = scene(batch=1, surface="texture", dtype=torch.float64)
    arguments.update(height=10, width=10, K=arguments["K"] * torch.tensor([[10 / SIZE], [10 / SIZE], [1]]))
    texture = arguments.pop("texture")[..., :4, :5].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: render(**arguments, texture=0.5 * t).albedo, texture)


def test_a_sphere_seen_from_the_front():
    vertices, triangles = sphere(60, 90)
    rotation, translation, K = look_at(1, SIZE)
    rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
    translation = torch.tensor([[0.0, 0.0, 0.7]])
    albedo = torch.full((1, len(vertices), 3), 0.25)
    light = torch.zeros(1, 9, 3)
    light[:, 0] = 2 / 0.282095
    result = render(
        vertices[None], triangles, rotation, translation, K, SIZE, SIZE, albedo=albedo, light=light
    )
    middle = SIZE // 2
    assert torch.allclose(result.normal[0, :, middle, middle], torch.tensor([0.0, 0.0, -1.0]), atol=0.06)
    assert result.normal[0, 0, middle, middle + 15] > 0.5  # to the right
    assert result.normal[0, 1, middle + 15, middle] > 0.5  # down
    assert torch.allclose(result.depth[0, 0, middle, middle], torch.tensor(0.6), atol=1e-3)
    assert torch.allclose(result.light[0, :, middle, middle], torch.tensor(2.0))
    assert torch.allclose(result.colour[0, :, middle, middle], linear_to_srgb(torch.tensor(0.5)), atol=1e-5)
    assert torch.allclose(result.mask, result.mask.flip(3)) and torch.allclose(
        result.mask, result.mask.flip(2)
    )


def test_rows_and_columns_of_a_texture():
    corners = torch.tensor([[[-1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [-1.0, -1.0, 0.0]]])
    triangles = torch.tensor([[0, 2, 1], [0, 3, 2]])
    K = torch.tensor([[[8.0, 0.0, 8.0], [0.0, 8.0, 8.0], [0.0, 0.0, 1.0]]])
    rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
    texture = torch.rand(1, 3, 16, 16)
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    result = render(
        corners, triangles, rotation, torch.tensor([[0.0, 0.0, 1.0]]), K, 16, 16,
        texture=texture, uv=uv, triangles_uv=triangles,
    )  # fmt: skip
    assert torch.allclose(result.albedo, texture, atol=1e-4)
    assert torch.allclose(result.colour, linear_to_srgb(texture), atol=1e-4)


def test_triangles_outside_the_mask_still_hide_others():
    arguments = scene(surface="none")
    part, counted = render(**arguments), arguments.pop("triangle_mask")
    whole = render(**arguments)
    assert torch.equal(part.depth, whole.depth)
    seen = part.fragments.triangle.clamp_min(0)
    assert torch.equal(part.mask[:, 0], whole.mask[:, 0] * counted[seen])


def test_dark_and_overexposed_surfaces_have_finite_gradients():
    arguments = scene(surface="albedo")
    arguments["albedo"] = torch.zeros_like(arguments["albedo"]).requires_grad_()
    arguments["light"] = (50 * torch.randn_like(arguments["light"])).requires_grad_()
    for options in ({}, {"engine": "numba"}):
        colour = render(**arguments, **options).colour
        assert colour.min() >= 0 and colour.max() <= 1
        for gradient in torch.autograd.grad(colour.sum(), (arguments["albedo"], arguments["light"])):
            assert gradient.isfinite().all()


def test_threads_do_not_change_the_picture_or_its_gradients():
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            arguments = scene(batch=4, surface="albedo")
            arguments["albedo"].requires_grad_()
            colour = render(**arguments).colour
            results.append((colour.detach(), *torch.autograd.grad(colour.sum(), arguments["albedo"])))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"albedo": torch.zeros(2, 7, 3)}, "not both"),
        ({"uv": None}, "needs uv"),
        ({"triangles_uv": torch.zeros(3, 3, dtype=torch.int64)}, "triangles_uv must"),
        ({"uv": torch.zeros(3, 2)}, "indices from 0 to 2"),
        ({"texture": torch.zeros(3, 3, 8, 8)}, "texture must"),
        ({"light": torch.zeros(2, 27)}, "light must"),
        ({"normals": torch.zeros(2, 7, 3)}, "normals must"),
        ({"triangle_mask": torch.ones(5, dtype=torch.bool)}, "triangle_mask must"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        render(**{**scene(), **change})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("surface", ["texture", "albedo"])
def test_cuda_has_the_values_of_the_cpu(surface):
    arguments = scene(surface=surface)
    moved = {name: value.cuda() if torch.is_tensor(value) else value for name, value in arguments.items()}
    cpu, gpu = render(**arguments), render(**moved)
    for name in PLANES:
        difference = (getattr(cpu, name) - getattr(gpu, name).cpu()).abs().amax(1)
        assert (difference < 1e-3).double().mean() >= 0.999, name
