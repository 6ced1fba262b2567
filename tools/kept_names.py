"""Which names of the package mean something elsewhere, and which every firmware knows: for `shorten.py`.

What a name is kept for: it is one of Python or of a foreign module, a string is that name, or other texts that run on
a board, or tell a user what to write there, reach it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import keyword
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

_NAME = re.compile(r"[A-Za-z_][\w.]*")
_REACHED = re.compile(r"(?:\.|\bimport |, )([A-Za-z_]\w*)|\b([A-Za-z_]\w*)\(")
_PASSED = re.compile(r"\b([A-Za-z_]\w*) ?=")
_CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
DEFS = (ast.FunctionDef, ast.AsyncFunctionDef)

Position = tuple[int, int]  # line from 1, byte in it


@dataclass
class Module:
    """What one file binds and uses."""

    path: PurePath
    source: str
    tree: ast.Module
    globals: set[str] = field(default_factory=set)  # bound here, or imported from the package
    foreign: set[str] = field(default_factory=set)  # modules and names imported from elsewhere
    names: set[str] = field(default_factory=set)  # every bare identifier
    edits: dict[Position, tuple[str, str]] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)  # the edited names that are more than a parameter's


def survey(path: PurePath, source: str) -> Module:
    module = Module(path, source, ast.parse(source, str(path)))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            for alias in node.names:
                (module.foreign if alias.asname else module.globals).update(
                    (alias.asname or alias.name, alias.name)
                )
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            module.foreign.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
            module.foreign.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Name):
            module.names.add(node.id)
        elif isinstance(node, ast.arg):
            module.names.add(node.arg)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            module.names.update(node.names)
    module.globals |= bound(module.tree.body)
    module.names |= module.globals | module.foreign
    return module


def bound(body: list[ast.stmt]) -> set[str]:
    """Names that the statements of a module or class body bind, those within functions apart."""
    found = set()
    for node in _outside_functions(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, (ast.ClassDef, *DEFS)):
            found.add(node.name)
    return found


def _outside_functions(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in body:
        yield node
        if not isinstance(node, (ast.ClassDef, ast.Lambda, *DEFS)):
            yield from _outside_functions(ast.iter_child_nodes(node))


def words(text: str, is_python: bool) -> tuple[set[str], set[str]]:
    """(names by which a text may reach into the package, what it passes by keyword).

    Those of a Python text, or of the code in a Markdown one. Private names of a text that never mentions the package
    are its own.
    """
    if is_python:
        names, passed = _words(ast.parse(text))
        return names if "plexus" in text else {n for n in names if not n.startswith("_")}, passed
    code = "\n".join(map("".join, _CODE.findall(text)))
    return set(map("".join, _REACHED.findall(code))), set(_PASSED.findall(code))


def _words(tree: ast.Module) -> tuple[set[str], set[str]]:
    names, passed = set(_string_names(tree)) | bound(tree.body), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, (ast.ClassDef, *DEFS)):
            names |= {node.name} | (bound(node.body) if isinstance(node, ast.ClassDef) else set())
        elif isinstance(node, ast.alias):
            names.update(node.name.split("."))
        elif isinstance(node, ast.keyword) and node.arg:
            passed.add(node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(
                map("".join, _REACHED.findall(node.value))
            )  # code, perhaps, that a tool sends to a board
            passed.update(_PASSED.findall(node.value))
    return names, passed


def _string_names(tree: ast.Module) -> Iterator[str]:
    """Strings that are a name, dotted perhaps; another may be made of it by changing its case."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            for word in node.value.split("."):
                yield from (word, word.lower(), word.upper())


def kept_names(modules: list[Module]) -> set[str]:
    """Names that mean something outside of the package, or that strings may make."""
    kept = (
        set(keyword.kwlist)
        | set(dir(builtins))
        | {name for kind in vars(builtins).values() if isinstance(kind, type) for name in dir(kind)}
    )
    for module in modules:
        kept.update(module.foreign, module.path.parts, (module.path.stem,), _string_names(module.tree))
        kept.update(_folded(module.tree))
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0):
                for alias in node.names:
                    kept |= _contents(getattr(node, "module", None) or alias.name)
            elif isinstance(node, ast.Attribute) and _root(node) in module.foreign:
                kept.add(node.attr)
            elif isinstance(node, ast.ClassDef):
                kept |= _bare(node) if _only_known_bases(node, modules) else members(node)
    return kept


def _folded(tree: ast.Module) -> Iterator[str]:
    """`_NAME = const(...)`: the compiler leaves no trace of them, as long as the name begins with an underscore."""
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and _last(node.value.func) == "const"
        ):
            yield from (n.id for n in node.targets if isinstance(n, ast.Name) and n.id.startswith("_"))


def _bare(node: ast.ClassDef) -> set[str]:
    """What a class body names without `self`."""
    decorators = [d for f in node.body if isinstance(f, DEFS) for d in f.decorator_list]
    return {n.id for n in _outside_functions([*node.body, *decorators]) if isinstance(n, ast.Name)}


def _root(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _contents(name: str) -> set[str]:
    """What a module of CPython and its classes have; nothing when it has no such module."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return set()
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return set(dir(module)) | {member for kind in classes for member in dir(kind)}


def _only_known_bases(node: ast.ClassDef, modules: list[Module]) -> bool:
    known = {n.name for m in modules for n in m.tree.body if isinstance(n, ast.ClassDef)}
    return all(isinstance(base, ast.Name) and base.id in known for base in node.bases)


def members(node: ast.ClassDef) -> set[str]:
    """What the class body binds, and its methods on their first argument."""
    found = bound(node.body)
    for method in node.body:
        if isinstance(method, DEFS) and method.args.args:
            first = method.args.args[0].arg
            for inner in ast.walk(method):
                if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                    found.update({inner.attr} if _root(inner.value) == first == _last(inner.value) else ())
    return found


def keywords(modules: list[Module]) -> set[str]:
    """What is passed by keyword, and the parameters of what is called with a dict of them."""
    nodes = [n for m in modules for n in ast.walk(m.tree)]
    calls = [n for n in nodes if isinstance(n, ast.Call) and n.keywords]
    found = {k.arg for call in calls for k in call.keywords if k.arg}
    spread = {_last(c.func) for c in calls if any(k.arg is None for k in c.keywords)}
    called = [n for n in nodes if isinstance(n, DEFS) and n.name in spread]
    return found | {a.arg for function in called for a in ast.walk(function) if isinstance(a, ast.arg)}


def _last(node: ast.expr) -> str:
    """The name by which a function is called."""
    return getattr(node, "attr", getattr(node, "id", ""))


def static_names(run: Callable[[str], bytes]) -> list[str]:
    """Names that the .mpy format gives a number, so that every firmware that loads it has them.

    `run` compiles a text to .mpy. Format: docs.micropython.org/en/latest/reference/mpyfiles.html.
    """
    kinds = [value for value in vars(builtins).values() if isinstance(value, type)]
    candidates = {n for kind in (builtins, *kinds) for n in dir(kind)}
    for kind in kinds:
        for member in (kind, *vars(kind).values()):
            candidates.update(_parameters(member))
    for function in vars(builtins).values():
        candidates.update(_parameters(function))
    wanted = sorted(n for n in candidates if n.isidentifier() and n[0] != "_" and n.islower())
    mpy = run("\n".join(wanted))
    return [
        name for name in wanted if name.encode() + b"\0" not in mpy
    ]  # a name without a number stands there


def _parameters(function: object) -> list[str]:
    try:
        return list(inspect.signature(function).parameters) if callable(function) else []
    except ValueError:  # builtins without one
        return []
