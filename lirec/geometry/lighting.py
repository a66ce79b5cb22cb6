"""Light as nine spherical harmonics a channel, and the sRGB curve. See `lirec.geometry` for the order."""

import math

import torch

# Y00; Y1-1, Y10, Y11; Y2-2, Y2-1, Y20, Y21, Y22.
# Those that change sign when x does: of a mirrored picture.
ODD_IN_X = (3, 4, 7)
C0, C1, C2, C20, C22 = 0.282095, 0.488603, 1.092548, 0.315392, 0.546274


def spherical_harmonics(normals: torch.Tensor) -> torch.Tensor:
    """The nine real spherical harmonics of three bands.

    Args:
        normals: (..., 3) unit vectors.

    Returns:
        (..., 9) values.
    """
    x, y, z = normals.unbind(-1)
    return torch.stack(
        (
            torch.full_like(x, C0),
            C1 * y,
            C1 * z,
            C1 * x,
            C2 * x * y,
            C2 * y * z,
            C20 * (3 * z * z - 1),
            C2 * x * z,
            C22 * (x * x - y * y),
        ),
        -1,
    )


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def shade(normals: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
    """The light that falls on surfaces, as a factor of their albedo; below zero where the light's sum is.

    Args:
        normals: (B, ..., 3) unit vectors in the camera frame.
        light: (B, 9, 3) coefficients of irradiance/π, linear RGB.

    Returns:
        (B, ..., 3) linear RGB.
    """
    if light.shape[-2:] != (9, 3):
        raise ValueError(f"light must be (B, 9, 3), but has shape {tuple(light.shape)}.")
    basis = spherical_harmonics(normals)
    return (basis.flatten(1, -2) @ light).reshape(normals.shape)


def directional_light(direction: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """A distant lamp: the three-band fit of `colour * max(0, direction · normal)`.

    Args:
        direction: (..., 3) unit vectors from the surface towards the lamp, in the camera frame.
        colour: (..., 3) linear RGB that a white surface facing the lamp has.

    Returns:
        (..., 9, 3) light; the sum of several lights is their light together.
    """
    bands = direction.new_tensor([math.pi] + [2 * math.pi / 3] * 3 + [math.pi / 4] * 5)
    return (bands * spherical_harmonics(direction))[..., None] * colour[..., None, :]


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def fit_light(
    albedo: torch.Tensor, normals: torch.Tensor, image: torch.Tensor, mask: torch.Tensor, ridge: float = 1e-3
) -> torch.Tensor:
    """The light under which a surface of known albedo looks like a picture, by ridge regression.

    Args:
        albedo: (B, 3, H, W) linear RGB.
        normals: (B, 3, H, W) unit vectors in the camera frame.
        image: (B, 3, H, W) linear RGB.
        mask: (B, 1, H, W) weights of the pixels, 0 where there is no surface.
        ridge: strength of the pull towards no light, relative to the picture's mean squared albedo.

    Returns:
        (B, 9, 3) light; zeros where the mask is empty.
    """
    basis = spherical_harmonics(normals.movedim(1, -1)).flatten(1, 2)  # (B, N, 9)
    weight = mask.flatten(2).clamp_min(0)  # (B, 1, N)
    design = albedo.flatten(2)[..., None] * basis[:, None]  # (B, 3, N, 9)
    weighted = (design * weight[..., None]).transpose(-1, -2)  # (B, 3, 9, N)
    squares = weighted @ design
    target = weighted @ image.flatten(2)[..., None]
    energy = squares.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    eye = torch.eye(9, dtype=squares.dtype, device=squares.device)
    system = squares + (ridge * energy + torch.finfo(squares.dtype).tiny ** 0.5) * eye
    return torch.linalg.solve(system, target)[..., 0].transpose(-1, -2)


def srgb_to_linear(image: torch.Tensor) -> torch.Tensor:
    """Undo the sRGB curve. Any shape; values in [0, 1]; those below 0 follow the curve's straight foot."""
    # The clamp keeps the power's gradient finite where `where` does not take it.
    curved = ((image.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(image <= 0.04045, image / 12.92, curved)


def linear_to_srgb(image: torch.Tensor) -> torch.Tensor:
    """The sRGB curve. Any shape; values in [0, 1]; those below 0 follow the curve's straight foot."""
    curved = 1.055 * image.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(image <= 0.0031308, image * 12.92, curved)
