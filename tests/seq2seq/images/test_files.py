"""Images of every kind become tensors; what is no image is an error that names the file."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from seq2seq.errors import UsageError
from seq2seq.images.files import (
    MAX_PIXELS,
    MEAN,
    STD,
    ImageError,
    read_image,
    read_images,
    to_float,
)

RED, GREEN, BLUE = (220, 20, 30), (10, 180, 40), (20, 30, 210)


def halves(width=40, height=20, left=RED, right=BLUE):
    image = Image.new("RGB", (width, height), left)
    image.paste(right, (width // 2, 0, width, height))
    return image


def corner(pixels, row, column):
    return tuple(pixels[:, row, column].tolist())


def close(found, wanted, by=6):
    return all(abs(one - other) <= by for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "ppm", "gif"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    halves().save(path, **({"quality": 95} if suffix in ("jpg", "webp") else {}))
    pixels = read_image(path, 8)
    assert pixels.shape == (3, 8, 8) and pixels.dtype == torch.uint8
    assert close(corner(pixels, 4, 0), RED, 12) and close(corner(pixels, 4, 7), BLUE, 12)


def test_the_whole_image_is_squeezed_into_the_square(tmp_path):
    image = Image.new("RGB", (90, 10), RED)
    image.paste(GREEN, (60, 0, 90, 10))  # a centre crop would lose it
    assert close(corner(read_image(image, 9), 4, 8), GREEN)


def test_a_large_jpeg_is_close_to_its_exact_decoding(tmp_path):
    smooth = torch.linspace(0, 255, 640).repeat(480, 1).byte().numpy()
    Image.fromarray(smooth).convert("RGB").save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        exact = np.array(image.resize((32, 32), Image.Resampling.BICUBIC))
    found = read_image(tmp_path / "a.jpg", 32).permute(1, 2, 0).numpy()
    assert np.abs(found.astype(int) - exact.astype(int)).max() <= 4


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_thin_images(size):
    pixels = read_image(Image.new("RGB", size, GREEN), 16)
    assert (pixels == torch.tensor(GREEN)[:, None, None]).all()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_greyscale(tmp_path, suffix):
    Image.new("L", (9, 9), 77).save(tmp_path / f"a.{suffix}")
    assert close(corner(read_image(tmp_path / f"a.{suffix}", 4), 0, 0), (77, 77, 77), 1)


def test_black_and_white(tmp_path):
    Image.new("1", (9, 9), 1).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", 4) == 255).all()


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits(tmp_path, suffix):
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / f"a.{suffix}")
    assert (read_image(tmp_path / f"a.{suffix}", 4) == 40_000 * 255 // 65535).all()


def test_pixels_without_a_range_are_refused():
    with pytest.raises(ImageError, match="floating-point"):
        read_image(Image.new("F", (4, 4)), 4)
    with pytest.raises(ImageError, match="16 bits"):
        read_image(Image.new("I", (4, 4), 70_000), 4)


def test_transparency_lies_on_white(tmp_path):
    image = Image.new("RGBA", (8, 8), (*RED, 255))
    image.paste((0, 0, 0, 0), (4, 0, 8, 8))
    image.save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png", 8)
    assert corner(pixels, 0, 0) == RED and corner(pixels, 0, 7) == (255, 255, 255)
    assert corner(read_image(Image.new("LA", (4, 4), (0, 0)), 4), 0, 0) == (255, 255, 255)


def test_palette_with_and_without_transparency(tmp_path):
    image = halves(8, 8).quantize(4)
    image.save(tmp_path / "plain.png")
    assert close(corner(read_image(tmp_path / "plain.png", 8), 0, 7), BLUE)
    image.save(tmp_path / "clear.png", transparency=image.getpixel((0, 0)))
    pixels = read_image(tmp_path / "clear.png", 8)
    assert corner(pixels, 0, 0) == (255, 255, 255) and close(corner(pixels, 0, 7), BLUE)


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert close(corner(read_image(tmp_path / "a.jpg", 4), 0, 0), (255, 0, 0), 8)


# What each orientation does to an image whose upper left corner is white, the rest black.
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
@pytest.mark.parametrize(
    ("orientation", "row", "column"),
    [(1, 0, 0), (2, 0, 1), (3, 1, 1), (4, 1, 0), (5, 0, 0), (6, 0, 1), (7, 1, 1), (8, 1, 0)],
)
def test_exif_orientation(tmp_path, suffix, orientation, row, column):
    image = Image.new("RGB", (64, 32))
    image.paste((255, 255, 255), (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    pixels = read_image(tmp_path / f"a.{suffix}", 2).float().mean(0)  # (2, 2)
    bright = pixels.flatten().argmax().item()
    assert (bright // 2, bright % 2) == (row, column)


def test_the_tall_side_of_a_turned_image_is_scaled_as_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right: the left half comes up
    halves(64, 16).save(tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = read_image(tmp_path / "a.jpg", 8)
    assert close(corner(pixels, 0, 4), RED, 12) and close(corner(pixels, 7, 4), BLUE, 12)


def test_an_opened_image_stays_as_it_is(tmp_path):
    halves(400, 200).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        read_image(image, 8)
        assert image.size == (400, 200)


def test_not_an_image(tmp_path):
    (tmp_path / "a.jpg").write_text("not an image")
    with pytest.raises(ImageError, match=r"a\.jpg: not an image"):
        read_image(tmp_path / "a.jpg", 4)


def test_postscript_starts_no_interpreter(tmp_path):
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(ImageError, match="not an image"):
        read_image(tmp_path / "a.eps", 4)


def test_empty_missing_and_folder(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(ImageError, match=r"a\.png: the file is empty"):
        read_image(tmp_path / "a.png", 4)
    with pytest.raises(ImageError, match=r"b\.png: cannot be read \(No such file"):
        read_image(tmp_path / "b.png", 4)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path, 4)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "gif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    memory = io.BytesIO()
    Image.fromarray(noise).save(memory, {"jpg": "jpeg"}.get(suffix, suffix))
    whole = memory.getvalue()
    (tmp_path / f"a.{suffix}").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ImageError, match=rf"a\.{suffix}: "):
        read_image(tmp_path / f"a.{suffix}", 16)


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [header, data, b"IEND"]
    packed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [9_000, 10_000, 20_000, 100_000])
def test_too_many_pixels_are_refused_by_the_header(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with pytest.raises(ImageError, match=rf"bomb\.png: .*{MAX_PIXELS:,}"):
        read_image(tmp_path / "bomb.png", 16)


def test_an_opened_image_may_be_too_large():
    with pytest.raises(ImageError, match="10,000 x 9,000"):
        read_image(Image.new("1", (10_000, 9_000)), 16)


def test_one_bad_image_does_not_lose_the_others(tmp_path):
    halves().save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing of worth")
    found = read_images([tmp_path / "a.png", tmp_path / "b.png", halves()], 8)
    assert isinstance(found[1], ImageError) and "b.png" in str(found[1])
    assert torch.equal(found[0], found[2])


def test_size_below_one():
    with pytest.raises(UsageError, match="image size is 0"):
        read_image(halves(), 0)


def test_to_float():
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    wanted = images.double() / 255
    for c in range(3):
        wanted[:, c] = (wanted[:, c] - MEAN[c]) / STD[c]
    found = to_float(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, atol=1e-6, rtol=0)
