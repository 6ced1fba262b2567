"""`POST /ingest`: the checks of the Plexus gateway in its order, then one commit, then the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.types import Receive, Scope, Send

from .auth import Authenticator
from .body import BadGzip, BodyTooLarge, ClientGone, Incoming, read_body
from .conditions import Action, Conditions, Fate, Post, Script
from .counters import Counters
from .intake import Intake
from .replies import CORS_HEADERS, Reply, send_reply
from .settings import Grant, Settings
from .store import Point, StoreError
from .strict_json import InvalidJson, parse
from .validate import Groups, Invalid, validate

PATHS = frozenset({"/ingest", "/api/ingest"})
CLOSE_HEADER = (b"connection", b"close")
# How many times the body limit is read and thrown away for a client that has been refused.
DRAIN_BODIES = 2


class Refused(Exception):
    """The request gets `reply` instead of 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.reply = Reply.error(status, text)


@dataclass
class _Sorted:
    """What became of a request's groups before the commit."""

    points: list[Point] = field(default_factory=list)
    dropped: int = 0
    fault: Refused | None = None


class Ingest:
    """ASGI application for the ingest endpoint. All state is given; the loop gives the timers."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        counters: Counters,
        authenticator: Authenticator,
        conditions: Conditions,
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._counters = counters
        self._authenticator = authenticator
        self._conditions = conditions
        self._now_ms = now_ms
        self._posts = 0
        self.script: Script | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = Incoming(receive)
        try:
            action = await self._respond(scope, incoming)
            if isinstance(action, Reply):
                await self._make_room(scope, incoming)
                self._counters.add(f"ingest_{action.status}")
                await send_reply(send, replace(action, headers=action.headers + CORS_HEADERS))
            elif isinstance(action, Fate):
                await self._meet(action, scope, incoming)
            else:
                raise TypeError(f"a POST cannot be answered with {action!r}")
        except ClientGone:
            self._counters.add("ingest_client_gone")

    async def _respond(self, scope: Scope, incoming: Incoming) -> Action:
        if scope["method"] == "POST":
            return await self._post(scope, incoming)
        return Reply(204) if scope["method"] == "OPTIONS" else Reply.error(405, "method not allowed")

    async def _make_room(self, scope: Scope, incoming: Incoming) -> None:
        """Before a connection is closed, read what the client still sends, within reason.

        Closing with unread data makes TCP reset the connection, and the client loses the answer.
        """
        closing = CLOSE_HEADER in scope["headers"] or scope["http_version"] == "1.0"
        if closing and scope["method"] == "POST":
            await incoming.drain(DRAIN_BODIES * self._settings.body_max_bytes)

    async def _meet(self, fate: Fate, scope: Scope, incoming: Incoming) -> None:
        self._counters.add(f"ingest_{fate.value}")
        if fate is Fate.ABORT:
            scope["state"]["abort"]()
        await incoming.gone()

    async def _post(self, scope: Scope, incoming: Incoming) -> Action:
        self._posts += 1
        post = Post(self._posts, scope["path"], self._now_ms())
        if self.script is not None:
            action = await self.script.before(post)
            if action is not None:
                return action
        try:
            return await self._checked(post, scope, incoming)
        except Refused as refused:
            return refused.reply

    async def _checked(self, post: Post, scope: Scope, incoming: Incoming) -> Action:
        headers = dict(scope["headers"])
        grant = self._authorize(headers)
        body = await self._read(headers, incoming)
        received_ms = self._now_ms()
        groups = self._validated(body, received_ms)
        sorted_out = self._sort_out(groups, grant)
        fault = self._commit(sorted_out, received_ms)
        reply = fault.reply if fault is not None else self._success(groups, sorted_out)
        if self.script is not None:
            action = await self.script.after_commit(post, reply)
            return reply if action is None else action
        return reply

    def _authorize(self, headers: dict[bytes, bytes]) -> Grant:
        if self._conditions.circuit_open:
            raise Refused(503, "gateway degraded: redis unavailable")
        api_key = headers.get(b"x-api-key", b"").decode("latin-1")
        if not api_key:
            raise Refused(401, "missing x-api-key")
        grant = self._authenticator.verify(api_key, self._now_ms())
        if grant is None:
            raise Refused(401, "invalid API key")
        if "write" not in grant.scopes:
            raise Refused(403, "API key lacks write scope")
        return grant

    async def _read(self, headers: dict[bytes, bytes], incoming: Incoming) -> bytes:
        gzipped = headers.get(b"content-encoding", b"").lower() == b"gzip"
        declared = headers.get(b"content-length", b"0")
        max_bytes = self._settings.body_max_bytes
        try:
            return await read_body(incoming, gzipped, int(declared), max_bytes)
        except BodyTooLarge:
            raise Refused(413, f"payload too large (max {max_bytes} bytes)") from None
        except BadGzip:
            raise Refused(400, "invalid gzip body") from None

    def _validated(self, body: bytes, received_ms: int) -> Groups:
        try:
            return validate(parse(body), self._settings, received_ms)
        except InvalidJson:
            raise Refused(400, "invalid JSON body") from None
        except Invalid as invalid:
            self._counters.add("dropped_validation")
            raise Refused(400, str(invalid)) from None

    def _sort_out(self, groups: Groups, grant: Grant) -> _Sorted:
        oct_rules = self._intake.generation == "oct"
        if oct_rules and grant.source_id is not None and any(s != grant.source_id for s in groups):
            raise Refused(403, "API key is limited to another device")
        result, now_s = _Sorted(), asyncio.get_running_loop().time()
        for source_id, points in groups.items():
            if self._intake.limit_of(source_id, now_s):
                result.dropped += len(points)
                continue
            result.fault = self._queue_fault(source_id)
            if result.fault is not None:
                break
            result.points += points
        return result

    def _queue_fault(self, source_id: str) -> Refused | None:
        if source_id in self._conditions.marshal_failing:
            return Refused(500, "internal error")
        if source_id in self._conditions.queue_failing:
            return Refused(502, "failed to queue telemetry")
        return None

    def _commit(self, sorted_out: _Sorted, received_ms: int) -> Refused | None:
        try:
            self._intake.commit(sorted_out.points, received_ms)
        except StoreError:
            return Refused(502, "failed to queue telemetry")
        return sorted_out.fault

    def _success(self, groups: Groups, sorted_out: _Sorted) -> Reply:
        content: dict[str, Any] = {"success": True, "count": len(sorted_out.points)}
        if sorted_out.dropped and self._intake.generation == "oct":
            content["dropped"] = sorted_out.dropped
        if len(groups) == 1:
            content["source_id"] = next(iter(groups))
        return Reply.json(200, content)
