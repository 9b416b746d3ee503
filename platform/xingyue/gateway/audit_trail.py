"""Every change by an operator or a vendor leaves a row in the audit log, before its answer.

The row is written by the transaction of the change itself, where there is one in the database; of
other changes, such as new S3 keys, it is written before the answer leaves, and without it there is
no answer. Calls that were refused leave none. Routes need not know: what is audited is told by
its path.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xingyue.audit.log import AuditLog
from xingyue.audit.rules import DETAILS_MAX_BYTES, Deed
from xingyue.errors import Overloaded
from xingyue.storage import witness

AUDITED = re.compile(r"^/admin/v1/|^/v1/variants(?:/|$)|^/v1/storage/rotate$|^/v1/webhooks(?:/|$)")
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LITERAL = re.compile(r"^/(?:admin/)?v1/(\w+)")


class AuditTrail:
    """Inside ``RequestContext``, which gives the request its id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] not in _CHANGES
            or not AUDITED.match(scope["path"])
        ):
            await self._app(scope, receive, send)
            return
        change = _Change(scope, receive, send)
        seen = witness.CURRENT.set(change.witness)
        try:
            await self._app(scope, change.receive, change.send)
        finally:
            witness.CURRENT.reset(seen)
        if change.failure is not None:
            raise change.failure


class _Change:
    """One request that may change something."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._log: AuditLog = scope["app"].state.services.audit
        self._body = b""
        self._facts = witness.collect()
        self._recorded = False
        self.failure: Exception | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        self._body += message.get("body", b"")
        return message

    def witness(self, connection: Connection) -> None:
        """By the thread and in the transaction that writes the change."""
        deed = None if self._recorded else self._deed()
        if deed is not None:
            self._log.append(connection, deed)
            self._recorded = True

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            await self._see_to_it()
        if self.failure is None:
            await self._send(message)

    async def _see_to_it(self) -> None:
        deed = None if self._recorded else self._deed()
        if deed is None:
            return
        # Its own transaction must not call the witness again.
        self._recorded = True
        try:
            await asyncio.to_thread(self._log.record, deed)
        except SQLAlchemyError as error:
            self.failure = Overloaded(
                "the change was made but can't be written to the audit log right now; repeat it",
                code="audit_unavailable",
            )
            self.failure.__cause__ = error

    def _deed(self) -> Deed | None:
        """None before the caller is known and let in."""
        principal = self._scope["state"].get("principal")
        route = self._scope.get("route")
        if principal is None or route is None:
            return None
        literal = _LITERAL.match(route.path)
        subject = "/".join(str(each) for each in self._scope.get("path_params", {}).values())
        details = {**self._said(), **self._facts}
        return Deed(
            key_id=principal.key.id,
            tenant_id=principal.tenant.id,
            action=f"{literal[1] if literal else 'other'}.{route.name}",
            subject=subject or str(details.get("id") or principal.tenant.id),
            details=details,
            request_id=self._scope["state"]["request_id"],
        )

    def _said(self) -> dict[str, Any]:
        """The request's body: as it is where it is JSON, else its digest."""
        if not self._body:
            return {}
        kind = Headers(scope=self._scope).get("content-type", "")
        if len(self._body) <= 8 * DETAILS_MAX_BYTES and kind.startswith("application/json"):
            try:
                said = json.loads(self._body)
            except ValueError:
                said = None
            if isinstance(said, dict):
                return said
        digest = hashlib.sha256(self._body).hexdigest()
        return {"body_sha256": digest, "body_bytes": len(self._body)}
