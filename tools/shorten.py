"""Short names for what a board loads: each one that its firmware does not know costs about 18 bytes of RAM.

`shorten` gives the package's files with the names that only the package uses replaced by ones that every firmware
knows. All stay on their lines, so line numbers of tracebacks are right if they are kept; functions show short names.
Names that meet in a module or class get different ones; the same name gets the same one everywhere.
"""

from __future__ import annotations

import ast
import itertools
import re
import string
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath

from kept_names import DEFS, Module, kept_names, keywords, members, survey, words

_ANYWHERE = "*"


def shorten(
    sources: Mapping[PurePath, str], others: Mapping[PurePath, str], known: Iterable[str]
) -> dict[PurePath, str]:
    """The files of the package, `{path within it: text}`, with short names; those of `known` cost nothing.

    `others`: the Python and Markdown files whose words reach into the package, or tell a user what to write.
    Raises `ValueError` for what it cannot see through, `SyntaxError` for a file that is not Python of this version.
    """
    modules = [survey(path, text) for path, text in sources.items()]
    reached = [words(text, path.suffix == ".py") for path, text in others.items()]
    kept = kept_names(modules).union(*(names for names, _ in reached))
    spaces = _Spaces(modules)
    renamed = spaces.rename(spaces.members | spaces.globals, kept, list(known))
    passed = keywords(modules).union(*(passed for _, passed in reached))
    for module in modules:
        _edit_shared(module, renamed)
        module.shared = {old for old, _ in module.edits.values()}
        _edit_parameters(module, spaces.exported, passed, renamed, list(known))
    result = {module.path: _apply(module) for module in modules}
    for module in modules:
        _verify(module, result[module.path], kept)
    return result


class _Spaces:
    """Where names meet: the modules, and the classes together with those they derive from."""

    def __init__(self, modules: list[Module]) -> None:
        self._where: dict[str, set[str]] = defaultdict(set)
        self._taken: dict[str, set[str]] = defaultdict(set)  # bare identifiers of a module
        self.members: set[str] = set()
        self.globals: set[str] = set()
        self.exported: set[str] = set()
        self._starred: dict[str, str] = {}  # modules of which another takes all names, and that other
        assigned = set()
        classes = [n for m in modules for n in ast.walk(m.tree) if isinstance(n, ast.ClassDef)]
        self._bases = {n.name: [base.id for base in n.bases if isinstance(base, ast.Name)] for n in classes}
        for module in modules:
            self._add_module(module)
        self._join_starred()
        for module in modules:
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
                    self._starred[str(module.path.parent / f"{inner.module}.py")] = space

    def _join_starred(self) -> None:
        """What a module takes from another by a star meets its own names."""
        for starred, taker in self._starred.items():
            for spaces in self._where.values():
                if spaces & {starred, taker}:
                    spaces |= {starred, taker}
            both = self._taken[starred] | self._taken[taker]
            self._taken[starred] = self._taken[taker] = both

    def _add_class(self, node: ast.ClassDef) -> None:
        found = members(node)
        self.members |= found
        spaces = self._line(node.name)
        for name in found:
            self._where[name] |= spaces

    def _line(self, name: str) -> set[str]:
        """The class and all that it derives from."""
        return {name}.union(*(self._line(base) for base in self._bases.get(name, ())))

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
            hidden = bool(spaces & (self.exported | self._starred.keys())) and name.startswith("_")
            pool = _underscored() if hidden else itertools.chain(known, _letters())
            taken = set().union(*(used[space] | self._taken[space] for space in spaces))
            renamed[name] = next(n for n in pool if n not in taken and (n in known or n not in kept))
            for space in spaces:
                used[space].add(renamed[name])
        return renamed

    def _public(self) -> set[str]:
        """Members of the exported classes that a user may use."""
        found = {n for n, spaces in self._where.items() if spaces & self.exported}
        return self.exported | {n for n in found if not n.startswith("_")}


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
        elif isinstance(node, (ast.ClassDef, *DEFS)) and node.name in renamed:
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
    if not isinstance(function, (ast.Lambda, *DEFS)):
        return frozenset()
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, (ast.ExceptHandler, ast.ClassDef, *DEFS)) and node is not function:
            found.update({node.name} if node.name else ())
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
            if isinstance(function, DEFS):
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
