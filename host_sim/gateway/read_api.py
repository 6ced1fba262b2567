"""The app's `GET /api/v1/telemetry`, as dashboards and detectors poll it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .reading import Reading, json_response
from .settings import Settings
from .store import Row, Selection
from .timespan import HOUR_MS, Span, clickhouse_text, iso_text, parse_time_ms

_ERRORS = {401: ("UNAUTHORIZED", "invalid API key"), 403: ("FORBIDDEN", "API key lacks read scope")}


class _BadQuery(ValueError):
    """One query parameter cannot be understood."""

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(fault)
        self.name = name


class TelemetryApi:
    """Rows of metrics, newest `limit` of them, oldest first; the last hour unless told otherwise."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/telemetry", self.telemetry)]

    async def telemetry(self, request: Request) -> Response:
        status = self._reading.refusal(request)
        if status:
            code, message = _ERRORS[status]
            return json_response({"error": code, "message": message}, status)
        try:
            return self._answer(request.query_params)
        except _BadQuery as fault:
            details = {fault.name: str(fault)}
            content = {"error": "VALIDATION_ERROR", "message": "Invalid query parameters", "details": details}
            return json_response(content, 400)

    def _answer(self, query: Mapping[str, str]) -> Response:
        settings = self._reading.settings
        span = _span(query, self._reading.now_ms())
        limit = _limit(query.get("limit"), settings)
        source, metric = query.get("source"), query.get("metric")
        metrics = tuple(metric.split(",")) if metric else None
        selection = Selection(*span, limit, source or None, "metric", metrics)
        rows = [_row(row, settings.org_id) for row in self._reading.store.select(selection)]
        asked = {
            "source": source,
            "metric": metric,
            "from": iso_text(span.from_ms),
            "to": iso_text(span.to_ms),
        }
        return json_response({"data": rows, "count": len(rows), "query": {**asked, "limit": limit}})


def _row(row: Row, org_id: str) -> dict[str, Any]:
    return {
        "org_id": org_id,
        "source_id": row.source_id,
        "metric": row.metric,
        "value": row.value,
        "timestamp": clickhouse_text(row.timestamp_ms),
        "tags": row.tags,
    }


def _span(query: Mapping[str, str], now_ms: int) -> Span:
    to_ms = _time_ms(query, "to", now_ms)
    return Span(max(0, _time_ms(query, "from", to_ms - HOUR_MS)), max(0, to_ms))


def _time_ms(query: Mapping[str, str], name: str, default_ms: int) -> int:
    text = query.get(name)
    if text is None:
        return default_ms
    try:
        return parse_time_ms(text)
    except (ValueError, OverflowError):
        raise _BadQuery(name, "must be an ISO 8601 time") from None


def _limit(text: str | None, settings: Settings) -> int:
    if text is None:
        return settings.telemetry_limit_default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise _BadQuery("limit", f"must be an integer from 1 to {settings.telemetry_limit_max}")
    if int(text) > settings.telemetry_limit_max:
        raise _BadQuery("limit", f"must be at most {settings.telemetry_limit_max}")
    return int(text)
