"""What a board gets has short names where only the library uses them, and does the same."""

from __future__ import annotations

import ast
import asyncio
import sys
from pathlib import Path, PurePath

import pytest

from host_sim import world
from host_sim.journal import Verdict

sys.path.append(str(world.ROOT / "tools"))

import build_mpy
from kept_names import static_names
from shorten import shorten

KNOWN = ["get", "pop", "len", "end"]
PACKAGE = {
    "__init__.py": "from .core import Thing\n",
    "core.py": """
from struct import pack_into
from .deep import Hidden, LIMIT, helper

class Thing:
    '''calls = 1'''
    def __init__(self, size, colour=LIMIT):
        self._inner = Hidden(size)
        self.shown = self._inner.counted
        self.named = getattr(self._inner, "looked_up", 0)
        pack_into("<H", self._inner.space, 0, len(self.shown))

    def _private(self, colour):
        return helper(colour, flavour=1), self._inner.outside
""",
    "deep.py": """
_FOLDED = const(3)
LIMIT = const(4)

def helper(taste, flavour):
    return taste + flavour + _FOLDED

class Hidden:
    def __init__(self, amount):
        self.space = bytearray(amount)
        self.counted = [amount for _ in range(LIMIT)]
        self.looked_up = self.outside = 1
""",
}


def short(other: str = "", **changed: str) -> dict[str, str]:
    texts = {**PACKAGE, **{f"{name}.py": text for name, text in changed.items()}}
    others = {PurePath("other.md" if "`" in other else "other.py"): other}
    result = shorten({PurePath(path): text for path, text in texts.items()}, others, KNOWN)
    return {str(path): text for path, text in result.items()}


def test_what_only_the_package_uses_gets_names_that_are_known():
    result = short("thing.outside")
    text = "".join(result.values())
    for gone in ("Hidden", "counted", "space", "amount", "taste", "helper", "LIMIT", "_inner", "_private"):
        assert gone not in text, gone
    for kept in (
        "shown",
        "named",
        "looked_up",
        "outside",
        "_FOLDED",
        "flavour",
        "size, colour=",
        "pack_into",
    ):
        assert kept in text, kept
    assert "calls = 1" in text  # a docstring is no code
    for path, before in PACKAGE.items():
        assert [type(n) for n in ast.walk(ast.parse(before))] == [
            type(n) for n in ast.walk(ast.parse(result[path]))
        ]
        assert before.count("\n") == result[path].count("\n")


@pytest.mark.parametrize(
    "other",
    [
        "thing.counted\n",
        "from plexus_mp.x import counted\n",
        "x = 'counted'\n",
        "x = 'print(px.counted)'\n",
        "use `thing.counted` so\n",
    ],
)
def test_what_others_reach_is_kept(other):
    assert ".counted" not in "".join(short().values())
    assert ".counted" in "".join(short(other).values())


def test_names_that_meet_stay_apart():
    members = "\n".join(f"        self._member{i} = self.shown{i} = {i}" for i in range(40))
    text = short(core=f"class Thing:\n    def __init__(self):\n{members}\n")["core.py"]
    stored = {n.attr for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Attribute)}
    assert len(stored) == 80 and {f"shown{i}" for i in range(40)} < stored


def test_names_that_a_star_brings_together_stay_apart():
    ground = "class Guard:\n    pass\n\nfrom .deep import *\n"
    assert short(ground=ground)["ground.py"].startswith("class ")
    names = {
        text.split("class ")[1].split(":")[0]
        for text in map(short(ground=ground).get, ("ground.py", "deep.py"))
    }
    assert len(names) == 2


def test_a_default_that_has_the_name_of_a_local_is_refused():
    with pytest.raises(ValueError, match="default"):
        short(deep="step = 1\ndef helper(step=step):\n    return step\n")


def test_every_firmware_knows_the_names_of_the_format():
    names = static_names(build_mpy._compile)
    assert {"value", "start", "append", "self"} < set(names) and "counted" not in names and len(names) > 60


def play(library: Path, monkeypatch) -> tuple[Verdict, dict[str, str]]:
    """A minute of the demo with `library` on the board; the verdict and what was sent and stored."""
    monkeypatch.setattr(world, "LIBRARY", library)
    played = world.World(5, virtual=True)
    console: list[str] = []

    async def run() -> Verdict:
        await played.start()
        board = world.ROOT / "boards" / "esp32_flash_ring.py"
        played.add_board(
            world.ROOT / "firmware", board, "micropython", console=console.append
        ).board.power_on()
        await asyncio.sleep(60)
        return await played.finish()

    verdict = played.kernel.run(run())
    played.kernel.close()
    assert "Traceback" not in "".join(console)
    digests = played.digests()
    return verdict, {name: digests[name] for name in ("frames", "rows")}


def test_what_a_board_gets_sends_the_same_bytes_as_the_source(tmp_path, monkeypatch):
    built = tmp_path / "plexus_mp"
    build_mpy.build(built)
    verdict, bytes_sent = play(built, monkeypatch)
    assert verdict.clean and verdict.stored > 60
    assert play(build_mpy.SOURCE, monkeypatch) == (verdict, bytes_sent)
