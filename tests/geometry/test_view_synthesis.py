"""Where driven pixels come from: equation 2, hidden points, motion beyond the mesh."""

import math

import torch
import torch.nn.functional as F

from lirec.geometry import euler_to_matrix, interpolate, intrinsics, project, rasterize
from lirec.geometry.view_synthesis import (
    Correspondence,
    dense_correspondence,
    extend,
    hiding_depth,
    pixel_grid,
    reproject,
    seen_from_front,
    warp,
)
from tests.geometry.shapes import sphere

SIZE = 96


def camera(focal=2.5):
    return intrinsics(torch.tensor([focal]), torch.tensor([0.5, 0.5]))


def view(vertices, triangles, angles, translation=(0.0, 0.0, 1.0)):
    """Projected vertices in picture widths, what SIZE pixels see, and the pose."""
    rotation, translation = euler_to_matrix(torch.tensor([angles])), torch.tensor([translation])
    points = project(vertices[None], rotation, translation, camera())
    return points, rasterize(points * torch.tensor([SIZE, SIZE, 1.0]), triangles, SIZE, SIZE), rotation, translation


def correspondence(sees, triangles, source, depth, mirrored=False, coarse=None) -> Correspondence:
    front = seen_from_front(source, triangles, mirrored)
    return dense_correspondence(sees, interpolate(sees, triangles, source), depth, front, coarse)


def test_identical_views_find_every_pixel_where_it_is():
    vertices, triangles = sphere(24, 32)
    points, fragments, *_ = view(vertices, triangles, (0.1, 0.2, 0.3))
    found = correspondence(fragments, triangles, points, hiding_depth(fragments))
    torch.testing.assert_close(found.grid, pixel_grid(SIZE, SIZE, points), atol=1e-3, rtol=0)
    assert found.visible[0, 0].bool().equal(fragments.triangle[0] >= 0)


def test_rigid_motion_is_equation_2():
    vertices, triangles = sphere(24, 32)
    source, source_sees, R_s, t_s = view(vertices, triangles, (0.0, 0.0, 0.0))
    _, sees, R_d, t_d = view(vertices, triangles, (0.1, 0.3, 0.1), (0.02, -0.03, 1.1))
    found = correspondence(sees, triangles, source, hiding_depth(source_sees))
    relative = torch.eye(4)[None].clone()
    relative[:, :3, :3] = R_s @ R_d.transpose(1, 2)
    relative[:, :3, 3] = t_s - (relative[:, :3, :3] @ t_d[..., None])[..., 0]
    depth = torch.where(sees.depth.isinf(), 0, sees.depth)[:, None]
    expected = reproject(depth, camera(), camera(), relative)
    mesh = sees.triangle >= 0
    torch.testing.assert_close(found.grid[mesh], expected[mesh], atol=1e-3, rtol=0)


def test_what_the_source_cannot_see_is_not_visible():
    """After half a turn nothing of the source's front is left; after a small one nearly all of it."""
    vertices, triangles = sphere(24, 32)
    source, source_sees, *_ = view(vertices, triangles, (0.0, 0.0, 0.0))
    shares = []
    for yaw in (0.1, math.pi / 2, math.pi):
        _, sees, *_ = view(vertices, triangles, (0.0, yaw, 0.0))
        found = correspondence(sees, triangles, source, hiding_depth(source_sees))
        shares.append(found.visible.sum().item() / (sees.triangle >= 0).sum().item())
    assert shares[0] > 0.9 and 0.3 < shares[1] < 0.6 and shares[2] < 0.03, shares


def test_a_nearer_ball_hides_the_farther_one():
    vertices, triangles = sphere(16, 20, 0.1)
    near = sphere(16, 20, 0.05)[0] + torch.tensor([0.0, 0.0, 0.25])
    both = torch.cat((vertices, near))
    mesh = torch.cat((triangles, triangles + len(vertices)))
    source, source_sees, *_ = view(both, mesh, (0.0, 0.0, 0.0))
    aside = torch.cat((vertices, near + torch.tensor([0.4, 0.0, 0.0])))
    _, sees, *_ = view(aside, mesh, (0.0, 0.0, 0.0))
    found = correspondence(sees, mesh, source, hiding_depth(source_sees))
    middle = slice(SIZE // 2 - 4, SIZE // 2 + 4)
    assert found.visible[0, 0, middle, middle].sum() == 0
    assert found.visible.sum() > 0.5 * (source_sees.triangle >= 0).sum()


def test_mirrored_points_fill_what_the_turn_hides():
    vertices, triangles = sphere(24, 32)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    mirror = torch.cdist(vertices * flip, vertices).argmin(1)
    source, source_sees, *_ = view(vertices, triangles, (0.0, -0.8, 0.0))
    _, sees, *_ = view(vertices, triangles, (0.0, 0.8, 0.0))
    depth = hiding_depth(source_sees)
    direct = correspondence(sees, triangles, source, depth).visible
    mirrored = correspondence(sees, triangles, source[:, mirror], depth, mirrored=True).visible
    seen = (sees.triangle >= 0).sum()
    assert direct.sum() < 0.75 * seen and torch.maximum(direct, mirrored).sum() > 0.95 * seen


def test_a_smaller_picture_tells_the_motion_beyond_the_mesh():
    """On the mesh nothing changes, and beyond it little."""
    vertices, triangles = sphere(24, 32)
    source, source_sees, *_ = view(vertices, triangles, (0.0, 0.0, 0.0))
    points, sees, *_ = view(vertices, triangles, (0.1, 0.3, 0.1), (0.02, -0.03, 1.1))
    depth, half = hiding_depth(source_sees), SIZE // 2
    small = rasterize(points * torch.tensor([half, half, 1.0]), triangles, half, half)
    whole = correspondence(sees, triangles, source, depth)
    quick = correspondence(sees, triangles, source, depth, coarse=correspondence(small, triangles, source, depth))
    mesh = sees.triangle >= 0
    assert quick.grid[mesh].equal(whole.grid[mesh]) and quick.visible.equal(whole.visible)
    error, motion = (quick.grid - whole.grid)[~mesh], (whole.grid - pixel_grid(SIZE, SIZE, points))[~mesh]
    assert error.abs().mean() < 0.05 * motion.abs().mean() and error.abs().max() < 0.05


def test_motion_goes_on_beyond_the_mesh_and_fades():
    known = torch.zeros(1, 1, 64, 64)
    known[..., 24:40, 24:40] = 1
    grid = pixel_grid(64, 64, known) + 0.1 * known[0, 0, ..., None] + 0.7 * (1 - known[0, 0, ..., None])
    motion = (extend(grid, known) - pixel_grid(64, 64, known))[0, ..., 0]
    torch.testing.assert_close(motion[24:40, 24:40], torch.full((16, 16), 0.1), atol=1e-5, rtol=0)
    row = motion[32]
    assert 0.03 < row[22] < 0.11 and row[10] < row[20] < row[23] + 1e-3 and row[0] < 0.05
    assert extend(grid, 0 * known).allclose(pixel_grid(64, 64, known))


def test_motion_goes_as_far_in_a_picture_of_any_size():
    """Photos are drawn at their own size, but networks are trained on small ones."""
    motions = []
    for size in (64, 256):
        known = torch.zeros(1, 1, size, size)
        known[..., size // 2 - size // 8 : size // 2 + size // 8, size // 2 - size // 8 : size // 2 + size // 8] = 1
        rest = pixel_grid(size, size, known)
        motions.append((extend(rest + 0.1, known) - rest).permute(0, 3, 1, 2))
    small, large = motions
    torch.testing.assert_close(F.avg_pool2d(large, 4), small, atol=0.01, rtol=0)


def test_warp_moves_pixels():
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    moved = warp(picture, pixel_grid(16, 16, picture) + torch.tensor([2 / 16, 0.0]))
    torch.testing.assert_close(moved[..., :-1], picture[..., 1:], atol=1e-5, rtol=0)
