"""How fast pictures are drawn, as a ratio to plainer code in the same run. `pytest -s` shows the figures."""

import time

import pytest
import torch

from lirec.geometry import interpolate, linear_to_srgb, project, rasterize, render, shade, vertex_normals
from tests.geometry.shapes import look_at, sphere


def milliseconds(function, repeats: int = 15) -> float:
    """The shortest of several times; the first call, which compiles, is left out."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(("rings", "sectors", "size"), [(71, 70, 192), (135, 134, 256)])
def test_numba_against_torch(threads, rings, sectors, size):
    vertices, triangles = sphere(rings, sectors)
    projected = project(vertices[None], *look_at(1, size))
    numba = milliseconds(lambda: rasterize(projected, triangles, size, size))
    culled = milliseconds(lambda: rasterize(projected, triangles, size, size, cull=True))
    plain = milliseconds(lambda: rasterize(projected, triangles, size, size, engine="torch"), 5)
    print(
        f"\n{len(triangles)} triangles, {size}x{size}, {threads} threads: numba {numba:.2f} ms, "
        f"culled {culled:.2f} ms, torch {plain:.2f} ms, ratio {plain / numba:.1f}"
    )
    assert numba < 0.5 * plain


def test_compiled_rendering_against_torch(threads):
    """A picture with its gradients, against the same steps in plain torch on a picture drawn by numba."""
    batch, size = 4, 192
    vertices, triangles = sphere(71, 70)
    vertices = vertices.expand(batch, -1, -1)
    rotation, translation, K = look_at(batch, size)
    albedo = torch.rand(batch, vertices.shape[1], 3, requires_grad=True)
    light = torch.rand(batch, 9, 3, requires_grad=True)

    def compiled():
        return render(
            vertices, triangles, rotation, translation, K, size, size, albedo=albedo, light=light
        ).colour

    def plain():
        fragments = rasterize(project(vertices, rotation, translation, K), triangles, size, size)
        normals = vertex_normals(vertices, triangles) @ rotation.mT
        # The corners' values one by one, as one would write it without `interpolate`.
        picture = torch.arange(batch)[:, None, None, None]
        corners = triangles[fragments.triangle.clamp_min(0)]
        weights = fragments.barycentric[..., None]
        normal = torch.nn.functional.normalize((normals[picture, corners] * weights).sum(-2), dim=-1)
        surface = (albedo[picture, corners] * weights).sum(-2)
        return linear_to_srgb((surface * shade(normal, light)).clamp(0, 1)).movedim(-1, 1)

    with torch.no_grad():
        assert ((compiled() - plain()).abs() < 1e-3).double().mean() > 0.999
        forward = [milliseconds(function, 5) / batch for function in (compiled, plain)]
    both = [
        milliseconds(lambda f=function: f().sum().backward(), 5) / batch for function in (compiled, plain)
    ]
    print(
        f"\n{len(triangles)} triangles, {size}x{size}, {threads} threads, a picture: "
        f"forward {forward[0]:.2f} ms against {forward[1]:.2f} ms; "
        f"with gradients {both[0]:.2f} ms against {both[1]:.2f} ms"
    )
    slack = 1 if threads == 1 else 3  # another program on the second core holds both up
    assert forward[0] < slack * forward[1] and both[0] < slack * both[1]


def test_interpolation_against_indexing(threads):
    size = 256
    vertices, triangles = sphere(71, 70)
    fragments = rasterize(project(vertices[None], *look_at(1, size)), triangles, size, size)
    values = torch.rand(1, len(vertices), 8)

    def plain():
        corners = values[0][triangles[fragments.triangle.clamp_min(0)]]
        return (corners * fragments.barycentric[..., None]).sum(-2)

    assert torch.allclose(interpolate(fragments, triangles, values), plain(), atol=1e-5)
    times = [milliseconds(f) for f in (lambda: interpolate(fragments, triangles, values), plain)]
    print(f"\n8 values, {size}x{size}, {threads} threads: {times[0]:.2f} ms against {times[1]:.2f} ms")
    assert times[0] < times[1] * (1 if threads == 1 else 3)
