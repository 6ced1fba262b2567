"""The data API `/v1`: sources, their metrics, and their events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from .presence import Known
from .reading import Reading, json_response
from .store import Bucket, Row, Selection
from .timespan import HOUR_MS, span_of

_REFUSALS = {401: "invalid api key", 403: "api key lacks read scope"}
_DAY_MS = 24 * HOUR_MS
INTERVALS_MS = {"1m": 60_000, "10m": 600_000, "1h": HOUR_MS, "1d": _DAY_MS}
# Up to which length of time (ms) which interval is chosen when none is asked for.
_AUTO = ((600_000, "raw"), (10 * HOUR_MS, "1m"), (3 * _DAY_MS, "10m"), (15 * _DAY_MS, "1h"))
# Without `last` or `start` events of all times are listed; the limit bounds them.
_ALL_TIMES_MS = 1 << 60

_BUCKET_KEYS = ("timestamp_ms", "min", "max", "avg", "count")

Endpoint = Callable[[Request], Any]


class NotThere(Exception):
    """No such source."""


class DataApi:
    """Answers of `/v1/…`. Errors are `{"detail":"…"}`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def routes(self) -> list[BaseRoute]:
        source = "/v1/sources/{source_id}"
        pairs: list[tuple[str, Callable[[Request], Any]]] = [
            ("/v1/sources", self._sources),
            (source, self._source),
            (f"{source}/metrics", self._metrics),
            (f"{source}/metrics/latest", self._latest),
            (f"{source}/metrics/query", self._query),
            (f"{source}/logs", self._events),
            (f"{source}/events", self._events),
            ("/v1/fleet/health", self._fleet_health),
        ]
        moved = [Route("/v1/devices", _moved), Route("/v1/devices/{rest:path}", _moved)]
        return [*(Route(path, self._guarded(answer)) for path, answer in pairs), *moved]

    def _guarded(self, answer: Callable[[Request], Any]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            status = self._reading.refusal(request)
            if status:
                return json_response({"detail": _REFUSALS[status]}, status)
            try:
                return json_response(answer(request))
            except NotThere:
                return json_response({"detail": "device not found"}, 404)
            except (ValueError, OverflowError) as error:
                return json_response({"detail": str(error)}, 400)

        return endpoint

    def _sources(self, request: Request) -> Any:
        wanted = request.query_params.get("status")
        if wanted not in (None, "online", "offline"):
            raise ValueError("status must be online or offline")
        found = self._reading.presence.all()
        shown = [s for s in found if wanted is None or s.online == (wanted == "online")]
        return {"devices": [source._asdict() for source in shown]}

    def _found(self, request: Request) -> Known:
        source = self._reading.presence.one(request.path_params["source_id"])
        if source is None:
            raise NotThere
        return source

    def _source(self, request: Request) -> Any:
        return self._found(request)._asdict()

    def _metrics(self, request: Request) -> Any:
        return self._reading.store.metrics(self._found(request).source_id)

    def _latest(self, request: Request) -> Any:
        since_ms = self._reading.now_ms() - HOUR_MS
        return {"metrics": self._reading.store.latest(self._found(request).source_id, since_ms)}

    def _query(self, request: Request) -> Any:
        query = request.query_params
        span = span_of(query, self._reading.now_ms())
        asked = query.get("interval", "auto")
        interval = _auto_interval(span.to_ms - span.from_ms) if asked == "auto" else asked
        if interval != "raw" and interval not in INTERVALS_MS:
            raise ValueError("interval must be raw, 1m, 10m, 1h, 1d or auto")
        names = query.get("metrics")
        metrics = tuple(names.split(",")) if names else None
        cap = self._reading.settings.query_rows_max
        # One row more than the cap tells whether something was cut off.
        selection = Selection(*span, cap + 1, self._found(request).source_id, "metric", metrics)
        series, rows = self._series(selection, interval)
        auto = asked == "auto" and interval != "raw"
        return {"interval": interval, "auto_downsampled": auto, "truncated": rows > cap, "series": series}

    def _series(self, selection: Selection, interval: str) -> tuple[dict[str, dict[str, list[Any]]], int]:
        if interval == "raw":
            rows = self._reading.store.select(selection)
            return _raw_series(rows[-(selection.limit - 1) :]), len(rows)
        buckets = self._reading.store.buckets(selection, INTERVALS_MS[interval])
        return _bucket_series(buckets[-(selection.limit - 1) :]), len(buckets)

    def _events(self, request: Request) -> Any:
        query = request.query_params
        span = span_of(query, self._reading.now_ms(), _ALL_TIMES_MS)
        if "last" not in query and "start" not in query:
            span = span._replace(to_ms=_ALL_TIMES_MS)
        settings = self._reading.settings
        limit = _count(query, "limit", settings.logs_limit_default, settings.query_rows_max)
        limit = min(limit, _count(query, "tail", limit, settings.query_rows_max))
        name = query.get("name")
        names = (name,) if name else None
        selection = Selection(*span, limit, self._found(request).source_id, "event", names)
        return [_event(row) for row in self._reading.store.select(selection)]

    def _fleet_health(self, request: Request) -> Any:
        found = self._reading.presence.all()
        return {"sources_total": len(found), "sources_online": sum(source.online for source in found)}


async def _moved(request: Request) -> Response:
    target = "/v1/sources" + request.url.path[len("/v1/devices") :]
    return RedirectResponse(target + (f"?{request.url.query}" if request.url.query else ""), 308)


def _event(row: Row) -> dict[str, Any]:
    return {"timestamp_ms": row.timestamp_ms, "metric": row.metric, "value": row.value, "tags": row.tags}


def _auto_interval(length_ms: int) -> str:
    return next((name for below_ms, name in _AUTO if length_ms < below_ms), "1d")


def _count(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 0 < int(text) <= most):
        raise ValueError(f"{name} must be an integer from 1 to {most}")
    return int(text)


def _raw_series(rows: list[Row]) -> dict[str, dict[str, list[Any]]]:
    series: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        one = series.setdefault(row.metric, {"timestamp_ms": [], "value": []})
        one["timestamp_ms"].append(row.timestamp_ms)
        one["value"].append(row.value)
    return series


def _bucket_series(buckets: list[Bucket]) -> dict[str, dict[str, list[Any]]]:
    series: dict[str, dict[str, list[Any]]] = {}
    for metric, *numbers in buckets:
        one = series.setdefault(metric, {name: [] for name in _BUCKET_KEYS})
        for name, number in zip(_BUCKET_KEYS, numbers, strict=True):
            one[name].append(number)
    return series
