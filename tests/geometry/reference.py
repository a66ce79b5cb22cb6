"""Plain rasterizer: every triangle against every pixel, in float64."""

import torch

from lirec.geometry import Fragments


def rasterize(projected: torch.Tensor, triangles: torch.Tensor, height: int, width: int, cull: bool = False):
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    results = [_one(points.double(), triangles, x.double(), y.double(), cull) for points in projected]
    return Fragments(*(torch.stack(part) for part in zip(*results, strict=True)))


def _one(points, triangles, x, y, cull):
    triangle = torch.full(x.shape, -1)
    barycentric = torch.zeros(*x.shape, 3, dtype=torch.float64)
    depth = torch.full(x.shape, torch.inf, dtype=torch.float64)
    for f, (a, b, c) in enumerate(points[triangles]):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if min(a[2], b[2], c[2]) <= 1e-6 or area == 0 or (cull and area > 0):
            continue
        weights = (
            torch.stack(
                [
                    (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])
                    for p, q in ((b, c), (c, a), (a, b))
                ],
                -1,
            )
            / area
        )
        inverse = weights / torch.stack((a[2], b[2], c[2]))
        z = 1 / inverse.sum(-1)
        nearer = (weights >= 0).all(-1) & (z < depth)
        triangle[nearer] = f
        barycentric[nearer] = (inverse * z[..., None])[nearer]
        depth[nearer] = z[nearer]
    return triangle, barycentric, depth
