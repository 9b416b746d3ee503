"""The platform's signature over what a version is: base, head digest, data, recipe, metrics.

Ed25519. The private key is made on first start under ``<home>/keys`` (mode 600) and never leaves
it. What is signed is one text, canonical JSON, stored as it was signed: no rounding, no order of
keys and no later field can come between the two.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from xingyue.errors import IntegrityError, Internal

KEY_FILE = "variants.ed25519"
TAMPERED = "artefact_tampered"
_SEED_BYTES = 32
_PASSED_MAX = 100_000


class Signer:
    """Signs and checks with one key. Safe to share between threads."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public: Ed25519PublicKey = private.public_key()
        raw = self._public.public_bytes_raw()
        self.key_id = hashlib.sha256(raw).hexdigest()[:16]
        self._passed: dict[bytes, None] = {}

    @classmethod
    def open(cls, folder: Path) -> Signer:
        """The key under ``folder``, made if there is none; of several processes that start at
        once, one makes it and all use it. ``Internal`` if the file is no key."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / KEY_FILE
        if not path.exists():
            _make(path)
        try:
            seed = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
            return cls(Ed25519PrivateKey.from_private_bytes(seed))
        except (ValueError, binascii.Error, UnicodeDecodeError) as error:
            raise Internal(
                f"{path} is no Ed25519 key (base64 of {_SEED_BYTES} bytes); restore it from a "
                "backup: with another key, every published variant is refused"
            ) from error

    def sign(self, text: str) -> str:
        return base64.b64encode(self._private.sign(text.encode())).decode()

    def check(self, text: str, signature: str, key_id: str) -> None:
        """``IntegrityError`` (``artefact_tampered``) with the reason. What passed before, to the
        byte, costs a hash instead of a verification: lists read a thousand versions at a time."""
        if key_id != self.key_id:
            raise IntegrityError(
                f"it was signed with key {key_id}, this platform's is {self.key_id}", code=TAMPERED
            )
        data = text.encode()
        seen = hashlib.sha256(b"%d:%s%s" % (len(data), data, signature.encode())).digest()
        if seen in self._passed:
            return
        try:
            self._public.verify(base64.b64decode(signature, validate=True), data)
        except (InvalidSignature, ValueError, binascii.Error) as error:
            raise IntegrityError(
                "its signature does not match its facts: they were changed after it was made",
                code=TAMPERED,
            ) from error
        self._passed[seen] = None
        if len(self._passed) > _PASSED_MAX:
            self._passed.pop(next(iter(self._passed)), None)


def canonical(facts: Mapping[str, Any]) -> str:
    """One text for equal facts. ``Internal`` for what JSON can't hold, NaN among it."""
    try:
        return json.dumps(
            facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (ValueError, TypeError) as error:
        raise Internal(f"the facts of a version can't be signed: {error}") from error


def _make(path: Path) -> None:
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    # Created with its mode: never readable by others, not even for a moment.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(base64.b64encode(secrets.token_bytes(_SEED_BYTES)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link never replaces the key that another process just made.
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        os.unlink(draft)
