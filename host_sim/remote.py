"""What a gateway elsewhere has stored, read through its read API."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone
from typing import Any

from .journal import Row

_ROWS_MAX = 100_000  # of one answer of /api/v1/telemetry
_EVENTS_MAX = 1_000
_TIMEOUT_S = 30


def remote_rows(url: str, api_key: str, source_id: str, start_ms: int, end_ms: int) -> list[Row]:
    """The rows of a source from `start_ms` to `end_ms`, Unix milliseconds; needs a key with read scope.

    Raises `OSError` when the gateway cannot be asked, `ValueError` when there are more than an answer holds.
    """
    window = {"from": _iso(start_ms), "to": _iso(end_ms)}
    query = {"source": source_id, "limit": _ROWS_MAX, **window}
    metrics = _get(url, api_key, "/api/v1/telemetry", query)["data"]
    path = f"/v1/sources/{urllib.parse.quote(source_id)}/events"
    events = _get(url, api_key, path, {"start": window["from"], "end": window["to"], "limit": _EVENTS_MAX})
    if len(metrics) >= _ROWS_MAX or len(events) >= _EVENTS_MAX:
        raise ValueError(f"{source_id} has more rows than the gateway tells at once, use a shorter run")
    return [_metric(row) for row in metrics] + [_event(row) for row in events]


def _metric(row: dict[str, Any]) -> Row:
    stamp = datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=timezone.utc)
    return Row("metric", row["metric"], row["value"], row["tags"], round(stamp.timestamp() * 1000))


def _event(row: dict[str, Any]) -> Row:
    return Row("event", row["metric"], row["value"], row["tags"], row["timestamp_ms"])


def _iso(unix_ms: int) -> str:
    stamp = datetime.fromtimestamp(unix_ms / 1000, timezone.utc)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _get(url: str, api_key: str, path: str, query: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}{path}?{urllib.parse.urlencode(query)}", headers={"x-api-key": api_key}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as e:
        raise OSError(f"{url}{path} answers {e.code}: {e.read(200).decode(errors='replace')}") from None
