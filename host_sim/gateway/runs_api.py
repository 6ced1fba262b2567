"""`/api/runs` of the app, and `POST /api/sources`: named windows on a source, judged when they close.

A device may ask again after it lost an answer: what it asked for is then answered, not made twice.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .reading import json_response
from .store import Selection, Window
from .validate import Invalid, check_source_id
from .windows_api import Content, Refusal, WindowsApi, client_key, described, mapping

_STATUSES = ("active", "completed", "aborted")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip


class RunsApi(WindowsApi):
    """Runs: created, closed, listed and deleted."""

    kind = "run"

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/runs", self._runs, methods=["GET", "POST"]),
            Route("/api/runs/{id}", self._run, methods=["GET", "PATCH", "DELETE"]),
            Route("/api/sources", self._sources, methods=["POST"]),
        ]

    async def _runs(self, request: Request) -> Response:
        if request.method == "POST":
            return await self.answer(request, "write", self._create)
        return await self.answer(request, "read", lambda _: self.listed(request))

    async def _run(self, request: Request) -> Response:
        if request.method == "PATCH":
            return await self.answer(request, "write", lambda body: self._change(self.found(request), body))
        if request.method == "DELETE":
            return await self.answer(request, "write", lambda _: self.removed(request))
        return await self.answer(
            request, "read", lambda _: json_response({"run": described(self.found(request))})
        )

    def _create(self, body: Content) -> Response:
        now_ms = self._reading.now_ms()
        name, source_id = self.name(body), self.source(body)
        started_ms = self.moment(body, "started_at", now_ms)
        assert started_ms is not None
        metadata = mapping(body, "metadata")
        wanted = Window(
            self.new_id(), self.kind, source_id, name, "active", started_ms,
            client_key=client_key(metadata), tags=mapping(body, "tags"), metadata=metadata,
            pass_criteria=self._criteria(body),
        )  # fmt: skip
        known = self._windows.same(wanted)
        if known is None:
            window = self._closed(wanted, body)
            self.add(window)
        else:
            window = self._closed(known, body) if known.status == "active" else known
            self._windows.put(window)
        return json_response({"run": described(window)}, 200 if known else 201)

    def _change(self, window: Window, body: Content) -> Response:
        window = self._closed(window, body)
        self._windows.put(window)
        return json_response({"run": described(window)})

    def _closed(self, window: Window, body: Content) -> Window:
        """The window as `status` and `ended_at` of the body want it; an end alone means completed."""
        ended_ms = self.moment(body, "ended_at", None)
        status = body.get("status", "active" if ended_ms is None else "completed")
        if status not in _STATUSES:
            raise Refusal(400, f"status must be one of {', '.join(_STATUSES)}")
        if status == window.status and ended_ms in (None, window.ended_ms):
            return window
        if status != "active" and ended_ms is None:
            ended_ms = self._reading.now_ms()
        if ended_ms is not None and ended_ms < window.started_ms:
            raise Refusal(400, "ended_at must not be before started_at")
        changed = replace(window, status=status, ended_ms=ended_ms)
        if window.pass_criteria and ended_ms is not None and self._generation() == "oct":
            changed = replace(changed, test_result=self._verdict(changed, ended_ms))
        return changed

    def _criteria(self, body: Content) -> list[Content]:
        criteria = body.get("pass_criteria")
        if criteria is None:
            return []
        limit = self._reading.settings.run_criteria_max
        if type(criteria) is not list or len(criteria) > limit:
            raise Refusal(400, f"pass_criteria must be a list of at most {limit}")
        for i, one in enumerate(criteria):
            number = one.get("value") if type(one) is dict else None
            if type(number) not in (int, float) or one.get("operator") not in _COMPARE:
                raise Refusal(
                    400, f"pass_criteria[{i}] needs metric, operator ({' '.join(_COMPARE)}) and value"
                )
            if type(one.get("metric")) is not str or type(one.get("label", "")) is not str:
                raise Refusal(400, f"pass_criteria[{i}].metric and label must be strings")
        return criteria

    def _verdict(self, window: Window, ended_ms: int) -> Content:
        """Every sample of the window must satisfy; of the newest `telemetry_limit_max`. No data is a failure."""
        results = []
        for one in window.pass_criteria:
            limit = self._reading.settings.telemetry_limit_max
            span = (window.started_ms, ended_ms, limit, window.source_id, "metric", (one["metric"],))
            values = [row.value for row in self._reading.store.select(Selection(*span))]
            holds = _COMPARE[one["operator"]]
            passed = bool(values) and all(holds(value, one["value"]) for value in values)
            results.append({**one, "samples": len(values), "passed": passed})
        return {"passed": all(result["passed"] for result in results), "criteria_results": results}

    async def _sources(self, request: Request) -> Response:
        return await self.answer(request, "write", self._register)

    def _register(self, body: Content) -> Response:
        """Make a source known that has sent nothing yet."""
        try:
            slug = check_source_id(body.get("slug"), self._reading.settings)
        except Invalid as invalid:
            raise Refusal(400, str(invalid).replace("source_id", "slug")) from None
        limit = self._reading.settings.sources_registered_max
        if self._windows.registered_count() >= limit:
            raise Refusal(429, f"too many sources (max {limit})")
        if self._reading.store.source(slug) is not None or not self._windows.register(slug, body):
            raise Refusal(409, "source already exists")
        return json_response({"source": {"slug": slug}}, 201)
