"""A face model small enough to measure in an instant: its vertices are the 68 landmarks themselves."""

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from lirec.models.morphable_model import MorphableModel


def arc(centre, width, height, start, stop, count):
    angle = np.radians(np.linspace(start, stop, count))
    return np.stack((centre[0] + width * np.cos(angle), centre[1] + height * np.sin(angle)), 1)


def face_points():
    """(68, 3) metres: a face of ellipses on a curved surface."""
    line = np.linspace
    points = np.concatenate((
        arc((0, 0.005), 0.075, 0.105, 180, 360, 17),  # jaw
        arc((-0.036, 0.02), 0.024, 0.01, 180, 0, 5), arc((0.036, 0.02), 0.024, 0.01, 180, 0, 5),
        np.stack((np.zeros(4), line(0.005, -0.035, 4)), 1), arc((0, -0.045), 0.015, 0.004, 180, 360, 5),
        arc((-0.032, 0), 0.014, 0.005, 180, -120, 6), arc((0.032, 0), 0.014, 0.005, 180, -120, 6),
        arc((0, -0.07), 0.025, 0.01, 180, -150, 12), arc((0, -0.07), 0.018, 0.004, 180, -135, 8),
    ))  # fmt: skip
    depth = 0.02 - 12 * points[:, 0] ** 2 - 2 * points[:, 1] ** 2
    depth[27:31] += line(0.005, 0.03, 4)
    return torch.tensor(np.concatenate((points, depth[:, None]), 1), dtype=torch.float32)


@pytest.fixture(scope="session")
def model():
    points = face_points()
    triangles = torch.tensor(Delaunay(points[:, :2].numpy()).simplices, dtype=torch.int64)
    a, b, c = points[triangles].unbind(1)
    clockwise = torch.linalg.cross(b - a, c - a)[:, 2] < 0
    triangles[clockwise] = triangles[clockwise].flip(1)
    model = MorphableModel(68, len(triangles), 68, texture_size=16, contour_candidates=1)
    generator = torch.Generator().manual_seed(0)

    def noise(like, scale):
        return torch.randn(like.shape, generator=generator) * scale

    model.mean_vertices.copy_(points)
    model.identity_basis.copy_(noise(model.identity_basis, 3e-4))
    model.expression_basis.copy_(noise(model.expression_basis, 2e-3))
    model.mean_albedo.fill_(0.6)
    model.albedo_basis.copy_(noise(model.albedo_basis[:, :, :1, :1], 0.01).expand_as(model.albedo_basis))
    model.triangles.copy_(triangles)
    model.triangles_uv.copy_(triangles)
    model.uv.copy_((points[:, :2] * torch.tensor([1.0, -1.0]) + 0.12) / 0.24)
    model.landmark_vertices.copy_(torch.arange(68))
    model.contour_vertices.copy_(torch.arange(17)[:, None])
    return model.eval()
