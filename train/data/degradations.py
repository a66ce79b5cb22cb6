"""What cameras and networks do to pictures: contrast, blur, low resolution, noise, compression. Batched."""

import math

import torch
import torch.nn.functional as F

from train.data.skins import Dice, column


def _dct_matrix(device) -> torch.Tensor:
    k = torch.arange(8, device=device)
    matrix = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


LUMINANCE_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)  # ITU T.81, table K.1


def jpeg(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """JPEG's loss on (B, 3, H, W) in [0, 1] at qualities (B,) in 1..100; chroma is quantised three times coarser."""
    height, width = images.shape[2:]
    padded = F.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
    red, green, blue = padded.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = torch.stack((luma, (blue - luma) * 0.564, (red - luma) * 0.713), 1)
    blocks = planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).permute(0, 1, 2, 4, 3, 5) * 255
    dct = _dct_matrix(images.device)
    table = torch.tensor(LUMINANCE_TABLE, dtype=torch.float32, device=images.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    steps = (table * scale[:, None, None]).clamp_min(1.0)[:, None] * table.new_tensor([1, 3, 3])[
        :, None, None
    ]
    steps = steps[:, :, None, None]
    coefficients = ((dct @ blocks @ dct.T) / steps).round() * steps
    planes = (dct.T @ coefficients @ dct / 255).permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)
    luma, u, v = planes[:, :, :height, :width].unbind(1)
    blue, red = luma + u / 0.564, luma + v / 0.713
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return torch.stack((red, green, blue), 1).clamp(0, 1)


def _blur(
    images: torch.Tensor, sigma: torch.Tensor, angle: torch.Tensor, stretch: torch.Tensor
) -> torch.Tensor:
    """Gaussian of its own width, direction and length for each picture: out of focus, or moved."""
    radius = 4
    grid = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    along = x * angle.cos()[:, None, None] + y * angle.sin()[:, None, None]
    across = y * angle.cos()[:, None, None] - x * angle.sin()[:, None, None]
    sigma = sigma[:, None, None]
    kernel = torch.exp(-0.5 * ((along / (sigma * stretch[:, None, None])) ** 2 + (across / sigma) ** 2))
    kernel = (kernel / kernel.sum((1, 2), keepdim=True))[:, None].repeat_interleave(3, 0)
    count, _, height, width = images.shape
    flat = F.pad(images, (radius,) * 4, mode="replicate").reshape(
        1, count * 3, height + 2 * radius, width + 2 * radius
    )
    return F.conv2d(flat, kernel, groups=count * 3).reshape(images.shape)


def degrade(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random losses of quality on sRGB pictures (B, 3, H, W) in [0, 1]; about one in six stays as it is."""
    if len(images) == 0:
        return images
    dice = Dice(len(images), generator)
    worse = 1 - dice.chance(0.15)

    def some(probability):
        return dice.chance(probability) * worse

    grey = images.mean(1, keepdim=True)
    saturation = 1 + some(0.6) * dice.uniform(-0.9, 0.5)
    saturation = torch.where(some(0.08) > 0, torch.zeros_like(saturation), saturation)
    result = grey + (images - grey) * column(saturation)
    contrast = 1 + some(0.7) * dice.uniform(-0.35, 0.35)
    result = (result - 0.5) * column(contrast) + 0.5 + column(some(0.6) * dice.normal(0, 0.05))
    gamma = torch.exp(some(0.5) * dice.normal(0, 0.22))
    result = result.clamp(1e-4, 1) ** column(gamma)

    # blurring everything costs most of the time, so only those that were drawn for it are touched
    chosen = torch.nonzero(some(0.45)).flatten()
    if len(chosen):
        moved = dice.chance(0.3)[chosen]
        result[chosen] = _blur(
            result[chosen], dice.uniform(0.4, 1.8)[chosen], dice.uniform(0, math.pi)[chosen],
            1 + moved * dice.uniform(1, 3)[chosen],
        )  # fmt: skip
    size = images.shape[-1]
    chosen = torch.nonzero(some(0.5)).flatten()
    if len(chosen):  # three resolutions a batch keep it batched
        for part in chosen.chunk(3):
            share = math.exp(
                math.log(0.25) * torch.rand((), generator=generator, device=images.device).item()
            )
            small = max(24, round(size * share))
            shrunk = F.interpolate(
                result[part], (small, small), mode="bilinear", antialias=True, align_corners=False
            )
            shrunk = jpeg(shrunk, dice.uniform(25, 95)[part])
            result[part] = F.interpolate(shrunk, (size, size), mode="bilinear", align_corners=False)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    result = (result + noise * column(some(0.6) * dice.uniform(0, 0.035))).clamp(0, 1)
    chosen = torch.nonzero(some(0.4)).flatten()
    if len(chosen):
        result[chosen] = jpeg(result[chosen], dice.uniform(20, 90)[chosen])
    return result.clamp(0, 1)
