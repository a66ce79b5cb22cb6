"""Pictures from anywhere, read safely into plain sRGB arrays, and back."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from lirec.errors import LirecError

ImageSource = str | os.PathLike | bytes | Image.Image | np.ndarray | torch.Tensor

MAX_PIXELS = 64_000_000


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read one picture.

    Files are turned upright by their EXIF tag, brought from their colour profile to sRGB, laid over white
    where they are transparent, and reduced to 8 bits; of an animation the first frame is taken.

    Args:
        source: a path, the bytes of a file, a PIL image, an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4),
            or a tensor (C, H, W) or (1, C, H, W) with 1, 3 or 4 channels. Floats lie in [0, 1], integers span
            their type (uint8 or uint16).
        max_pixels: larger pictures are refused.

    Returns:
        (H, W, 3) uint8, sRGB. The array is the caller's own: changing it does not change `source`.

    Raises:
        LirecError: nothing is there, it is no picture, damaged, too large, or of an unknown shape or type.
    """
    if isinstance(source, torch.Tensor):
        return _from_array(_channels_last(source), max_pixels)
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _from_pil(source, "The picture", max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(source), "The picture", max_pixels)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            raise LirecError(f"There is no picture at {path}: check the path.")
        return _from_file(path, str(path), max_pixels)
    kind = type(source).__name__
    raise LirecError(f"A picture is a path, bytes, a PIL image, a numpy array or a torch tensor, not {kind}.")


def shrink(image: np.ndarray, longest: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 brought down to `longest` px along its longer edge, or as it is if not above."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def to_tensor(image: np.ndarray, device: str | torch.device = "cpu") -> torch.Tensor:
    """(H, W, 3) or (B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [0, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    if tensor.ndim == 3:
        tensor = tensor[None]
    return tensor.permute(0, 3, 1, 2).contiguous().float().div_(255)


def to_array(image: torch.Tensor) -> np.ndarray:
    """(3, H, W) or (B, 3, H, W) float in [0, 1] -> (H, W, 3) or (B, H, W, 3) uint8, rounded."""
    image = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return image.movedim(-3, -1).contiguous().cpu().numpy()


def _from_file(file: Path | io.BytesIO, name: str, max_pixels: int) -> np.ndarray:
    with _damage(name, max_pixels), Image.open(file) as image:
        return _decoded(image, name, max_pixels)


def _from_pil(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    with _damage(name, max_pixels):  # what was opened from a file is decoded only now
        return _decoded(image, name, max_pixels)


@contextmanager
def _damage(name: str, max_pixels: int) -> Iterator[None]:
    """Whatever Pillow finds wrong with a picture, in one sentence."""
    try:
        with warnings.catch_warnings():
            # Pillow warns at a limit of its own; ours is checked before any pixel is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except LirecError:
        raise
    except UnidentifiedImageError as error:
        raise LirecError(f"{name} is in no known picture format: give a JPEG, PNG or WebP.") from error
    except Image.DecompressionBombError as error:
        raise LirecError(_too_large(name, max_pixels)) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow reports damage by any of these, by format.
        raise LirecError(f"{name} is damaged or cut short: save or download it again.") from error


def _decoded(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    _check_size(image.width, image.height, name, max_pixels)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        limits = (1.0, 255.0) if image.mode == "F" else ()
        return _from_array(_deep_to_unit(np.asarray(image), (*limits, 65535.0)), max_pixels)
    image = _to_srgb(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Apply the picture's colour profile, where it has one that can be applied."""
    profile = image.info.get("icc_profile")
    if profile and image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken profile: its colours are taken as they are


def _deep_to_unit(values: np.ndarray, limits: tuple[float, ...]) -> np.ndarray:
    """Grey values of PIL's 16-bit, 32-bit and float modes -> float in [0, 1].

    PIL keeps no bit depth for these modes, so the smallest of `limits` that holds the values is taken for it.
    """
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise LirecError("The picture holds values that are not finite numbers: replace them first.")
    peak = float(values.max(initial=0.0))
    limit = next((limit for limit in limits if peak <= limit), peak)
    return (values / limit).clip(0, 1)


def _channels_last(tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        shape = tuple(tensor.shape)
        raise LirecError(f"A picture tensor has the shape (3, H, W) or (1, 3, H, W), not {shape}.")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.movedim(0, -1).numpy()


def _from_array(array: np.ndarray, max_pixels: int) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise LirecError(f"A picture array has the shape (H, W) or (H, W, 3), not {array.shape}.")
    _check_size(array.shape[1], array.shape[0], "The picture", max_pixels)
    if array.dtype == np.uint8:
        values = array
    elif array.dtype == np.uint16:
        values = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype == bool:
        values = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise LirecError("The picture holds values that are not finite numbers: replace them first.")
        # A resampling filter may overshoot a little; values far outside mean another scale.
        if array.min() < -1 or array.max() > 2:
            reach = f"{array.min():.3g} to {array.max():.3g}"
            raise LirecError(f"A float picture lies in [0, 1], this one goes from {reach}: scale it.")
        values = np.round(array.clip(0, 1) * 255).astype(np.uint8)
    else:
        raise LirecError(f"A picture array holds uint8, uint16 or floats in [0, 1], not {array.dtype}.")
    if values.shape[2] == 4:
        alpha = values[..., 3:].astype(np.uint16)
        values = ((values[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    elif values.shape[2] == 1:
        values = values.repeat(3, axis=2)
    return values.copy() if values is array or values.base is not None else values


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width == 0 or height == 0:
        raise LirecError(f"{name} is empty: it has no pixels.")
    if width * height > max_pixels:
        raise LirecError(_too_large(name, max_pixels))


def _too_large(name: str, max_pixels: int) -> str:
    return f"{name} is too large: scale it down to at most {max_pixels / 1e6:.0f} megapixels."
