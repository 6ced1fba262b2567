"""`/api/sessions`, as plexus-python 0.7.0 documents it: windows whose id the client chooses.

The gateway of August has no such route; nothing is known of one that answered. Ours takes the words of both: a
session is `active` or `started`, then `completed`, `ended` or `aborted`.
"""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .reading import json_response
from .store import Window
from .windows_api import Content, Refusal, WindowsApi, described, mapping

_STATUSES = {
    "active": "active", "started": "active", "completed": "completed", "ended": "completed", "aborted": "aborted",
}  # fmt: skip


class SessionsApi(WindowsApi):
    """Sessions: created, closed, listed and deleted; creating one again answers with it."""

    kind = "session"

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/sessions", self._sessions, methods=["GET", "POST"]),
            Route("/api/sessions/{id:path}", self._session, methods=["GET", "PATCH", "DELETE"]),
        ]

    async def _sessions(self, request: Request) -> Response:
        if request.method == "POST":
            return await self.answer(request, "write", self._create)
        return await self.answer(request, "read", lambda _: self._known(self.listed(request)))

    async def _session(self, request: Request) -> Response:
        if request.method == "PATCH":
            return await self.answer(request, "write", lambda body: self._change(request, body))
        if request.method == "DELETE":
            return await self.answer(request, "write", lambda _: self._known(self.removed(request)))
        return await self.answer(
            request, "read", lambda _: self._known(json_response({"session": described(self.found(request))}))
        )

    def _known(self, response: Response) -> Response:
        if self._generation() != "oct":
            raise Refusal(404, "not found")
        return response

    def _create(self, body: Content) -> Response:
        session_id = self.name(body, "session_id")
        name = self.name(body) if "name" in body else session_id
        started_ms = self.moment(body, "started_at", self._reading.now_ms())
        assert started_ms is not None
        status = self._status(body)
        known = self._windows.get(self.kind, session_id)
        if known is None:
            wanted = Window(
                session_id, self.kind, self.source(body), name, status, started_ms,
                client_key=session_id, tags=mapping(body, "tags"), metadata=mapping(body, "metadata"),
            )  # fmt: skip
            self.add(wanted)
            return self._known(json_response({"session": described(wanted)}, 201))
        if known.source_id != self.source(body):
            raise Refusal(409, "session_id is taken by another source")
        return self._known(json_response({"session": described(known)}))

    def _change(self, request: Request, body: Content) -> Response:
        session = self.found(request)
        status = self._status(body)
        ended_ms = self.moment(body, "ended_at", session.ended_ms)
        if status != "active" and ended_ms is None:
            ended_ms = self._reading.now_ms()
        changed = replace(session, status=status, ended_ms=ended_ms)
        self._windows.put(changed)
        return self._known(json_response({"session": described(changed)}))

    def _status(self, body: Content) -> str:
        # Before anything is stored: a generation without this route stores nothing.
        self._known(Response())
        status = _STATUSES.get(body.get("status", "active"))
        if status is None:
            raise Refusal(400, f"status must be one of {', '.join(_STATUSES)}")
        return status
