"""Images as callers have them, and as the platform takes them."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from pathlib import Path

from xingyue_client.errors import InvalidArgument
from xingyue_client.request import File, as_json, multipart

Image = bytes | str | Path
"""The image itself, the path of a file, or ``s3://<own bucket>/<key>``."""

_S3 = "s3://"
_MAGIC: tuple[tuple[bytes, int, str], ...] = (
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"WEBP", 8, "image/webp"),
    (b"BM", 0, "image/bmp"),
    (b"II*\x00", 0, "image/tiff"),
    (b"MM\x00*", 0, "image/tiff"),
)


@dataclass(frozen=True, slots=True)
class Sent:
    body: bytes
    content_type: str


def sent(images: list[Image], template: Image | None) -> Sent:
    """One image goes as it is where its kind shows, several and those with a template as parts.
    ``InvalidArgument`` for a file that is not there, and for images of a bucket beside others."""
    if not images:
        raise InvalidArgument("give at least one image", param="image")
    if any(_in_bucket(image) for image in images):
        return _of_bucket(images, template)
    if len(images) == 1 and template is None:
        data = loaded(images[0], "image")
        if kind := media_type(data):
            return Sent(data, kind)
    parts = [_part("image", image) for image in images]
    if template is not None:
        parts.append(_part("template", template))
    return Sent(*multipart(parts))


def loaded(given: bytes | str | Path, field: str) -> bytes:
    if isinstance(given, bytes):
        return given
    path = Path(given)
    if not path.is_file():
        raise InvalidArgument(f"there is no file {path}", param=field)
    return path.read_bytes()


def media_type(data: bytes) -> str | None:
    """By the first bytes; None for what is no image that the platform takes."""
    for magic, at, kind in _MAGIC:
        if data[at : at + len(magic)] == magic:
            return kind
    return None


def file_part(field: str, given: str | Path | tuple[str, bytes]) -> File:
    """A path, or name and content, as a part of a multipart body."""
    if isinstance(given, tuple):
        name, data = given
    else:
        name, data = Path(given).name, loaded(given, field)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return field, (name, data, kind)


def _part(field: str, given: Image) -> File:
    if not isinstance(given, bytes):
        return file_part(field, given)
    kind = media_type(given) or "application/octet-stream"
    return field, (field, given, kind)


def _in_bucket(image: Image) -> bool:
    return isinstance(image, str) and image.startswith(_S3)


def _of_bucket(images: list[Image], template: Image | None) -> Sent:
    if len(images) > 1 or template is not None:
        raise InvalidArgument(
            "an image of your bucket goes alone, without others and without a template",
            param="image",
        )
    location = str(images[0]).removeprefix(_S3)
    return Sent(as_json({"image": {"s3": location}}), "application/json")
