"""`/api/commands`: what devices can be asked to do, and runs of it.

| | |
|---|---|
| `GET /api/commands?source_id=…` | `{"source_id","online","commands":[…]}`, the manifest as it was declared |
| `POST /api/commands` | `{"source_id","command","params","expires_in_s"}`, the last two optional → 201 `{"run":{…}}` |
| `GET /api/commands/runs?source_id=…&limit=…` | `{"runs":[…]}`, newest first |
| `GET /api/commands/runs/{run_id}` | `{"run":{…}}` |

Errors are `{"error":CODE,"message":…}` as in the app's API. Asking needs the scope `commands`, reading `read`.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .command_runs import CommandRuns, RunRefused
from .commands_api import read_small_body
from .manifest import BadEntry, check_expiry
from .reading import Reading, json_response
from .strict_json import InvalidJson, parse

_CODES = {400: "VALIDATION_ERROR", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 409: "CONFLICT"}
_LIMIT_DEFAULT = 50


class CommandRunsApi:
    """Routes of the commands' API."""

    def __init__(self, reading: Reading, runs: CommandRuns) -> None:
        self._reading = reading
        self._runs = runs

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/commands", self._manifest, methods=["GET"]),
            Route("/api/commands", self._start, methods=["POST"]),
            Route("/api/commands/runs", self._list, methods=["GET"]),
            Route("/api/commands/runs/{run_id}", self._one, methods=["GET"]),
        ]

    async def _manifest(self, request: Request) -> Response:
        refusal = self._refusal(request, "read")
        if refusal is not None:
            return refusal
        source_id = request.query_params.get("source_id", "")
        manifest = self._runs.manifest(source_id)
        if manifest is None:
            return _error(404, "source has declared no commands")
        known = self._reading.presence.one(source_id)
        online = known is not None and known.online
        return json_response({"source_id": source_id, "online": online, "commands": list(manifest.values())})

    async def _start(self, request: Request) -> Response:
        refusal = self._refusal(request, "commands")
        if refusal is not None:
            return refusal
        limit = self._reading.settings.command_max_bytes
        try:
            content = _asked(await read_small_body(request, limit))
            run = self._runs.start(
                content["source_id"], content["command"], content["params"], content["expires_in_s"]
            )
        except ValueError as error:
            return _error(400, str(error))
        except RunRefused as refused:
            return _error(refused.status, str(refused))
        return json_response({"run": run.described()}, 201)

    async def _list(self, request: Request) -> Response:
        refusal = self._refusal(request, "read")
        if refusal is not None:
            return refusal
        limit_max = self._reading.settings.command_runs_max
        text = request.query_params.get("limit", str(min(_LIMIT_DEFAULT, limit_max)))
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and 0 < int(text) <= limit_max):
            return _error(400, f"limit must be an integer from 1 to {limit_max}")
        runs = self._runs.select(request.query_params.get("source_id"), int(text))
        return json_response({"runs": [run.described() for run in runs]})

    async def _one(self, request: Request) -> Response:
        refusal = self._refusal(request, "read")
        if refusal is not None:
            return refusal
        run = self._runs.find(request.path_params["run_id"])
        return _error(404, "no such run") if run is None else json_response({"run": run.described()})

    def _refusal(self, request: Request, scope: str) -> Response | None:
        status = self._reading.refusal(request, scope)
        if not status:
            return None
        return _error(status, "invalid API key" if status == 401 else f"API key lacks {scope} scope")


def _error(status: int, message: str) -> Response:
    return json_response({"error": _CODES[status], "message": message}, status)


def _asked(body: bytes) -> dict[str, Any]:
    try:
        content = parse(body)
    except InvalidJson:
        raise ValueError("invalid JSON body") from None
    if type(content) is not dict:
        raise ValueError("body must be an object")
    for name in ("source_id", "command"):
        if type(content.get(name)) is not str:
            raise ValueError(f"{name} must be a string")
    asked = {"params": {}, "expires_in_s": None, **content}
    if type(asked["params"]) is not dict:
        raise ValueError("params must be an object")
    if asked["expires_in_s"] is not None:
        try:
            check_expiry(asked["expires_in_s"])
        except BadEntry as fault:
            raise ValueError(str(fault)) from None
    return asked
