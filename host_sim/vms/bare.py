"""Python snippets on a real MicroPython or CircuitPython, with no board: for tests and measurements."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..node import find_node, npm_file

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
    heap_bytes: int = HEAP_BYTES,
    timeout_s: float = 60.0,
    executable: str | None = None,
) -> BareResult:
    """Run `snippets` one after another in one VM; `trees` maps folders or files there to those here.

    The folders of `trees`, and those around its files, are the VM's `sys.path`. Garbage is collected between
    snippets. The VM is the WebAssembly build, or `executable`, a micropython or circuitpython; the WebAssembly
    build's heap grows when `heap_bytes` do not suffice. After `timeout_s` of real time the VM is killed: a
    MemoryError under a locked heap, for one, hangs it.
    """
    if executable is None:
        return _run_webassembly(snippets, trees, heap_bytes, timeout_s)
    with tempfile.TemporaryDirectory(prefix="bare-") as folder:
        return _run_executable(executable, Path(folder), snippets, trees, heap_bytes, timeout_s)


def _run_webassembly(
    snippets: Sequence[str], trees: Mapping[str, Path], heap_bytes: int, timeout_s: float
) -> BareResult:
    job = {
        "package": str(npm_file(_BUILD)),
        "heap_bytes": heap_bytes,
        "files": {name: str(source) for name, source in _files(trees)},
        "path": _search_path(trees),
        "snippets": list(snippets),
    }
    command = [find_node(), str(Path(__file__).with_suffix(".mjs"))]
    return _finish(command, json.dumps(job), timeout_s)


def _run_executable(
    executable: str,
    folder: Path,
    snippets: Sequence[str],
    trees: Mapping[str, Path],
    heap_bytes: int,
    timeout_s: float,
) -> BareResult:
    for name, source in _files(trees):
        target = folder / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for number, snippet in enumerate(snippets):
        (folder / f"{number}.txt").write_text(snippet)
    path = [str(folder / name.lstrip("/")) for name in _search_path(trees)]
    driver = folder / "driver.py"
    driver.write_text(_DRIVER.format(path=path, count=len(snippets), folder=folder.as_posix()))
    return _finish([executable, "-X", f"heapsize={heap_bytes}", str(driver)], "", timeout_s)


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


def _search_path(trees: Mapping[str, Path]) -> list[str]:
    folders = [str(PurePosixPath(name).parent) if tree.is_file() else name for name, tree in trees.items()]
    return list(dict.fromkeys(folders))
