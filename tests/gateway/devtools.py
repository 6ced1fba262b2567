"""A headless Chromium driven over its DevTools socket: just enough to look at one page."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import websocket

PATIENCE_S = 20.0
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """One page in a browser of its own; `with Page(url) as page: page.wait_for("…")`."""

    def __init__(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [str(find_chromium()), *FLAGS, f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(
            [*command, f"--window-size={width},{height}", "about:blank"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self._link = websocket.create_connection(self._page_socket(), timeout=20, suppress_origin=True)
        self._calls = 0
        self._call("Log.enable")
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[feature])
        self._call("Page.navigate", url=url)

    def _page_socket(self) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith("DevTools listening on ws://"):
                port = line.split(":")[2].split("/")[0]
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = json.loads(answer.read())
                return str(next(p["webSocketDebuggerUrl"] for p in pages if p["type"] == "page"))
        raise RuntimeError("chromium ended without opening its DevTools socket")

    def _call(self, method: str, **params: Any) -> Any:
        self._calls += 1
        self._link.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while True:
            message = json.loads(self._link.recv())
            if message.get("id") == self._calls:
                return message["result"]

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true, also across the loading of the page."""
        guarded = f"(() => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }})()"
        give_up_s = time.monotonic() + PATIENCE_S
        while not self.evaluate(guarded):
            assert time.monotonic() < give_up_s, f"never true: {condition}"
            time.sleep(0.02)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()
        self._process.terminate()
        self._process.wait(10)
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._profile.cleanup()
