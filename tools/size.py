"""What the library costs a board: flash, code lines and RAM, measured; regenerates the table in docs/memory.md.

    python tools/size.py [--print]

The files are those that a user copies (`tools/build_mpy.py`). RAM is what stays allocated on the real MicroPython,
the 32-bit WebAssembly build, after garbage was collected: objects are as large as on an ESP32, except that a
float takes 16 bytes of heap here and is part of the reference there on some boards.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tempfile
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import build_mpy  # noqa: E402

from host_sim.vms.bare import WITHOUT_SOCKETS, run_bare  # noqa: E402

DOCUMENT = ROOT / "docs" / "memory.md"
BEGIN, END = "<!-- size: make size writes from here -->", "<!-- size: to here -->"

# Collecting takes effect when Python returns to JavaScript, so the number is read in a snippet of its own.
_COLLECT = "import gc\ngc.collect()"
_READ = "print('live', gc.mem_alloc())"
_CLIENT = """
from plexus_mp import Plexus
px = Plexus("plx_0123456789abcdefghijklmnopqrstuv", "greenhouse-1", "http://192.168.1.20:8080", tick_ms=0)
del Plexus
"""
_BUFFERS = """
ring = px._recorder.ring
encoder = px._recorder._encoder
for name, buffers in (
    ("ring", [ring._dev._mem]),
    ("frame", [px._outbox.frame]),
    ("page", [ring.page]),
    ("record being read", [px._outbox._read]),
    ("receive", [px._link._http._buf]),
    ("series (known, latest ticks)", [encoder._defined, bytes(encoder._last)]),
):
    print("buffer", sum(len(b) for b in buffers), name)
views = len(ring._views) + len(ring._short_views)
print("buffer", 20 * views, "views of the page")
"""


def code_lines(path: Path) -> int:
    """Lines with code: not blank, not only comment, not docstring."""
    text = path.read_text(encoding="utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node) is not None
        ):
            docstrings.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    silent = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def import_order(names: list[str]) -> list[str]:
    """Modules of the package so that each comes after all that it imports."""
    needs = {name: _relative_imports(name) & set(names) for name in names}
    ordered: list[str] = []
    while needs:
        ready = sorted(name for name, needed in needs.items() if needed <= set(ordered))
        if not ready:
            raise ValueError(f"imports go round in {sorted(needs)}")
        ordered += ready
        for name in ready:
            del needs[name]
    return ordered


def _relative_imports(name: str) -> set[str]:
    tree = ast.parse((build_mpy.SOURCE / f"{name}.py").read_text(encoding="utf-8"))
    return {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 1 and n.module}


def _live_bytes(snippets: list[str], lib: Path) -> list[int]:
    """RAM in use before the first snippet and after each."""
    steps = [WITHOUT_SOCKETS, _COLLECT, _COLLECT, _READ]
    for snippet in snippets:
        steps += [snippet, _COLLECT, _READ]
    return [int(line.split()[1]) for line in _run(steps, lib) if line.startswith("live ")]


def _run(snippets: list[str], lib: Path) -> list[str]:
    result = run_bare(snippets, {"/lib": lib})
    if not result.ok:
        raise RuntimeError(result.stdout)
    return result.stdout.splitlines()


def module_bytes(lib: Path, modules: list[str]) -> dict[str, int]:
    """RAM that importing each module keeps, those it imports apart; `lib` is changed."""
    # The package's own __init__ would import everything at once.
    (lib / "plexus_mp" / "__init__.mpy").unlink()
    (lib / "plexus_mp" / "__init__.py").write_text("", encoding="utf-8")
    order = ["ports", *import_order(modules)]
    live = _live_bytes(["import plexus_mp", *(f"import plexus_mp.{name}" for name in order)], lib)
    return {name: after - before for name, before, after in zip(order, live[1:-1], live[2:], strict=True)}


def table() -> str:
    """The measured table, as Markdown."""
    with tempfile.TemporaryDirectory(prefix="size-") as folder:
        lib = Path(folder)
        build_mpy.build(lib / "plexus_mp")
        before, imported, constructed = _live_bytes(["import plexus_mp", _CLIENT], lib)
        printed = _run([WITHOUT_SOCKETS, _CLIENT, _BUFFERS], lib)
        flash = {
            path: (lib / "plexus_mp" / path).with_suffix(".mpy").stat().st_size
            for path in build_mpy.sources()
        }
        ram = module_bytes(
            lib, [path.stem for path in flash if path.parent == Path(".") and path.stem != "__init__"]
        )
    buffers = [line.split(maxsplit=2)[1:] for line in printed if line.startswith("buffer ")]
    return _files_table(flash, ram, imported - before) + "\n" + _client_table(constructed - imported, buffers)


def _files_table(flash: dict[Path, int], ram: dict[str, int], imported: int) -> str:
    rows = ["| file | code lines | .mpy bytes | RAM after import, bytes |", "|---|--:|--:|--:|"]
    total = 0
    for path, size in flash.items():
        lines = code_lines(build_mpy.SOURCE / path)
        total += lines
        # The port is measured together with the package that picks it.
        kept = ram.get("ports" if path == Path("ports/micropython.py") else path.stem)
        rows.append(
            f"| {path} | {lines} | {size} | {'' if kept is None or path.stem == '__init__' else kept} |"
        )
    rows.append(f"| **all** | {total} | {sum(flash.values())} | {imported} |")
    return "\n".join(rows) + "\n"


def _client_table(constructed: int, buffers: list[list[str]]) -> str:
    rows = ["| a client with the default sizes | RAM, bytes |", "|---|--:|"]
    rows += [f"| {name} | {size} |" for size, name in buffers]
    rest = constructed - sum(int(size) for size, _ in buffers)
    return "\n".join([*rows, f"| other objects | {rest} |", f"| **all** | {constructed} |"]) + "\n"


def documented() -> str:
    """The table that docs/memory.md has now."""
    return DOCUMENT.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the library and write the table of docs/memory.md.")
    parser.add_argument("--print", action="store_true", help="leave docs/memory.md as it is")
    only_print = parser.parse_args().print
    measured = table()
    print(measured)
    if not only_print:
        before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        DOCUMENT.write_text(f"{before}{BEGIN}\n{measured}\n{END}{after}", encoding="utf-8")
        build_mpy.build()


if __name__ == "__main__":
    main()
