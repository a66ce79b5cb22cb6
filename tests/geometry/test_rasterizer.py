import threading

import pytest
import torch

from lirec.geometry import interpolate, rasterize
from lirec.geometry.rasterizer import _interpolate_torch
from tests.geometry import reference
from tests.geometry.shapes import projected_spheres, sphere

ENGINES = ["numba", "torch"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cull", [False, True])
def test_both_engines_match_the_plain_reference(engine, cull):
    projected, triangles = projected_spheres(12, 16, batch=2, size=64)
    expected = reference.rasterize(projected, triangles, 60, 72, cull)
    found = rasterize(projected, triangles, 60, 72, cull, engine)
    same = found.triangle == expected.triangle
    assert expected.triangle.max() > 0 and 0.2 < (expected.triangle >= 0).double().mean() < 0.8
    assert same.double().mean() >= 0.999
    assert torch.allclose(found.barycentric[same].double(), expected.barycentric[same], atol=1e-3)
    assert torch.allclose(found.depth[same].double(), expected.depth[same], rtol=1e-5)


def test_the_engines_match_each_other_on_a_fine_mesh():
    projected, triangles = projected_spheres(70, 70, batch=2, size=192)
    a, b = (rasterize(projected, triangles, 192, 192, engine=engine) for engine in ENGINES)
    same = a.triangle == b.triangle
    assert same.double().mean() >= 0.999
    assert torch.allclose(a.barycentric[same], b.barycentric[same], atol=1e-2)
    # float32: in a sliver they are 1.1e-5 apart on some CPUs
    assert torch.allclose(a.depth[same], b.depth[same], rtol=1.5e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_barycentrics_are_correct_in_perspective(engine):
    # A square that leans away from the camera: its middle in space is not its middle in the picture.
    square = torch.tensor([[[10.0, 10.0, 1.0], [90.0, 10.0, 1.0], [90.0, 90.0, 3.0], [10.0, 90.0, 3.0]]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    fragments = rasterize(square, triangles, 100, 100, engine=engine)
    row = torch.arange(10, 90)
    share = (row + 0.5 - 10) / 80
    depth = 1 / (1 - share * 2 / 3)
    assert torch.allclose(fragments.depth[0, 10:90, 50], depth, rtol=1e-4)
    z = interpolate(fragments, triangles, square[..., 2:])[0, ..., 0]
    assert torch.allclose(z[10:90, 10:90], fragments.depth[0, 10:90, 10:90], rtol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_pixel_is_lost_between_neighbours(engine):
    torch.manual_seed(0)
    side = 12
    y, x = torch.meshgrid(torch.linspace(-9, 73, side), torch.linspace(-9, 73, side), indexing="ij")
    points = torch.stack((x, y, torch.ones_like(x)), -1).reshape(1, -1, 3)
    points[..., :2] += torch.rand(1, side * side, 2)
    corner = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).reshape(-1)
    triangles = torch.stack(
        (corner, corner + 1, corner + side, corner + side, corner + 1, corner + side + 1), -1
    )
    fragments = rasterize(points, triangles.reshape(-1, 3), 64, 64, engine=engine)
    assert (fragments.triangle >= 0).all()
    assert torch.allclose(fragments.barycentric.sum(-1), torch.ones(1, 64, 64), atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_triangles_that_cannot_be_drawn_are_skipped(engine):
    nan, inf = float("nan"), float("inf")
    good = [[8.0, 8.0, 1.0], [24.0, 8.0, 1.0], [8.0, 24.0, 1.0]]
    bad = [
        [[8.0, 8.0, 1e-7], [24.0, 8.0, 0.5], [8.0, 24.0, 0.5]],  # at the camera
        [[8.0, 8.0, -1.0], [24.0, 8.0, 0.5], [8.0, 24.0, 0.5]],  # behind it
        [[8.0, 8.0, 0.5], [16.0, 16.0, 0.5], [24.0, 24.0, 0.5]],  # without area
        [[8.0, nan, 0.5], [24.0, 8.0, 0.5], [8.0, 24.0, 0.5]],
        [[inf, 8.0, 0.5], [24.0, 8.0, 0.5], [8.0, 24.0, 0.5]],
        [[8.0, 8.0, nan], [24.0, 8.0, 0.5], [8.0, 24.0, 0.5]],
        [[-1e30, -1e30, 0.5], [-2e30, 8.0, 0.5], [-8.0, 1e30, 0.5]],  # far outside
    ]
    points = torch.tensor([good, *bad]).reshape(1, -1, 3)
    triangles = torch.arange(points.shape[1]).reshape(-1, 3)
    fragments = rasterize(points, triangles, 32, 32, engine=engine)
    assert fragments.triangle.unique().tolist() == [-1, 0]
    empty = fragments.triangle < 0
    assert (fragments.barycentric[empty] == 0).all() and fragments.depth[empty].isinf().all()


@pytest.mark.parametrize("engine", ENGINES)
def test_culling_keeps_what_faces_the_camera(engine):
    projected, triangles = projected_spheres(12, 16, batch=1, size=64)
    front = rasterize(projected, triangles, 64, 64, cull=True, engine=engine)
    back = rasterize(projected, triangles.flip(1), 64, 64, cull=True, engine=engine)
    seen = (front.triangle >= 0) & (back.triangle >= 0)
    assert seen.sum() > 500 and (front.depth[seen] <= back.depth[seen] + 1e-4).double().mean() > 0.9


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_meshes_and_pictures(engine):
    fragments = rasterize(torch.zeros(2, 3, 3), torch.zeros(0, 3, dtype=torch.int64), 8, 8, engine=engine)
    assert (fragments.triangle == -1).all()
    fragments = rasterize(torch.zeros(0, 3, 3), torch.tensor([[0, 1, 2]]), 8, 8, engine=engine)
    assert fragments.triangle.shape == (0, 8, 8)
    assert interpolate(fragments, torch.tensor([[0, 1, 2]]), torch.zeros(1, 3, 5)).shape == (0, 8, 8, 5)


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_of_barycentrics_and_depth(engine):
    projected, triangles = projected_spheres(5, 6, batch=2, size=24)
    weight_b, weight_d = torch.randn(2, 24, 24, 3), torch.randn(2, 24, 24)

    def run(points, engine):
        fragments = rasterize(points, triangles, 24, 24, engine=engine)
        depth = torch.where(fragments.triangle >= 0, fragments.depth, 0)
        return (fragments.barycentric * weight_b).sum() + (depth * weight_d).sum()

    points = projected.double().requires_grad_()
    assert engine == "numba" or torch.autograd.gradcheck(lambda p: run(p, engine), points, atol=1e-4)
    (expected,) = torch.autograd.grad(run(points, "torch"), points)
    points = projected.clone().requires_grad_()
    (found,) = torch.autograd.grad(run(points, engine), points)
    # Slivers have gradients as large as they are thin, where float32 says little.
    assert (found - expected).abs().median() < 1e-4 * expected.abs().mean()
    assert torch.allclose(found.double(), expected, rtol=1e-2, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_of_interpolation(shared):
    projected, triangles = projected_spheres(5, 6, batch=2, size=16)
    fragments = rasterize(projected.double(), triangles, 16, 16)
    fragments.barycentric.requires_grad_()
    attributes = torch.randn(
        1 if shared else 2, projected.shape[1], 4, dtype=torch.float64, requires_grad=True
    )

    def run(barycentric, attributes):
        fragments.barycentric = barycentric * (fragments.triangle >= 0)[..., None]
        return interpolate(fragments, triangles, attributes)

    assert torch.autograd.gradcheck(run, (fragments.barycentric, attributes))


def test_interpolation_of_constants_and_outside():
    projected, triangles = projected_spheres(12, 16, batch=2, size=48)
    fragments = rasterize(projected, triangles, 48, 48)
    values = interpolate(fragments, triangles, torch.full((1, projected.shape[1], 2), 3.0))
    seen = fragments.triangle >= 0
    assert torch.allclose(values[seen], torch.full((int(seen.sum()), 2), 3.0), atol=1e-4)
    assert (values[~seen] == 0).all()


@pytest.mark.parametrize("shared", [False, True])
def test_interpolation_in_torch_has_the_values_and_gradients_of_the_kernel(shared):
    projected, triangles = projected_spheres(12, 16, batch=2, size=48)
    projected.requires_grad_()
    attributes = torch.randn(1 if shared else 2, projected.shape[1], 4, requires_grad=True)
    results = []
    for function in (interpolate, _interpolate_torch):
        values = function(rasterize(projected, triangles, 48, 48), triangles, attributes)
        results.append((values, *torch.autograd.grad(values.square().sum(), (projected, attributes))))
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_threads_do_not_change_the_picture():
    projected, triangles = projected_spheres(30, 40, batch=3, size=96)
    before = torch.get_num_threads()
    try:
        pictures = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            pictures += [rasterize(projected, triangles, 95, 96), rasterize(projected[:1], triangles, 95, 96)]
    finally:
        torch.set_num_threads(before)
    for whole, first in zip(pictures[::2], pictures[1::2], strict=True):
        assert torch.equal(whole.triangle, pictures[0].triangle)
        assert torch.equal(whole.barycentric, pictures[0].barycentric)
        assert torch.equal(first.depth, pictures[0].depth[:1])


def test_several_python_threads_at_once():
    projected, triangles = projected_spheres(30, 40, batch=1, size=96)
    expected = rasterize(projected, triangles, 96, 96).triangle
    wrong = []

    def work():
        for _ in range(10):
            if not torch.equal(rasterize(projected, triangles, 96, 96).triangle, expected):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_wrong_arguments_are_named():
    vertices, triangles = sphere(4, 5)
    with pytest.raises(ValueError, match="projected must be"):
        rasterize(vertices, triangles, 8, 8)
    with pytest.raises(ValueError, match="indices from 0"):
        rasterize(vertices[None], triangles + 9, 8, 8)
    with pytest.raises(ValueError, match="engine must be"):
        rasterize(vertices[None], triangles, 8, 8, engine="opengl")
    fragments = rasterize(vertices[None] * 50 + 60, triangles, 64, 64)
    with pytest.raises(ValueError, match="attributes must be"):
        interpolate(fragments, triangles, vertices)
    with pytest.raises(ValueError, match="more triangles"):
        interpolate(fragments, triangles[:1], vertices[None])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_matches_the_cpu():
    projected, triangles = projected_spheres(70, 70, batch=2, size=192)
    cpu, gpu = (
        rasterize(projected, triangles, 192, 192),
        rasterize(projected.cuda(), triangles.cuda(), 192, 192),
    )
    assert (cpu.triangle == gpu.triangle.cpu()).double().mean() >= 0.999
    attributes = torch.rand(2, projected.shape[1], 3)
    a = interpolate(cpu, triangles, attributes)
    b = interpolate(gpu, triangles.cuda(), attributes.cuda()).cpu()
    assert ((a - b).abs().amax(-1) < 1e-3).double().mean() >= 0.999
