"""The driver's own source in the floats of a board: every operation rounded as the board rounds it.

MicroPython has IEEE singles on most boards; CircuitPython cuts the two lowest bits off each of those.
"""

from __future__ import annotations

import ast
import operator
import random
import struct
from types import ModuleType

import pytest

from host_sim.board.bme280 import BME280, Calibration
from host_sim.board.i2c import I2CBus

_SINGLE = struct.Struct("<f")
_WORD = struct.Struct("<I")
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def single(value):
    return _SINGLE.unpack(_SINGLE.pack(value))[0]


def cut30(value):
    bits = _WORD.unpack(_SINGLE.pack(value))[0]
    return _SINGLE.unpack(_WORD.pack(bits & ~3))[0]


class Rounding(ast.NodeTransformer):
    """Sends + - * / through `_rounded(kind, left, right)`."""

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if type(node.op) not in _OPERATIONS:
            return node
        kind = ast.Constant(type(node.op).__name__)
        call = ast.Call(ast.Name("_rounded", ast.Load()), [kind, node.left, node.right], [])
        return ast.copy_location(call, node)


def load_rounded(source, round_float, namespace):
    """Execute `source` in `namespace` with the floats of `round_float`.

    Operands are rounded too: an integer becomes a float before it meets one. The sum, product or quotient of
    two singles, rounded to double and then to single, is the one that a single-precision unit gives.
    """
    named = {kind.__name__: function for kind, function in _OPERATIONS.items()}

    def rounded(kind, left, right):
        if kind != "Div" and not isinstance(left, float) and not isinstance(right, float):
            return named[kind](left, right)
        return round_float(named[kind](round_float(left), round_float(right)))

    tree = ast.fix_missing_locations(Rounding().visit(ast.parse(source)))
    namespace["_rounded"] = rounded
    exec(compile(tree, "rounded", "exec"), namespace)
    return namespace


def worst_deviation(kit, round_float, parts):
    """Largest distance between the driver in doubles and in `round_float`: (°C, %RH, hPa)."""
    module = ModuleType("bme280").__dict__
    load_rounded(kit.driver_path.read_text(encoding="utf-8"), round_float, module)
    rng = random.Random(3)
    seen = [0.0, 0.0, 0.0]
    for _ in range(parts):
        truth = (rng.uniform(-39.9, 84.9), rng.uniform(0.1, 99.9), rng.uniform(301.0, 1099.0))
        bench = kit.Bench(Calibration.random(rng), truth)
        exact = bench.driver(oversampling=16).read()
        module["time"] = bench.clock
        rounded = module["BME280"](bench.bus, None, 16, 16, 16).read()
        seen = [max(s, abs(a - b)) for s, a, b in zip(seen, exact, rounded, strict=True)]
    return seen


@pytest.mark.parametrize("round_float", [single, cut30])
def test_single_precision_keeps_the_promised_accuracy(kit, round_float, record_property):
    seen = worst_deviation(kit, round_float, parts=1500)
    record_property("worst_deviation_c_pct_hpa", seen)
    assert seen[0] <= 0.01 and seen[1] <= 0.05 and seen[2] <= 0.01, seen


def test_the_emulation_loses_what_single_precision_loses():
    """The judge is judged: sums and thirds in singles, and integers left alone."""
    source = "third = 1 / 3\nlost = (16777216.0 + 1.0) - 16777216.0\nkept = 16777216 + 1"
    module = load_rounded(source, single, {})
    assert module["third"] == single(1 / 3) != 1 / 3
    assert module["lost"] == 0.0
    assert module["kept"] == 16777217


def test_the_driver_reads_the_same_part_without_a_bench(kit):
    """Nothing of the bench helps the driver: a bus, a sensor and a clock are all that it needs."""
    clock = kit.Clock()
    bus = I2CBus()
    bus.attach(0x77, BME280(Calibration(), clock.now_us, lambda t_s: (20.0, 50.0, 1000.0)))
    namespace = ModuleType("bme280").__dict__
    exec(kit.driver_path.read_text(encoding="utf-8"), namespace)
    namespace["time"] = clock
    assert namespace["BME280"](bus).read() == pytest.approx((20.0, 50.0, 1000.0), abs=0.02)
