"""Decoding: every mode and format that factories send, and every way in which a body can be bad."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from xingyue.errors import InvalidRequest, PayloadTooLarge, UnsupportedMedia
from xingyue_models.images import ImageLimits, decode, heatmap_overlay


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    return Image.fromarray(np.stack([x, x[:, ::-1], x * 0 + 90], -1).astype(np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_each_format_gives_the_same_picture(kind: str) -> None:
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"quality": 100}
    out = decode(encoded(gradient(), kind, **({} if kind in ("PNG", "BMP", "TIFF") else options)))
    assert out.rgb.shape == (24, 40, 3)
    assert (out.width, out.height) == (40, 24)
    assert out.rgb.dtype == np.uint8
    assert np.abs(out.rgb.astype(int) - np.asarray(gradient()).astype(int)).mean() < 6


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "PNG"),
        ("1", "PNG"),
        ("P", "PNG"),
        ("LA", "PNG"),
        ("RGBA", "PNG"),
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("LAB", "TIFF"),
        ("YCbCr", "TIFF"),
    ],
)
def test_each_mode_becomes_rgb(mode: str, kind: str) -> None:
    if mode == "LAB":
        image = Image.new("LAB", (40, 24), (128, 128, 128))
    else:
        image = gradient().convert(mode)
    assert decode(encoded(image, kind)).rgb.shape == (24, 40, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_scale(kind: str) -> None:
    values = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    out = decode(encoded(Image.fromarray(values), kind))
    assert out.rgb[..., 0].tolist() == [[0, 100], [200, 255]]


def test_float_grey_uses_its_own_range() -> None:
    values = np.array([[-1.0, 0.0], [1.0, 3.0]], np.float32)
    out = decode(encoded(Image.fromarray(values), "TIFF"))
    assert out.rgb[..., 0].tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparent_lies_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    data = encoded(clear if mode == "RGBA" else clear.convert("P"), "PNG")
    if mode == "RGBA":
        assert decode(data).rgb.min() == 255
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0] + [0] * 765)
    assert decode(encoded(palette, "PNG", transparency=0)).rgb.min() == 255


def test_exif_orientation_does_not_turn_the_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = decode(encoded(gradient(), "JPEG", exif=exif))
    assert (out.width, out.height, out.rgb.shape) == (40, 24, (24, 40, 3))


@pytest.mark.parametrize(
    ("size", "target", "expected"),
    [
        ((1600, 1200), 320, (400, 300)),
        ((1600, 1200), 801, (1600, 1200)),
        ((1600, 1200), None, (1600, 1200)),
        ((200, 100), 320, (200, 100)),
        ((4000, 20), 320, (500, 3)),
    ],
    ids=["quarter", "less-than-twice", "no-target", "small", "thin"],
)
def test_large_jpeg_is_shrunk_while_decoding(
    size: tuple[int, int], target: int | None, expected: tuple[int, int]
) -> None:
    out = decode(encoded(gradient(*size), "JPEG"), target_side=target)
    assert (out.width, out.height) == size
    assert (out.rgb.shape[1], out.rgb.shape[0]) == expected


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT"


PNG = encoded(gradient(), "PNG")
JPEG = encoded(gradient(), "JPEG")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", InvalidRequest),
        (b"not an image", UnsupportedMedia),
        (b"%PDF-1.7 something", UnsupportedMedia),
        (encoded(gradient(), "GIF"), UnsupportedMedia),
        (encoded(gradient(), "PPM"), UnsupportedMedia),
        (JPEG[:200], InvalidRequest),
        (JPEG[:-60], InvalidRequest),
        (PNG[: len(PNG) // 2], InvalidRequest),
        (encoded(gradient(), "TIFF")[:100], InvalidRequest),
        (encoded(gradient(), "WEBP")[:60], InvalidRequest),
        (encoded(gradient(), "BMP")[:90], InvalidRequest),
        (b"\x89PNG\r\n\x1a\n", InvalidRequest),
        (png_header(100_000, 100_000), PayloadTooLarge),
        (png_header(20_000, 3_000), PayloadTooLarge),
        (png_header(40_000, 1), PayloadTooLarge),
    ],
    ids=[
        "empty",
        "text",
        "pdf",
        "gif",
        "ppm",
        "jpeg-head",
        "jpeg-tail",
        "png-half",
        "tiff-cut",
        "webp-cut",
        "bmp-cut",
        "png-signature",
        "bomb",
        "too-many-pixels",
        "too-long",
    ],
)
def test_bad_bodies_are_refused_by_kind(data: bytes, kind: type[InvalidRequest]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(data)
    assert type(caught.value) is kind
    assert caught.value.param == "image"


def test_limits_are_checked_before_pixels_are_decoded() -> None:
    # A header alone: were pixels decoded first, this would be a truncated image.
    with pytest.raises(PayloadTooLarge, match="500x500"):
        decode(png_header(500, 500), limits=ImageLimits(pixels_max=100_000))
    with pytest.raises(PayloadTooLarge, match="bytes"):
        decode(PNG, limits=ImageLimits(bytes_max=10))


def test_every_cut_of_every_format_is_refused_or_decoded() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        data = encoded(gradient(), kind)
        for length in range(0, len(data), max(1, len(data) // 40)):
            try:
                decode(data[:length])
            except InvalidRequest:
                continue


def test_overlay_is_a_png_of_the_picture_coloured_where_hot() -> None:
    rgb = np.full((30, 50, 3), 80, np.uint8)
    heat = np.zeros((15, 25), np.float32)
    heat[:, 20:] = 1.0
    image = np.asarray(Image.open(io.BytesIO(heatmap_overlay(rgb, heat))))
    assert image.shape == (30, 50, 3)
    assert (image[:, :30] == 80).all()
    assert image[15, 48, 0] > 100
    assert image[15, 48, 2] < 60
