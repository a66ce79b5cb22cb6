"""The pinhole camera. See `lirec.geometry` for the axes."""

import torch

NEAREST, FARTHEST = 0.4, 4.0  # metres from cameras to faces: all that are trained on, and that networks tell


def intrinsics(focal: torch.Tensor, principal: torch.Tensor) -> torch.Tensor:
    """The matrix K of a camera with square pixels.

    Args:
        focal: (B,) focal length in pixels.
        principal: (B, 2) or (2,) principal point x, y in pixels.

    Returns:
        (B, 3, 3) matrices.
    """
    if focal.ndim != 1:
        raise ValueError(f"focal must be (B,), but has shape {tuple(focal.shape)}.")
    matrix = focal.new_zeros(len(focal), 3, 3)
    matrix[:, 0, 0] = focal
    matrix[:, 1, 1] = focal
    matrix[:, :2, 2] = principal
    matrix[:, 2, 2] = 1
    return matrix


# Half precision, which autocast would choose for the products, is off by pixels.
@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def project(
    points: torch.Tensor, rotation: torch.Tensor, translation: torch.Tensor, K: torch.Tensor
) -> torch.Tensor:
    """Project points of the face frame into the picture.

    Depths nearer than 1 µm, or behind the camera, are kept as they are in the result, but x and y are divided
    by 1 µm: such points are not in the picture and `rasterize` skips their triangles.

    Args:
        points: (B, N, 3) in metres.
        rotation: (B, 3, 3) from the face frame to the camera frame.
        translation: (B, 3) in metres.
        K: (B, 3, 3) intrinsics in pixels.

    Returns:
        (B, N, 3) x px, y px, and depth: the camera frame's z in metres.
    """
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points must be (B, N, 3), but have shape {tuple(points.shape)}.")
    camera = points @ rotation.transpose(-1, -2) + translation[:, None]
    depth = camera[..., 2:]
    pixels = camera / depth.clamp_min(1e-6) @ K[:, :2].transpose(-1, -2)
    return torch.cat((pixels, depth), -1)
