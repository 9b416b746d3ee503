"""Reading what a caller sent: raw images, multipart, JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from xingyue.errors import InvalidRequest, NotFound, UnsupportedMedia
from xingyue.gateway.services import services_of
from xingyue.storage.identities import tenant_bucket
from xingyue.tenants.tenant import Principal

IMAGE_TYPES = frozenset(
    {"image/jpeg", "image/jpg", "image/png", "image/webp", "image/bmp", "image/tiff"}
)
IMAGES_MAX = 64
_REMEDY = (
    "send the image itself with its content type (image/jpeg, image/png, image/webp, image/bmp, "
    "image/tiff), or multipart/form-data with files, or JSON with an image in your bucket"
)


@dataclass(frozen=True, slots=True)
class Images:
    """``templates``: none, one for all images, or one for each. ``many``: several files were sent,
    so the answer is a list. ``all_or_none``: one image's error is the whole call's."""

    images: tuple[bytes, ...]
    templates: tuple[bytes, ...]
    many: bool
    all_or_none: bool = False

    def template_of(self, index: int) -> bytes | None:
        if len(self.templates) > 1:
            return self.templates[index]
        return self.templates[0] if self.templates else None


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_images(request: Request, principal: Principal, body: bytes) -> Images:
    """``InvalidRequest`` for an empty body, ``UnsupportedMedia`` for another type."""
    kind = media_type(request)
    if not body:
        raise InvalidRequest(f"the body is empty; {_REMEDY}", code="empty_body", param="body")
    if kind in IMAGE_TYPES:
        return Images((body,), (), many=False)
    if kind == "multipart/form-data":
        return await _multipart(request, body)
    if kind == "application/json":
        return await _from_bucket(request, principal, body)
    raise UnsupportedMedia(
        f"content type {kind or 'none'!r} is not an image; {_REMEDY}", param="content-type"
    )


async def _multipart(request: Request, body: bytes) -> Images:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parser = MultiPartParser(request.headers, stream(), max_files=IMAGES_MAX + 1)
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise InvalidRequest(f"the multipart body is malformed: {error}", param="body") from error
    images: list[bytes] = []
    templates: tuple[bytes, ...] = ()
    for name, part in form.multi_items():
        if not isinstance(part, UploadFile):
            raise InvalidRequest(
                f"part {name!r} is a plain field; send files as parts with a filename "
                "(curl -F image=@photo.jpg)",
                param=name,
            )
        data = await part.read()
        if not data:
            raise InvalidRequest(f"file part {name!r} is empty", code="empty_body", param=name)
        if name == "template":
            templates = (data,)
        else:
            images.append(data)
    if not images:
        raise InvalidRequest("no image among the parts; name it 'image'", param="image")
    if len(images) > IMAGES_MAX:
        raise InvalidRequest(f"at most {IMAGES_MAX} images in one call", param="image")
    return Images(tuple(images), templates, many=len(images) > 1)


async def _from_bucket(request: Request, principal: Principal, body: bytes) -> Images:
    parsed = parse_json(body)
    image = parsed.get("image")
    location = image.get("s3") if isinstance(image, dict) else None
    if not isinstance(location, str):
        raise InvalidRequest('JSON must be {"image": {"s3": "bucket/key"}}', param="image.s3")
    bucket, _, key = location.removeprefix("s3://").partition("/")
    if not key:
        raise InvalidRequest("image.s3 must be bucket/key", param="image.s3")
    services = services_of(request)
    # Another tenant's bucket and a missing object look the same from outside.
    missing = NotFound(f"there is no object {location!r} in a bucket of yours", param="image.s3")
    if bucket != tenant_bucket(principal.tenant.id):
        raise missing
    try:
        data = await asyncio.to_thread(
            services.objects.get, bucket, key, max_bytes=services.settings.body_max_bytes
        )
    except NotFound:
        raise missing from None
    return Images((data,), (), many=False)


def parse_json(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
        if b"\\ud" in body or b"\\uD" in body:
            # Half of a surrogate pair is no text; it would fail wherever it is written.
            json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}", param="body") from error
    if not isinstance(parsed, dict):
        raise InvalidRequest("the body must be a JSON object", param="body")
    return parsed
