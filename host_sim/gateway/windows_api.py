"""What the routes of runs and sessions share: keys, bodies, errors, and a window as JSON."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .reading import Reading, json_response
from .settings import Generation
from .store import StoreError, Window
from .strict_json import InvalidJson, parse
from .timespan import iso_text, parse_time_ms
from .validate import Invalid, check_source_id

# The app's error codes (frontend/lib/api/errors.ts).
_CODES = {400: "VALIDATION_ERROR", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 409: "CONFLICT"}
_CODES |= {413: "PAYLOAD_TOO_LARGE", 429: "LIMIT_REACHED"}
_EARLIEST_MS = 0
_KEY_MAX = 128

Content = dict[str, Any]


class Refusal(Exception):
    """The request gets `status` and the app's error body."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = json_response({"error": _CODES[status], "message": message}, status)


class WindowsApi:
    """Base of both APIs: `kind` is "run" or "session"."""

    kind = ""

    def __init__(self, reading: Reading, generation: Callable[[], Generation], rng: random.Random) -> None:
        self._reading = reading
        self._generation = generation
        self._rng = rng
        self._windows = reading.store.windows

    async def answer(self, request: Request, scope: str, act: Callable[[Content], Response]) -> Response:
        """Check the key, read the body, and `act`; a refusal becomes its answer."""
        try:
            status = self._reading.refusal(request, scope)
            if status:
                raise Refusal(status, "invalid API key" if status == 401 else f"API key lacks {scope} scope")
            body = await self._body(request) if request.method in ("POST", "PATCH") else {}
            return act(body)
        except Refusal as refusal:
            return refusal.response
        except StoreError:
            return json_response({"error": "INTERNAL_ERROR", "message": "failed to store"}, 500)

    async def _body(self, request: Request) -> Content:
        limit = self._reading.settings.run_body_max_bytes
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise Refusal(413, f"payload too large (max {limit} bytes)")
        try:
            content = parse(bytes(body))
        except InvalidJson:
            raise Refusal(400, "invalid JSON body") from None
        if type(content) is not dict:
            raise Refusal(400, "body must be an object")
        return content

    def add(self, window: Window) -> None:
        """Store a new window."""
        limit = self._reading.settings.runs_max
        if self._windows.count() >= limit:
            raise Refusal(429, f"too many runs and sessions (max {limit})")
        self._windows.put(window)

    def new_id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def found(self, request: Request) -> Window:
        window = self._windows.get(self.kind, request.path_params["id"])
        if window is None:
            raise Refusal(404, f"{self.kind} not found")
        return window

    def removed(self, request: Request) -> Response:
        if not self._windows.delete(self.kind, request.path_params["id"]):
            raise Refusal(404, f"{self.kind} not found")
        return Response(status_code=204)

    def listed(self, request: Request) -> Response:
        query = request.query_params
        limit = self._reading.settings.logs_limit_default
        found = self._windows.list_newest(self.kind, query.get("source_id"), query.get("status"), limit)
        return json_response({f"{self.kind}s": [described(window) for window in found]})

    def name(self, content: Content, field: str = "name") -> str:
        name, limit = content.get(field), self._reading.settings.run_name_max
        if type(name) is not str or not 0 < len(name) <= limit:
            raise Refusal(400, f"{field} must be a string of 1 to {limit} characters")
        return name

    def source(self, content: Content) -> str | None:
        """The body's source, None for none; it may have sent nothing yet only when it was registered."""
        source_id = content.get("source_id")
        if source_id is None:
            return None
        try:
            source = check_source_id(source_id, self._reading.settings)
        except Invalid as invalid:
            raise Refusal(400, str(invalid)) from None
        if self._reading.store.source(source) is None and not self._windows.registered(source):
            raise Refusal(404, "source not found")
        return source

    def moment(self, content: Content, field: str, default_ms: int | None) -> int | None:
        text = content.get(field)
        if text is None:
            return default_ms
        if type(text) is not str or text.isdigit():
            raise Refusal(400, f"{field} must be ISO 8601 with an offset")
        try:
            moment_ms = parse_time_ms(text)
        except ValueError:
            raise Refusal(400, f"{field} must be ISO 8601 with an offset") from None
        if not _EARLIEST_MS < moment_ms <= self._reading.settings.timestamp_max_ms:
            raise Refusal(400, f"{field} is out of range")
        return moment_ms


def mapping(content: Content, field: str) -> Content:
    """An object of the body, {} when it is not there."""
    found = content.get(field)
    if found is None:
        return {}
    if type(found) is not dict:
        raise Refusal(400, f"{field} must be an object")
    return found


def client_key(metadata: Content) -> str:
    """What a device chose so that its request can be told when it comes again."""
    key = metadata.get("client_run_id")
    return key if type(key) is str and len(key) <= _KEY_MAX else ""


def described(window: Window) -> Content:
    """A window as its routes give it."""
    told: Content = {
        "id": window.id,
        "name": window.name,
        "source_id": window.source_id,
        "status": window.status,
        "started_at": iso_text(window.started_ms),
        "ended_at": None if window.ended_ms is None else iso_text(window.ended_ms),
        "tags": window.tags,
        "metadata": window.metadata,
    }
    if window.kind == "session":
        return {"session_id": window.id, **told}
    return {**told, "pass_criteria": window.pass_criteria, "test_result": window.test_result}
