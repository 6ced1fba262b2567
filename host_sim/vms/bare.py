"""Python snippets on a real MicroPython or CircuitPython, with no board: for tests and measurements."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..node import find_node, npm_file
from .executable import words_of

_BUILD = "@micropython/micropython-webassembly-pyscript/micropython.mjs"
HEAP_BYTES = 4 << 20

# Some builds have no sockets. What only imports the name gets by with any module in its place.
WITHOUT_SOCKETS = """
import sys
try:
    import socket
except ImportError:
    sys.modules["socket"] = sys
"""

# Runs the snippets on an executable, in one process and one namespace as the WebAssembly build does.
_DRIVER = """
import gc, sys
sys.path[:0] = {path!r}
names = {{"__name__": "__main__"}}
for number in range({count}):
    with open("{folder}/%d.txt" % number) as file:
        code = file.read()
    exec(code, names)
    gc.collect()
"""


@dataclass(frozen=True)
class BareResult:
    """What the snippets printed, the error that ended them included, and whether all of them ran."""

    stdout: str
    ok: bool


def run_bare(
    snippets: Sequence[str],
    trees: Mapping[str, Path],
    path: Sequence[str] | None = None,
    heap_bytes: int = HEAP_BYTES,
    timeout_s: float = 60.0,
    executable: str | None = None,
) -> BareResult:
    """Run `snippets` one after another in one VM; `trees` maps folders or files there to those here.

    `path` are the folders there that modules are looked for in, else all of `trees`. Garbage is collected between
    snippets. The VM is the WebAssembly build, or `executable`, a micropython or circuitpython. `heap_bytes` are those
    of a 32-bit one, a 64-bit one has twice as many; the WebAssembly build's heap grows when they do not suffice.
    After `timeout_s` of real time the VM is killed: a MemoryError under a locked heap, for one, hangs it.
    """
    files = dict(_files(trees))
    folders = list(trees) if path is None else list(path)
    if executable is None:
        job = {
            "package": str(npm_file(_BUILD)),
            "heap_bytes": heap_bytes,
            "files": {name: str(source) for name, source in files.items()},
            "path": folders,
            "snippets": list(snippets),
        }
        command = [find_node(), str(Path(__file__).with_suffix(".mjs"))]
        return _finish(command, json.dumps(job), timeout_s)
    with tempfile.TemporaryDirectory(prefix="bare-") as root:
        driver = _lay_out(Path(root), snippets, files, folders)
        heap = f"heapsize={heap_bytes * words_of(executable)}"
        return _finish([executable, "-X", heap, str(driver)], "", timeout_s)


def _lay_out(root: Path, snippets: Sequence[str], files: Mapping[str, Path], folders: list[str]) -> Path:
    """Copy files and snippets under `root`; the script there that runs the snippets."""
    for name, source in files.items():
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for number, snippet in enumerate(snippets):
        (root / f"{number}.txt").write_text(snippet, encoding="utf-8")
    path = [str(root / folder.lstrip("/")) for folder in folders]
    driver = root / "driver.py"
    driver.write_text(
        _DRIVER.format(path=path, count=len(snippets), folder=root.as_posix()), encoding="utf-8"
    )
    return driver


def _finish(command: list[str], text: str, timeout_s: float) -> BareResult:
    try:
        done = subprocess.run(
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as e:
        seen = e.stdout.decode(errors="replace") if isinstance(e.stdout, bytes) else e.stdout or ""
        return BareResult(f"{seen}\nkilled: the VM ran for more than {timeout_s:.0f} s\n", False)
    return BareResult(done.stdout, done.returncode == 0)


def _files(trees: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    for name, source in trees.items():
        if source.is_file():
            yield name, source
            continue
        for file in sorted(source.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield f"{name}/{file.relative_to(source).as_posix()}", file
