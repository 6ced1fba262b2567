"""`POST /v1/sources/{source_id}/commands`: a command to a connected device, the old way (`typed_command`)."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .devices import Devices
from .reading import Reading, json_response
from .strict_json import InvalidJson, parse

# As any name on this gateway: gateway_config.go.
_COMMAND_MAX_BYTES = 256
_REFUSALS = {401: "invalid api key", 403: "api key lacks commands scope"}


class CommandsApi:
    """Answers `{"queued": bool}`: false for a device that is not connected, or whose queue is full."""

    def __init__(self, reading: Reading, devices: Devices) -> None:
        self._reading = reading
        self._devices = devices

    def routes(self) -> list[BaseRoute]:
        return [Route("/v1/sources/{source_id}/commands", self._post, methods=["POST"])]

    async def _post(self, request: Request) -> Response:
        status = self._reading.refusal(request, "commands")
        if status:
            return json_response({"detail": _REFUSALS[status]}, status)
        try:
            limit = self._reading.settings.command_max_bytes
            command, params = _command_of(await read_small_body(request, limit))
        except ValueError as error:
            return json_response({"detail": str(error)}, 400)
        sent = self._devices.send_typed_command(request.path_params["source_id"], command, params)
        return json_response({"queued": sent is not None})


async def read_small_body(request: Request, limit: int) -> bytes:
    """The request's body; ValueError when it is longer than `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ValueError(f"body too large (max {limit} bytes)")
    return bytes(body)


def _command_of(body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        content = parse(body)
    except InvalidJson:
        raise ValueError("invalid JSON body") from None
    command = content.get("command") if type(content) is dict else None
    if type(command) is not str or not 0 < len(command.encode()) <= _COMMAND_MAX_BYTES:
        raise ValueError(f"command must be a string of 1 to {_COMMAND_MAX_BYTES} bytes")
    params = content.get("params", {})
    if type(params) is not dict:
        raise ValueError("params must be an object")
    return command, params
