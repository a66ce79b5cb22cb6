"""Meshes and cameras for the tests."""

import math

import torch

from lirec.geometry import euler_to_matrix, intrinsics, project


def sphere(rings: int, sectors: int, radius: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices (V, 3) and triangles (F, 3), counter-clockwise seen from outside; the two poles come last."""
    polar = torch.linspace(0, math.pi, rings + 1)[1:-1]
    around = torch.linspace(0, 2 * math.pi, sectors + 1)[:-1]
    polar, around = torch.meshgrid(polar, around, indexing="ij")
    vertices = torch.stack((polar.sin() * around.sin(), polar.cos(), polar.sin() * around.cos()), -1)
    poles = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    sector, next_sector = torch.arange(sectors), (torch.arange(sectors) + 1) % sectors
    ring = torch.arange(rings - 2)[:, None] * sectors
    a, b = ring + sector, ring + next_sector
    north = torch.full_like(sector, (rings - 1) * sectors)
    last = (rings - 2) * sectors
    triangles = (
        torch.stack((north, sector, next_sector), -1),
        torch.stack((a, a + sectors, b), -1).reshape(-1, 3),
        torch.stack((b, a + sectors, b + sectors), -1).reshape(-1, 3),
        torch.stack((last + sector, north + 1, last + next_sector), -1),
    )
    return radius * torch.cat((vertices.reshape(-1, 3), poles)), torch.cat(triangles)


def bumpy_sphere(rings: int, sectors: int, batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices (B, V, 3) that hide each other, and triangles (F, 3)."""
    vertices, triangles = sphere(rings, sectors)
    generator = torch.Generator().manual_seed(seed)
    scale = 1 + 0.3 * torch.randn(batch, len(vertices), 1, generator=generator)
    return vertices * scale, triangles


def look_at(batch: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rotation, translation and K of cameras that have the sphere in the picture."""
    generator = torch.Generator().manual_seed(seed)
    rotation = euler_to_matrix(0.5 * torch.randn(batch, 3, generator=generator))
    translation = torch.tensor([0.01, -0.02, 0.7]) + 0.02 * torch.randn(batch, 3, generator=generator)
    K = intrinsics(torch.full((batch,), 2.5 * size), torch.tensor([size / 2, size / 2]))
    return rotation, translation, K


def projected_spheres(rings: int, sectors: int, batch: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    vertices, triangles = bumpy_sphere(rings, sectors, batch)
    return project(vertices, *look_at(batch, size)), triangles
