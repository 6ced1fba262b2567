"""Shorter names for what a board loads: each name that is new to a firmware costs about 18 bytes of its RAM.

`shorten(sources, others)` gives the package's files with the names that only the package uses replaced by ones
that every firmware knows already, each on its own line and line by line, so that tracebacks keep their line
numbers. What is a name of Python or of a foreign module, stands in a string, is passed by keyword, is part of the exported
classes or occurs in `others` (whatever else runs on a board, or tells a user what to write there) is kept.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import itertools
import keyword
import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

_NAME = re.compile(r"[A-Za-z_][\w.]*")
_REACHED = re.compile(r"(?:\.|\bimport |, )([A-Za-z_]\w*)|\b([A-Za-z_]\w*)\(")
_PASSED = re.compile(r"\b([A-Za-z_]\w*) ?=")
_CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
_DEFS = (ast.FunctionDef, ast.AsyncFunctionDef)
_TYPES = (object, str, bytes, bytearray, memoryview, list, dict, set, frozenset, tuple, int, float, range, type)
_ANYWHERE = "*"

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


def shorten(
    sources: Mapping[PurePath, str], others: Iterable[str], known: Iterable[str]
) -> dict[PurePath, str]:
    """The files of the package, `{path within it: text}`, with short names; `known` cost nothing.

    Raises `ValueError` for what it cannot see through.
    """
    modules = [_survey(path, text) for path, text in sources.items()]
    reached = [words(text) for text in others]
    kept = _kept(modules).union(*(names for names, _ in reached))
    spaces = _Spaces(modules)
    renamed = spaces.rename(spaces.members | spaces.globals, kept, list(known))
    passed = _keywords(modules).union(*(passed for _, passed in reached))
    for module in modules:
        _edit_shared(module, renamed)
        module.shared = {old for old, _ in module.edits.values()}
        _edit_parameters(module, spaces.exported, passed, renamed, list(known))
    result = {module.path: _apply(module) for module in modules}
    for module in modules:
        _verify(module, result[module.path], kept)
    return result


def words(text: str) -> tuple[set[str], set[str]]:
    """(names by which a text may reach into the package, what it passes by keyword).

    A Python text, or the code in a Markdown one. Private names of a text that never mentions the package are its own.
    """
    tree = _parsed(text)
    if tree is not None:
        names, passed = _words(tree)
        return names if "plexus" in text else {n for n in names if not n.startswith("_")}, passed
    code = "\n".join(map("".join, _CODE.findall(text)))
    return set(map("".join, _REACHED.findall(code))), set(_PASSED.findall(code))


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _words(tree: ast.Module) -> tuple[set[str], set[str]]:
    names, passed = set(_string_names(tree)) | _bound(tree.body), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, (ast.ClassDef, *_DEFS)):
            names |= {node.name} | (_bound(node.body) if isinstance(node, ast.ClassDef) else set())
        elif isinstance(node, ast.alias):
            names.update(node.name.split("."))
        elif isinstance(node, ast.keyword) and node.arg:
            passed.add(node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            inner = _parsed(node.value)  # code that a tool sends to a board
            for found, more in zip((names, passed), _words(inner) if inner else ((), ())):
                found.update(more)
    return names, passed


def _string_names(tree: ast.Module) -> Iterator[str]:
    """Strings that are a name, dotted perhaps; another may be made of it by changing its case."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            for word in node.value.split("."):
                yield from (word, word.lower(), word.upper())


def _survey(path: PurePath, source: str) -> Module:
    module = Module(path, source, ast.parse(source, str(path)))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            for alias in node.names:
                (module.foreign if alias.asname else module.globals).update((alias.asname or alias.name, alias.name))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            module.foreign.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
            module.foreign.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Name):
            module.names.add(node.id)
        elif isinstance(node, ast.arg):
            module.names.add(node.arg)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            module.names.update(node.names)
    module.globals |= _bound(module.tree.body)
    module.names |= module.globals | module.foreign
    return module


def _bound(body: list[ast.stmt]) -> set[str]:
    """Names that the statements of a module or class body bind, those within functions apart."""
    found = set()
    for node in _outside_functions(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, (ast.ClassDef, *_DEFS)):
            found.add(node.name)
    return found


def _outside_functions(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in body:
        yield node
        if not isinstance(node, (ast.ClassDef, ast.Lambda, *_DEFS)):
            yield from _outside_functions(ast.iter_child_nodes(node))


def _kept(modules: list[Module]) -> set[str]:
    """Names that mean something outside of the package, or that strings may make."""
    kept = set(keyword.kwlist) | set(dir(builtins)) | {name for kind in _TYPES for name in dir(kind)}
    for module in modules:
        kept.update(module.foreign, module.path.parts, (module.path.stem,), _string_names(module.tree))
        kept.update(_folded(module.tree))
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0):
                names = [getattr(node, "module", None) or alias.name for alias in node.names]
                kept.update(itertools.chain.from_iterable(map(_contents, names)))
            elif isinstance(node, ast.Attribute) and _root(node) in module.foreign:
                kept.add(node.attr)
            elif isinstance(node, ast.ClassDef):
                kept |= _bare(node) if _only_known_bases(node, modules) else _members(node)
    return kept


def _folded(tree: ast.Module) -> Iterator[str]:
    """`_NAME = const(...)`: the compiler leaves no trace of them, as long as the name begins with an underscore."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _last(node.value.func) == "const":
            yield from (n.id for n in node.targets if isinstance(n, ast.Name) and n.id.startswith("_"))


def _bare(node: ast.ClassDef) -> set[str]:
    """What a class body names without `self`."""
    decorators = [d for f in node.body if isinstance(f, _DEFS) for d in f.decorator_list]
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


def _members(node: ast.ClassDef) -> set[str]:
    """What the class body binds, and its methods on their first argument."""
    found = _bound(node.body)
    for method in node.body:
        if isinstance(method, _DEFS) and method.args.args:
            first = method.args.args[0].arg
            for inner in ast.walk(method):
                if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                    if isinstance(inner.value, ast.Name) and inner.value.id == first:
                        found.add(inner.attr)
    return found


def _keywords(modules: list[Module]) -> set[str]:
    """What is passed by keyword, and the parameters of what is called with a dict of them."""
    nodes = [n for m in modules for n in ast.walk(m.tree)]
    calls = [n for n in nodes if isinstance(n, ast.Call) and n.keywords]
    found = {k.arg for call in calls for k in call.keywords if k.arg}
    spread = {_last(c.func) for c in calls if any(k.arg is None for k in c.keywords)}
    called = [n for n in nodes if isinstance(n, _DEFS) and n.name in spread]
    return found | {a.arg for function in called for a in ast.walk(function) if isinstance(a, ast.arg)}


def _last(node: ast.expr) -> str:
    """The name by which a function is called."""
    return getattr(node, "attr", getattr(node, "id", ""))


class _Spaces:
    """Where names meet: the modules, and the classes together with those they derive from."""

    def __init__(self, modules: list[Module]) -> None:
        self._where: dict[str, set[str]] = defaultdict(set)
        self._taken: dict[str, set[str]] = defaultdict(set)  # bare identifiers of a module
        self.members: set[str] = set()
        self.globals: set[str] = set()
        self.exported: set[str] = set()
        self._starred: set[str] = set()
        assigned = set()
        for module in modules:
            self._add_module(module)
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef):
                    self._add_class(node)
                elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    assigned.add(node.attr)
        for name in assigned - self.members:  # of objects of which nothing is known
            self._where[name].add(_ANYWHERE)
        self.members |= assigned

    def _add_module(self, module: Module) -> None:
        space = str(module.path)
        self.globals |= module.globals
        self._taken[space] = module.names
        for name in module.globals:
            self._where[name].add(space)
        if str(module.path) == "__init__.py":
            self.exported = module.globals
        for node in module.tree.body:
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom) and inner.names[0].name == "*":
                    self._starred.add(str(module.path.parent / f"{inner.module}.py"))

    def _add_class(self, node: ast.ClassDef) -> None:
        members = _members(node)
        self.members |= members
        spaces = {node.name, *(base.id for base in node.bases if isinstance(base, ast.Name))}
        for name in members:
            self._where[name] |= spaces

    def rename(self, names: set[str], kept: set[str], known: list[str]) -> dict[str, str]:
        """A short name for each of `names`; those that meet in a space get different ones."""
        free = names - kept - self._public() - {n for n in names if n.startswith("__") or n == "*"}
        used: dict[str, set[str]] = defaultdict(set)
        for name in names - free:
            for space in self._where[name]:
                used[space].add(name)
        renamed: dict[str, str] = {}
        for name in sorted(free, key=lambda n: (-len(self._where[n]), n)):
            spaces = self._where[name]
            if _ANYWHERE in spaces:
                continue
            hidden = bool(spaces & (self.exported | self._starred)) and name.startswith("_")
            pool = _underscored() if hidden else itertools.chain(known, _letters())
            taken = set().union(*(used[space] | self._taken[space] for space in spaces))
            renamed[name] = next(n for n in pool if n not in taken and (n in known or n not in kept))
            for space in spaces:
                used[space].add(renamed[name])
        return renamed

    def _public(self) -> set[str]:
        """Members of the exported classes that a user may use."""
        return {n for n, spaces in self._where.items() if spaces & self.exported and not n.startswith("_")} | (
            self.exported
        )


def _letters() -> Iterator[str]:
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_lowercase, repeat=length))


def _underscored() -> Iterator[str]:
    """For what shares its space with names of users: those never begin with an underscore by custom."""
    return ("_" + name for name in _letters())


def _edit_shared(module: Module, renamed: Mapping[str, str]) -> None:
    """Note where attributes, classes, functions and variables of modules are named."""
    classes = {id(f) for n in ast.walk(module.tree) if isinstance(n, ast.ClassDef) for f in n.body}
    for node, local in _with_locals(module.tree, frozenset()):
        if isinstance(node, ast.Attribute) and node.attr in renamed:
            _edit_end(module, node, node.attr, renamed)
        elif isinstance(node, ast.Name) and node.id not in local and node.id in renamed:
            if node.id in module.globals:
                module.edits[node.lineno, node.col_offset] = node.id, renamed[node.id]
        elif isinstance(node, (ast.ClassDef, *_DEFS)) and node.name in renamed:
            if node.name not in local or id(node) in classes:
                _edit_word(module, node.lineno, node.col_offset, node.name, renamed)
        elif isinstance(node, ast.ImportFrom) and node.level:
            for alias in (a for a in node.names if a.name in renamed):
                module.edits[alias.lineno, alias.col_offset] = alias.name, renamed[alias.name]
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            for name in (n for n in node.names if n in renamed):
                _edit_word(module, node.lineno, node.col_offset, name, renamed)


def _edit_end(module: Module, node: ast.expr, name: str, renamed: Mapping[str, str]) -> None:
    assert node.end_lineno is not None and node.end_col_offset is not None
    module.edits[node.end_lineno, node.end_col_offset - len(name)] = name, renamed[name]


def _edit_word(module: Module, line: int, start: int, name: str, renamed: Mapping[str, str]) -> None:
    text = module.source.encode().splitlines()[line - 1]
    found = re.compile(rb"\b%s\b" % name.encode()).search(text, start)
    if found is None:
        raise ValueError(f"{module.path}:{line}: {name} is not where it should be")
    module.edits[line, found.start()] = name, renamed[name]


def _with_locals(node: ast.AST, local: frozenset[str]) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """Each node with the names that are local where it stands."""
    for child in ast.iter_child_nodes(node):
        yield child, local
        yield from _with_locals(child, local | _own_locals(child))


def _own_locals(function: ast.AST) -> frozenset[str]:
    found, shared = set(), set()
    if not isinstance(function, (ast.Lambda, *_DEFS)):
        return frozenset()
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, (ast.ClassDef, *_DEFS)) and node is not function:
            found.add(node.name)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            shared.update(node.names)
    outside = [*function.args.defaults, *function.args.kw_defaults, *getattr(function, "decorator_list", ())]
    if any(isinstance(n, ast.Name) and n.id in found for d in outside if d for n in ast.walk(d)):
        raise ValueError(f"line {function.lineno}: a default or decorator has the name of a local")
    return frozenset(found - shared)


def _edit_parameters(
    module: Module, exported: set[str], kept: set[str], renamed: Mapping[str, str], known: list[str]
) -> None:
    """Note where parameters are named. Only they are: other locals have no name in bytecode."""
    for parent in [module.tree, *(n for n in ast.walk(module.tree) if isinstance(n, ast.ClassDef))]:
        for function in parent.body:
            if isinstance(function, _DEFS):
                public = isinstance(parent, ast.ClassDef) and parent.name in exported
                if not public or _is_private(function.name):
                    _edit_function(module, function, kept, renamed, known)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _edit_function(
    module: Module, function: ast.AST, kept: set[str], renamed: Mapping[str, str], known: list[str]
) -> None:
    parameters = {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)} - kept - set(known)
    names = [n for n in ast.walk(function) if isinstance(n, ast.Name)]
    parameters -= {n.id for n in names if (n.lineno, n.col_offset) in module.edits}
    final = {n.id for n in names} | {renamed.get(n.id, n.id) for n in names} | module.foreign
    final |= {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)} | module.globals
    final |= {n.name for n in ast.walk(function) if isinstance(n, ast.ExceptHandler) and n.name}
    final |= {renamed.get(name, name) for name in module.globals}
    pool = (n for n in itertools.chain(known, _letters()) if n not in final)
    shorter = {name: next(pool) for name in sorted(parameters)}
    for node in ast.walk(function):
        name = node.arg if isinstance(node, ast.arg) else node.id if isinstance(node, ast.Name) else ""
        if name in shorter and isinstance(node, (ast.arg, ast.Name)):
            module.edits[node.lineno, node.col_offset] = name, shorter[name]


def _apply(module: Module) -> str:
    lines = module.source.encode().splitlines(keepends=True)
    for (line, start), (old, new) in sorted(module.edits.items(), reverse=True):
        text = lines[line - 1]
        if text[start : start + len(old)] != old.encode():
            raise ValueError(f"{module.path}:{line}: {old} is not where it should be")
        lines[line - 1] = text[:start] + new.encode() + text[start + len(old) :]
    return b"".join(lines).decode()


def _verify(module: Module, result: str, kept: set[str]) -> None:
    """The same program but for names, on the same lines; none that is kept was touched."""
    before, after = list(ast.walk(module.tree)), list(ast.walk(ast.parse(result)))
    if [(type(n), getattr(n, "lineno", 0)) for n in before] != [
        (type(n), getattr(n, "lineno", 0)) for n in after
    ]:
        raise ValueError(f"{module.path}: the short names change the program")
    touched = module.shared & kept
    if touched:
        raise ValueError(f"{module.path}: {sorted(touched)} are used elsewhere")


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
    return [name for name in wanted if _is_static(run(name), name)]


def _parameters(function: object) -> list[str]:
    try:
        return list(inspect.signature(function).parameters) if callable(function) else []
    except ValueError:  # builtins without one
        return []


def _is_static(mpy: bytes, name: str) -> bool:
    """A name without a number stands in the file."""
    return name.encode() not in mpy
