"""Decoding of images for every vision family: bytes in, RGB uint8 ``(H, W, 3)`` out.

Guarantees
- Only JPEG, PNG, WebP, BMP and TIFF; the format comes from the bytes, never from a file name.
- The size is read from the header and checked before any pixel is decoded.
- EXIF orientation is ignored on purpose: boxes are in pixels of the image as sent.
- Grey of 16 bit is scaled to 8, palettes and CMYK are converted, transparency lies on white.

Errors: ``UnsupportedMedia`` (not one of the formats), ``PayloadTooLarge`` (bytes or pixels),
``InvalidRequest`` (empty, truncated, broken). Does not know trunks, heads or HTTP.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from xingyue.errors import InvalidRequest, PayloadTooLarge, UnsupportedMedia

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_TAKES = "send JPEG, PNG, WebP, BMP or TIFF"
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, TypeError)
"""What Pillow raises on damaged files, by format."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    bytes_max: int = 32 * 2**20
    pixels_max: int = 50_000_000
    side_max: int = 30_000


@dataclass(frozen=True, slots=True)
class Decoded:
    """``rgb`` uint8 ``(h, w, 3)``; ``width`` and ``height`` are those of the image as sent.

    ``rgb`` is smaller than that only if a target was given and the JPEG decoder could shrink.
    """

    rgb: NDArray[np.uint8]
    width: int
    height: int


def decode(
    data: bytes,
    *,
    limits: ImageLimits | None = None,
    target_side: int | None = None,
    param: str = "image",
) -> Decoded:
    """Decode one image.

    ``target_side``: the caller needs no more than this many pixels on the longer side; a JPEG at
    least twice as large is then decoded at a half, quarter or eighth, never below the target.
    """
    limits = limits or ImageLimits()
    if not data:
        raise InvalidRequest(f"the image is empty; {_TAKES}", param=param)
    if len(data) > limits.bytes_max:
        raise PayloadTooLarge(
            f"the image has {len(data)} bytes, at most {limits.bytes_max} are taken", param=param
        )
    with warnings.catch_warnings():
        # Our own limit below refuses bombs; Pillow's warning would only repeat it.
        warnings.simplefilter("ignore")
        image = _open(data, limits, param)
        width, height = image.size
        _check_size(width, height, limits, param)
        try:
            if target_side is not None and image.format == "JPEG":
                _draft(image, target_side)
            image.load()
            rgb = _to_rgb(image)
        except _BROKEN as error:
            raise InvalidRequest(
                f"the image is truncated or broken and cannot be decoded; {_TAKES}", param=param
            ) from error
    return Decoded(rgb, width, height)


def heatmap_overlay(rgb: NDArray[np.uint8], heat: NDArray[np.float32]) -> bytes:
    """PNG of ``rgb`` ``(H, W, 3)`` under ``heat`` ``(h, w)`` in [0, 1], hot parts most opaque."""
    height, width = rgb.shape[:2]
    if heat.shape != (height, width):
        heat = np.asarray(cv2.resize(heat, (width, height)), np.float32)
    level = np.clip(heat, 0.0, 1.0)
    colours = cv2.applyColorMap((level * 255).round().astype(np.uint8), cv2.COLORMAP_JET)
    opacity = (0.65 * np.clip(level * 1.5, 0, 1))[..., None]
    mixed = rgb * (1 - opacity) + colours[..., ::-1] * opacity
    buffer = io.BytesIO()
    Image.fromarray(mixed.round().astype(np.uint8)).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def _open(data: bytes, limits: ImageLimits, param: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise PayloadTooLarge(
            f"the image's header claims far more than {limits.pixels_max} pixels, the most that "
            "are taken",
            param=param,
        ) from error
    except UnidentifiedImageError as error:
        if data.startswith(_STARTS):
            raise InvalidRequest(
                f"the image is cut off or broken in its header; {_TAKES}", param=param
            ) from error
        raise UnsupportedMedia(
            f"the body is not an image that is known; {_TAKES}", param=param
        ) from error
    except _BROKEN as error:
        raise InvalidRequest(
            f"the image's header is broken and cannot be read; {_TAKES}", param=param
        ) from error


def _check_size(width: int, height: int, limits: ImageLimits, param: str) -> None:
    if width < 1 or height < 1:
        raise InvalidRequest(f"the image has no pixels ({width}x{height})", param=param)
    if width * height > limits.pixels_max or max(width, height) > limits.side_max:
        raise PayloadTooLarge(
            f"the image has {width}x{height} pixels; at most {limits.pixels_max} pixels and "
            f"{limits.side_max} on a side are taken",
            param=param,
        )


def _draft(image: Image.Image, target_side: int) -> None:
    """Let the JPEG decoder shrink, by the largest power of two that keeps the target."""
    width, height = image.size
    factor = max(width, height) // max(target_side, 1)
    if factor >= 2:
        image.draft(None, (max(1, width // factor), max(1, height // factor)))


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        grey = _grey8(np.asarray(image), mode)
        return np.repeat(grey[..., None], 3, axis=-1)
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, rgba).convert("RGB"), np.uint8)
    return np.array(image.convert("RGB"), np.uint8)


def _grey8(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """16-bit and wider grey to 8 bit: by 257 when it fits 16 bit, else by its own range."""
    wide = np.nan_to_num(values.astype(np.float64))
    low, high = float(wide.min()), float(wide.max())
    if mode.startswith("I") and low >= 0 and high <= 65535:
        scaled = wide / 257 if high > 255 or mode.startswith("I;16") else wide
    else:
        scaled = (wide - low) * (255 / (high - low)) if high > low else wide * 0
    return np.clip(scaled.round(), 0, 255).astype(np.uint8)
