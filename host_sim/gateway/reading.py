"""What both read APIs share: the store, the clock, and who may read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from .auth import Authenticator
from .presence import Presence
from .settings import Settings
from .store import Store


@dataclass(frozen=True)
class Reading:
    """Everything that an answer is made from."""

    settings: Settings
    store: Store
    presence: Presence
    authenticator: Authenticator
    now_ms: Callable[[], int]

    def refusal(self, request: Request, scope: str = "read") -> int:
        """0 when the request's key has the scope, else the status to refuse it with: 401 or 403."""
        api_key = request.headers.get("x-api-key")
        grant = self.authenticator.verify(api_key, self.now_ms()) if api_key else None
        if grant is None:
            return 401
        return 0 if scope in grant.scopes else 403


def json_response(content: Any, status: int = 200) -> Response:
    """Compact JSON that no cache keeps."""
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
