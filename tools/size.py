"""What the library costs a board: flash, code lines and RAM, measured; regenerates the table in docs/memory.md.

    python tools/size.py [--print]

The files are those that a user copies (`tools/build_mpy.py`), and the same in a ROMFS, as `mpremote romfs build` makes
it: the image itself, which is in flash on a board, lies in the heap before anything is counted. RAM is what stays
allocated on the real MicroPython, the 32-bit WebAssembly build, after garbage was collected: objects are as large as on
an ESP32, except that a float takes 16 bytes of heap here and is part of the reference there on some boards.
"""

from __future__ import annotations

import ast
import contextlib
import io
import sys
import tempfile
import tokenize
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import build_mpy  # noqa: E402
from mpremote.romfs import make_romfs  # noqa: E402
from written import Part, write_table  # noqa: E402

from host_sim.vms.bare import WITHOUT_SOCKETS, run_bare  # noqa: E402

PART = Part(
    ROOT / "docs" / "memory.md", "<!-- size: make size writes from here -->", "<!-- size: to here -->"
)

BOARDS = [
    ROOT / "boards" / f"{name}.py" for name in ("esp32_ram_ring", "esp32", "esp32_flash_ring", "pico_w")
]
# When each module comes into memory. Those of the last group are given back (client.py).
GROUPS = {
    "every client": (
        *(
            "__init__",
            "ports/__init__",
            "ports/micropython",
            "errors",
            "client",
            "recorder",
            "clock",
            "points",
            "series",
        ),
        *("blocks", "crc", "log", "ring", "outbox", "decoder", "link", "http"),
    ),
    "a WebSocket (`transport` is not `http`)": ("session", "ws"),
    "a ring in files": ("fileblocks",),
    "`https`": ("tls", "build", "ports/micropython_tls"),
    "Wi-Fi networks in the settings": ("wifi",),
    "the first trouble with connection or gateway, then given back": ("trouble",),
    "an answer by HTTP, or the one that begins a WebSocket and given back then": ("answers",),
    "the beginning of a WebSocket, then given back": ("handshake",),
    "the first time that a gateway tells, with a WebSocket given back": ("sync",),
    "the first time that HTTP tells, with a WebSocket given back": ("dates",),
    "times that change, then given back": ("times",),
    "`flush_buffer()`, `close()`": ("closing",),
    "the first of the calls below": ("more",),
    "`run()` or `session()`": ("runs",),
    "runs and sessions on their way to the gateway": ("calls", "state"),
    "`on_status()`, `stats`": ("monitor", "ports/micropython_more"),
    "`serve()`": ("serving",),
    "`batch()`": ("batching",),
    "`suspend()`, `sleep_ready()`": ("sleep",),
    "`session=`, a `requests` module": ("requests_http",),
    "arguments of plexus-python": ("peer",),
    "the first reading of a name, then given back": ("names",),
    "a reading with a text or a time of its own": ("checks",),
    "readings of an earlier boot that never had the time": ("survey",),
    "commands, with the first that is declared": ("commands", "runner", "runbook", "params"),
    "the first picture": ("video",),
    "each declaration of a command, then given back": ("declare",),
    "making a client, then given back": (
        "assemble",
        "settings",
        "mount",
        "identity",
        "ports/micropython_boot",
    ),
}

# Collecting takes effect when Python returns to JavaScript, so the number is read in a snippet of its own.
_COLLECT = "import gc\ngc.collect()"
_READ = "import micropython\nmicropython.qstr_info()\nprint('live', gc.mem_alloc())"
# The VM's table of names grows by doubling: made large beforehand, it shows in no module's number.
_MANY_NAMES = """
for number in range(3000):
    setattr(Partition, "name_%d" % number, None)
del Partition, Esp32, sys.modules["esp32"]
"""
_ROMFS = """
import vfs
with open("/lib.romfs", "rb") as file:
    image = file.read()
vfs.mount(vfs.VfsRom(image), "/rom")
del file
"""
# What a board has built in is Python code in this build. The partition lies in the heap, and is there before.
_BUILT_IN = """
import array, binascii, collections, io, json, math, os, random, select, struct, sys, time
class Partition:
    TYPE_DATA = 1
    mem = bytearray(b"\\xff" * 0x40000)
    def find(kind, label=None):
        return [Partition()]
    def info(self):
        return (1, 0x40, 0, 0x40000, "plexus", False)
    def readblocks(self, n, buf, off=0):
        buf[:] = self.mem[n * 4096 + off : n * 4096 + off + len(buf)]
    def writeblocks(self, n, buf, off=0):
        self.mem[n * 4096 + off : n * 4096 + off + len(buf)] = buf
    def ioctl(self, op, arg):
        return {4: 64, 5: 4096}.get(op, 0)
class Esp32:
    pass
Esp32.Partition = Partition
sys.modules["esp32"] = Esp32
"""
_CLIENT = """
px = Plexus("plx_0123456789abcdefghijklmnopqrstuv", "greenhouse-1", "http://192.168.1.20:8080", tick_ms=0)
del Plexus
"""
_SEND = (
    "px._recorder.send_batch([('temperature', 1.5), ('humidity', 2.5), ('pressure', 3.5)], None, None, None)"
)
_BUFFERS = """
ring = px._recorder.ring
for name, buffers in (
    ("ring", [getattr(ring._dev, "_mem", b"")]),
    ("frame", [px._outbox.frame]),
    ("page, and the commit being read", [ring.page, ring.buf]),
    ("answers", [px._link._http._buf]),
):
    print("buffer", sum(len(b) for b in buffers), name)
for name in sys.modules:
    if name.startswith("plexus_mp"):
        print("loaded", name[10:])
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
    # What a function imports is loaded when that is called.
    return {n.module for n in tree.body if isinstance(n, ast.ImportFrom) and n.level == 1 and n.module}


def _run(
    snippets: list[str], lib: Path, *before: str, board: Path | None = None
) -> tuple[list[int], list[list[str]]]:
    """RAM in use before the first snippet and after each, and the words of what else they printed.

    `lib` is the folder in which the library lies, or an image of it.
    """
    trees = {"/lib": lib} if lib.is_dir() else {"/lib.romfs": lib}
    if board:
        trees["/board/plexus_board.py"] = board
    mounted = [] if lib.is_dir() else [_ROMFS]
    steps = [WITHOUT_SOCKETS, _BUILT_IN, *mounted, *before, _COLLECT, _COLLECT, _READ]
    for snippet in snippets:
        steps += [snippet, _COLLECT, _READ]
    result = run_bare(steps, trees, path=["/lib", "/rom", "/board"])
    if not result.ok:
        raise RuntimeError(result.stdout)
    lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()]
    return [int(words[1]) for words in lines if words[0] == "live"], lines


def image(lib: Path) -> Path:
    """What `mpremote romfs build` makes of the folder `lib`, beside it."""
    path = lib.with_suffix(".romfs")
    with contextlib.redirect_stdout(io.StringIO()):  # it draws a tree
        path.write_bytes(make_romfs(str(lib), mpy_cross=None))
    return path


def without_init(lib: Path) -> None:
    """The package's own __init__ would import everything at once."""
    (lib / "plexus_mp" / "__init__.mpy").write_bytes(build_mpy._compile(""))


def module_bytes(lib: Path, modules: list[str]) -> dict[str, int]:
    """RAM that importing each module keeps, those it imports apart; `lib` is a folder or an image `without_init`."""
    order = [
        "ports",
        *(f"ports.micropython_{part}" for part in ("boot", "tls", "more")),
        *import_order(modules),
    ]
    imports = ["import plexus_mp", *(f"import plexus_mp.{name}" for name in order)]
    live, _ = _run(imports, lib, _MANY_NAMES)
    found = {name: after - before for name, before, after in zip(order, live[1:-1], live[2:], strict=True)}
    # The port is measured together with the package that picks it.
    return {
        "ports/micropython" if name == "ports" else name.replace(".", "/"): size
        for name, size in found.items()
    }


def table() -> str:
    """The measured tables, as Markdown."""
    with tempfile.TemporaryDirectory(prefix="size-") as folder:
        lib = Path(folder) / "lib"
        build_mpy.build(lib / "plexus_mp")
        files = {path.with_suffix("").as_posix(): path for path in build_mpy.sources()}
        unsaid = set(files) ^ {name for names in GROUPS.values() for name in names}
        if unsaid:
            raise ValueError(f"GROUPS must say when it is loaded, or not: {sorted(unsaid)}")
        flash = {name: (lib / "plexus_mp" / f"{name}.mpy").stat().st_size for name in files}
        clients = {board.name: _client(lib, board) for board in BOARDS}
        rom_clients = {board.name: _client(image(lib), board) for board in BOARDS}
        without_init(lib)
        modules = [name for name in files if "/" not in name and name != "__init__"]
        ram, rom = module_bytes(lib, modules), module_bytes(image(lib), modules)
    tables = _files_table(flash, ram), _client_table(clients, ram), _rom_table(ram, rom, clients, rom_clients)
    return "\n".join(tables)


def _files_table(flash: dict[str, int], ram: dict[str, int]) -> str:
    rows = ["| file | code lines | .mpy bytes | RAM, bytes |", "|---|--:|--:|--:|"]
    for group, names in GROUPS.items():
        sums = [0, 0, 0]
        for name in sorted(names):
            cost = [code_lines(build_mpy.SOURCE / f"{name}.py"), flash[name], ram.get(name, 0)]
            sums = [a + b for a, b in zip(sums, cost, strict=True)]
            rows.append(f"| {name}.py | {cost[0]} | {cost[1]} | {cost[2] or ''} |")
        rows.append(f"| **{group}** | {sums[0]} | {sums[1]} | {sums[2]} |")
    return "\n".join(rows) + "\n"


@dataclass
class _Client:
    """What a client with a board file's settings keeps in RAM, in bytes; `modules` are those that it loaded."""

    all: int
    readings: int
    buffers: dict[str, int]
    modules: list[str]


def _client(lib: Path, board: Path) -> _Client:
    live, _ = _run(["from plexus_mp import Plexus", _CLIENT, _SEND], lib, board=board)
    _, lines = _run(["from plexus_mp import Plexus", _CLIENT, _BUFFERS], lib, board=board)
    buffers = {words[2]: int(words[1]) for words in lines if words[0] == "buffer"}
    modules = [words[1].replace(".", "/") for words in lines if words[0] == "loaded" and len(words) > 1]
    # n_pool=8, n_qstr=2661, n_str_data_bytes=25091, n_total_bytes=61043
    told = [dict(item.split("=") for item in words[2].split(", ")) for words in lines if words[0] == "qstr"]
    first, *_, last = [int(names["n_total_bytes"]) - int(names["n_str_data_bytes"]) for names in told]
    buffers["the VM's table of names"] = last - first
    return _Client(live[2] - live[0], live[3] - live[2], buffers, modules)


def _client_table(clients: dict[str, _Client], ram: dict[str, int]) -> str:
    columns = []
    for found in clients.values():
        code = sum(ram.get(name, 0) for name in found.modules)
        rest = found.all - code - sum(found.buffers.values())
        columns.append(
            {"code": code, **found.buffers, "other objects": rest, "**all**": found.all}
            | {"more with the first readings of three names": found.readings}
        )
    rows = ["| a client as of | " + " | ".join(clients) + " |", "|---|" + "--:|" * len(clients)]
    rows += [
        f"| {name} | " + " | ".join(str(column[name]) for column in columns) + " |" for name in columns[0]
    ]
    return "\n".join(rows) + "\n"


def _rom_table(
    ram: dict[str, int], rom: dict[str, int], clients: dict[str, _Client], rom_clients: dict[str, _Client]
) -> str:
    rows = ["| RAM, bytes | as files | from ROMFS |", "|---|--:|--:|"]
    stays = [0, 0]
    for group, names in GROUPS.items():
        sums = [sum(found.get(name, 0) for name in names) for found in (ram, rom)]
        rows.append(f"| {group} | {sums[0]} | {sums[1]} |")
        if "given back" not in group:
            stays = [a + b for a, b in zip(stays, sums, strict=True)]
    rows.append(f"| **all of these but what is given back** | {stays[0]} | {stays[1]} |")
    for board, found in clients.items():
        rows.append(
            f"| **a client as of {board}, with its buffers** | {found.all} | {rom_clients[board].all} |"
        )
    return "\n".join(rows) + "\n"


def main() -> None:
    if write_table("Measure the library and write the table of docs/memory.md.", PART, table):
        build_mpy.build()


if __name__ == "__main__":
    main()
