"""Firmware in this process: CPython code that believes it runs on MicroPython.

Each boot gets modules of its own, so boards do not share any; compiled code is shared. The firmware sees the
shims, the board's files, and the few standard modules that MicroPython has too.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import io
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..board.board import Board
from ..board.config import PORTS
from . import shortcuts

_SHIMS = Path(__file__).parent.parent / "shims"
# What MicroPython on an ESP32 has, and behaves the same here.
_STANDARD = frozenset(
    {"array", "binascii", "cmath", "collections", "errno", "functools", "hashlib", "heapq", "io"}
    | {"itertools", "json", "math", "re", "struct"}
)
_CODE: dict[tuple[str, float], types.CodeType] = {}


def compiled(path: Path) -> types.CodeType:
    key = (str(path), path.stat().st_mtime)
    code = _CODE.get(key)
    if code is None:
        code = _CODE[key] = compile(path.read_text(), str(path), "exec")
    return code


class CPythonVm:
    """The `cpython` VM: one boot of one board."""

    def __init__(self) -> None:
        self.modules: dict[str, types.ModuleType] = {}
        self._builtins: dict[str, Any] = {}

    def run(self, board: Board) -> None:
        self._board = board
        self._builtins = dict(vars(builtins))
        self._builtins["__import__"] = self._import
        self._builtins["print"] = self._print
        self._add_modules()
        self._builtins["open"] = self._load("_files").File
        self._load("_start").run(self._run_file)

    def kill(self) -> None:
        """Nothing to stop: the board's fibre is never resumed."""

    def _add_modules(self) -> None:
        board = self._board
        self._module("_link", bind=self._bind, as_data=lambda data: data, FileBase=object)
        self._module(
            "micropython",
            const=lambda value: value,
            schedule=lambda f, arg: f(arg),
            alloc_emergency_exception_buf=lambda size: None,
        )
        self._module(
            "gc",
            collect=lambda: 0,
            mem_free=lambda: board.config.heap_bytes // 2,
            mem_alloc=lambda: board.config.heap_bytes // 2,
            threshold=lambda *_: -1,
            enable=gc.enable,
            isenabled=lambda: True,
            disable=lambda: None,
        )
        implementation = types.SimpleNamespace(
            name="micropython", version=(1, 29, 0, ""), _machine=board.config.machine, _mpy=774
        )
        self._module(
            "sys",
            implementation=implementation,
            platform=board.config.port,
            version="3.4.0; MicroPython v1.29.0",
            version_info=(3, 4, 0),
            byteorder=sys.byteorder,
            maxsize=(1 << 31) - 1,
            path=["", "/lib"],
            modules=self.modules,
            argv=[],
            exit=sys.exit,
            print_exception=self._print_exception,
            stdout=types.SimpleNamespace(write=board.console),
            stderr=types.SimpleNamespace(write=board.console),
        )

    def _bind(self, operation: str, on_due: Callable[[list[int]], None]) -> Callable[..., Any]:
        return self._board.bind(operation, on_due)

    def _module(self, name: str, **contents: Any) -> types.ModuleType:
        module = types.ModuleType(name)
        vars(module).update(contents, __builtins__=self._builtins)
        self.modules[name] = module
        return module

    # output

    def _print(self, *values: Any, sep: str = " ", end: str = "\n", file: Any = None) -> None:
        text = str(values[0]) if len(values) == 1 else (sep or "").join(map(str, values))
        if end:
            text += end
        if file is None:
            self._board.console(text)
        else:
            file.write(text)

    def _print_exception(self, error: BaseException, file: Any = None) -> None:
        buffer = io.StringIO()
        traceback.print_exception(error, file=buffer)
        self._print(buffer.getvalue(), end="", file=file)

    # imports

    def _run_file(self, name: str) -> None:
        source = self._source("/" + name)
        if source is not None:
            main = self._module("__main__", __name__="__main__", __file__=name)
            exec(source, vars(main))

    def _source(self, path: str) -> types.CodeType | None:
        """The code of a board's file, None when there is no such file."""
        host = self._board.files.host_path(path)
        if host is not None:
            return compiled(host)
        try:
            text = self._board.files.read(path)
        except OSError:
            return None
        return compile(text, path, "exec")

    def _import(
        self,
        name: str,
        globals: dict[str, Any] | None = None,
        locals: Any = None,
        fromlist: tuple[str, ...] = (),
        level: int = 0,
    ) -> types.ModuleType:
        if level:
            assert globals is not None
            package = globals["__package__"].split(".")
            name = ".".join(package[: len(package) + 1 - level] + ([name] if name else []))
        parts = name.split(".")
        for i in range(len(parts)):
            module = self._load(".".join(parts[: i + 1]))
        if not fromlist:
            return self.modules[parts[0]]
        for item in fromlist:
            if item != "*" and not hasattr(module, item) and hasattr(module, "__path__"):
                self._load(f"{name}.{item}")
        return module

    def _load(self, name: str) -> types.ModuleType:
        found = self.modules.get(name)
        if found is not None:
            return found
        module = self._renamed(name) or self._from_shims(name)
        module = module or self._from_files(name) or self._from_standard(name)
        if module is None:
            raise ImportError(f"no module named '{name}'")
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(self.modules[parent], child, module)
        return module

    def _renamed(self, name: str) -> types.ModuleType | None:
        """MicroPython's old names: utime, uos, usys."""
        plain = name[1:]
        if name.startswith("u") and (plain == "sys" or (_SHIMS / f"{plain}.py").exists()):
            self.modules[name] = self._load(plain)
        return self.modules.get(name)

    def _from_shims(self, name: str) -> types.ModuleType | None:
        path = _SHIMS / f"{name}.py"
        if not path.exists() or (name in PORTS and name != self._board.config.port):
            return None
        return self._execute(name, compiled(path), str(path), False)

    def _from_files(self, name: str) -> types.ModuleType | None:
        relative = name.replace(".", "/")
        for root in self.modules["sys"].path:
            base = f"{root}/{relative}"
            for path, is_package in ((f"{base}/__init__.py", True), (f"{base}.py", False)):
                source = self._source(path)
                if source is not None:
                    return self._execute(name, source, path, is_package)
        return None

    def _execute(self, name: str, code: types.CodeType, path: str, is_package: bool) -> types.ModuleType:
        package = name if is_package else name.rpartition(".")[0]
        module = self._module(name, __file__=path, __package__=package)
        if is_package:
            module.__path__ = [path]
        try:
            exec(code, vars(module))
        except BaseException:
            del self.modules[name]
            raise
        shortcuts.take(name, module)
        return module

    def _from_standard(self, name: str) -> types.ModuleType | None:
        plain = name.removeprefix("u")  # MicroPython's old names: ujson, ustruct
        if plain not in _STANDARD:
            return None
        module = self.modules[name] = importlib.import_module(plain)
        return module
