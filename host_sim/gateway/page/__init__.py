"""The live page and the chart library, served from memory under a strict content policy."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ..settings import Settings

_HERE = Path(__file__).parent
_FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/commands.js": ("commands.js", "text/javascript"),
    "/model.js": ("model.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
}
UPLOT_PATH = "/node_modules/uplot/"
_UPLOT_FILES = {"dist/uPlot.iife.min.js": "text/javascript", "dist/uPlot.min.css": "text/css"}
_UPLOT_MISSING = "uPlot is not installed. Run: npm install --prefix host_sim"

# Nothing but our own files may run or be loaded, whatever a device calls its metrics.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class Page:
    """Routes of the page's files. Files are read once, when the application is made."""

    def __init__(self, settings: Settings) -> None:
        self._files = {
            path: ((_HERE / name).read_bytes(), media_type) for path, (name, media_type) in _FILES.items()
        }
        for name, media_type in _UPLOT_FILES.items():
            file = settings.uplot_dir / name
            if file.is_file():
                self._files[UPLOT_PATH + name] = (file.read_bytes(), media_type)

    def routes(self) -> list[BaseRoute]:
        paths = [*_FILES, *(UPLOT_PATH + name for name in _UPLOT_FILES)]
        return [Route(path, self._serve) for path in paths]

    async def _serve(self, request: Request) -> Response:
        found = self._files.get(request.url.path)
        if found is None:
            return PlainTextResponse(_UPLOT_MISSING, 503, _HEADERS)
        content, media_type = found
        return Response(content, 200, _HEADERS, media_type)
