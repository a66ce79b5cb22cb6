"""Rotations: Euler angles, matrices and the angle between two of them. See `lirec.geometry` for the axes."""

import torch


def euler_to_matrix(angles: torch.Tensor) -> torch.Tensor:
    """The camera rotation of a head turned by Euler angles.

    Args:
        angles: (..., 3) pitch, yaw, roll in radians.

    Returns:
        (..., 3, 3) rotation from the face frame to the camera frame, `diag(1, -1, -1) @ Rz @ Rx @ Ry`.
    """
    if angles.shape[-1] != 3:
        raise ValueError(f"angles must end in 3 (pitch, yaw, roll), but have shape {tuple(angles.shape)}.")
    sine, cosine = torch.sin(angles), torch.cos(angles)
    sx, sy, sz = sine.unbind(-1)
    cx, cy, cz = cosine.unbind(-1)
    # The last two rows carry the minus signs of the flip from y up, z out to y down, z away.
    rows = (
        cz * cy - sz * sx * sy, -sz * cx, cz * sy + sz * sx * cy,
        -(sz * cy + cz * sx * sy), -cz * cx, -(sz * sy - cz * sx * cy),
        cx * sy, -sx, -cx * cy,
    )  # fmt: skip
    return torch.stack(rows, -1).reshape(*angles.shape[:-1], 3, 3)


def matrix_to_euler(matrix: torch.Tensor) -> torch.Tensor:
    """The inverse of `euler_to_matrix`.

    Where pitch is ±90° yaw and roll turn about the same axis; then roll is given as 0.

    Args:
        matrix: (..., 3, 3) camera rotations.

    Returns:
        (..., 3) pitch in [-π/2, π/2], yaw and roll in [-π, π].
    """
    _check_matrix(matrix)
    (e00, e01, e02), (_, e11, _), (e20, e21, e22) = (
        (sign * matrix[..., row, :]).unbind(-1) for row, sign in enumerate((1, -1, -1))
    )
    cosine = torch.sqrt((e20.square() + e22.square()).clamp_min(torch.finfo(matrix.dtype).tiny))
    pitch = torch.atan2(e21, cosine)
    locked = cosine < 8 * torch.finfo(matrix.dtype).eps
    yaw = torch.where(locked, torch.atan2(e02, e00), torch.atan2(-e20, e22))
    roll = torch.where(locked, torch.zeros_like(yaw), torch.atan2(-e01, e11))
    return torch.stack((pitch, yaw, roll), -1)


def rotation_angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The angle in [0, π] of the rotation that leads from one rotation to another.

    Args:
        a, b: (..., 3, 3) rotation matrices, broadcast against each other.

    Returns:
        (...) angles in radians; exact for small angles too, where the arc cosine of the trace is not.
    """
    _check_matrix(a)
    _check_matrix(b)
    relative = a.transpose(-1, -2) @ b
    axis = torch.stack(
        (
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ),
        -1,
    )
    trace = relative.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2(torch.linalg.vector_norm(axis, dim=-1), trace - 1)


def _check_matrix(matrix: torch.Tensor) -> None:
    if matrix.shape[-2:] != (3, 3):
        raise ValueError(f"A rotation must end in (3, 3), but has shape {tuple(matrix.shape)}.")
