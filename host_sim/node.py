"""Where Node.js and the packages from npm are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_MODULES = Path(__file__).parent / "node_modules"


class MissingTool(RuntimeError):
    """Something that `make` installs is not there."""


def find_node() -> str:
    """The machine's Node.js, else the one that set-up put into this environment."""
    beside = Path(sys.prefix) / "bin" / "node"
    found = shutil.which("node") or (str(beside) if beside.exists() else None)
    if found is None:
        raise MissingTool("Node.js is missing: run `make setup`")
    return found


def npm_file(name: str) -> Path:
    """A file of a package that `npm ci` installed."""
    path = _MODULES / name
    if not path.exists():
        raise MissingTool(f"{name} is missing: run `make setup`")
    return path
