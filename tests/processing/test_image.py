import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from lirec.errors import LirecError
from lirec.processing.image import load_image, to_array, to_tensor


@pytest.fixture
def picture():
    """A smooth (24, 40, 3) picture with four distinct corners."""
    y, x = np.mgrid[0:24, 0:40]
    return np.stack([x * 6, y * 10, 255 - x * 3 - y * 3], -1).astype(np.uint8)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_path_bytes_pil_array_and_tensor_give_the_same(picture, tmp_path):
    pil = Image.fromarray(picture)
    pil.save(tmp_path / "a.png")
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    for source in [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        encode(pil),
        pil,
        picture,
        tensor,
        tensor[None],
        tensor / 255,
        (tensor / 255).to(torch.float64).requires_grad_(),
        picture / 255,
    ]:
        loaded = load_image(source)
        assert loaded.dtype == np.uint8
        np.testing.assert_array_equal(loaded, picture)


def test_result_does_not_share_memory(picture):
    before = picture.copy()
    load_image(picture)[:] = 0
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    load_image(tensor)[:] = 0
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(picture, orientation):
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](picture)))
    np.testing.assert_array_equal(load_image(encode(stored, exif=exif)), picture)


def test_transparency_is_laid_over_white(picture):
    alpha = np.zeros(picture.shape[:2], np.uint8)
    alpha[:, 20:] = 255
    alpha[:, 10:20] = 128
    rgba = np.concatenate([picture, alpha[..., None]], -1)
    weight = alpha[..., None] / 255
    expected = picture * weight + 255 * (1 - weight)
    pil = Image.fromarray(rgba)
    for source in [encode(pil), pil, rgba, torch.from_numpy(rgba).movedim(-1, 0)]:
        assert np.abs(load_image(source) - expected).max() <= 1


def test_palette_with_a_transparent_colour():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 0)
    loaded = load_image(encode(image, transparency=0))
    assert loaded[0, 0].tolist() == [255, 255, 255]
    assert loaded[1, 1].tolist() == [200, 100, 50]


def test_grey_one_bit_and_grey_with_alpha():
    ramp = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (8, 1))
    expected = ramp[..., None].repeat(3, -1)
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(ramp))), expected)
    np.testing.assert_array_equal(load_image(ramp), expected)
    np.testing.assert_array_equal(load_image(ramp[..., None]), expected)
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(ramp).convert("LA"))), expected)
    bits = load_image(encode(Image.fromarray(ramp > 100)))
    assert set(np.unique(bits)) == {0, 255}


def test_sixteen_bits():
    ramp = np.tile(np.linspace(0, 65535, 64).round().astype(np.uint16), (8, 1))
    expected = np.round(ramp / 257)[..., None].repeat(3, -1)
    for source in [encode(Image.fromarray(ramp)), encode(Image.fromarray(ramp), "TIFF"), ramp]:
        assert np.abs(load_image(source).astype(int) - expected).max() <= 1
    dark = np.full((4, 4), 1, np.uint16)
    assert load_image(encode(Image.fromarray(dark))).max() == 0


def test_float_tiff(picture):
    grey = picture[..., 0] / np.float32(255)
    for scale in (1, 255):
        loaded = load_image(encode(Image.fromarray((grey * scale).astype(np.float32)), "TIFF"))
        assert np.abs(loaded[..., 0].astype(int) - picture[..., 0]).max() <= 2


def test_cmyk(picture):
    loaded = load_image(encode(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=98))
    assert np.abs(loaded.astype(int) - picture).mean() < 12
    assert load_image(Image.new("CMYK", (4, 4), (0, 0, 0, 0))).min() == 255


def test_colour_profile_is_applied(picture):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    loaded = load_image(encode(Image.fromarray(picture), icc_profile=profile))
    assert np.abs(loaded.astype(int) - picture).max() <= 1
    broken = encode(Image.fromarray(picture), icc_profile=b"no profile")
    np.testing.assert_array_equal(load_image(broken), picture)


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert load_image(data)[0, 0].tolist() == [255, 0, 0]


def test_bad_sources_give_a_sentence(picture, tmp_path):
    jpeg = encode(Image.fromarray(picture).resize((400, 240)), "JPEG")
    png = encode(Image.fromarray(picture))
    (tmp_path / "text.jpg").write_text("this is no picture")
    cases = {
        "no picture at": tmp_path / "absent.jpg",
        "known picture format": tmp_path / "text.jpg",
        "damaged or cut short": jpeg[: len(jpeg) // 2],
        "format": b"",
        "not dict": {},
        "float picture lies in": picture.astype(np.float32),
        "not finite": np.full((4, 4), np.nan),
        "not int64": picture.astype(np.int64),
        r"shape \(H, W\)": np.zeros((4, 4, 7), np.uint8),
        r"shape \(3, H, W\)": torch.zeros(2, 3, 4, 4),
        "no pixels": np.zeros((0, 4, 3), np.uint8),
    }
    for message, source in cases.items():
        with pytest.raises(LirecError, match=message):
            load_image(source)
    with pytest.raises(LirecError, match="damaged or cut short"):
        load_image(png[: len(png) - 30])
    with pytest.raises(LirecError, match="damaged or cut short"):
        load_image(Image.open(io.BytesIO(jpeg[: len(jpeg) // 2])))
    with pytest.raises(LirecError, match="no picture at"):
        load_image(tmp_path)


def test_too_large_is_refused_before_decoding(picture):
    with pytest.raises(LirecError, match="at most 0 megapixels"):
        load_image(picture, max_pixels=100)
    # A file of a few bytes that claims 30000 x 30000 px.
    bomb = bytearray(encode(Image.fromarray(picture)))
    bomb[16:24] = (30000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(LirecError, match="too large"):
        load_image(bytes(bomb))


def test_tensor_and_array_round_trip(picture):
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 3, 24, 40) and tensor.dtype == torch.float32 and tensor.max() <= 1
    np.testing.assert_array_equal(to_array(tensor)[0], picture)
    assert to_tensor(np.stack([picture, picture])).shape == (2, 3, 24, 40)
