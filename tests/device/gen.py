"""Random inputs from a seed, the same on every VM, and small helpers that pytest would give."""

import struct

_INTS = (0, 1, -1, 127, 128, -128, -129, 32767, 32768, -32768, -32769)
_POWERS = (24, 30, 31, 32, 53, 62)
_FLOATS = (
    0.0,
    -0.0,
    0.1,
    -22.4,
    1.5,
    1e16,
    1e-7,
    123456789.125,
    5e-324,  # the smallest subnormal of a double
    2.2250738585072014e-308,
    1.7976931348623157e308,
    1.401298464324817e-45,  # the smallest subnormal of a float32
    1.1754943508222875e-38,  # its smallest normal number
    1.1754942106924411e-38,  # and its largest subnormal
    3.4028234663852886e38,  # its largest number
    3.4028235677973366e38,  # half a step beyond
    3.402823466385289e38,
    16777217.0,
    9007199254740993.0,
)
_TEXTS = (
    "",
    "a",
    "on",
    'quote"back\\slash',
    "tab\tline\nbell\x07\x1f",
    "Grüße",
    "温度 °C",
    "\U0001f321",
    "</script>",
)


class Gen:
    """xorshift32: the `random` of the Pythons differ from each other, and some cannot be seeded."""

    def __init__(self, seed):
        self._x = (seed * 2654435761 + 1) & 0xFFFFFFFF or 1
        for _ in range(8):
            self.bits()

    def bits(self):
        x = self._x
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        self._x = x
        return x

    def below(self, n):
        return self.bits() % n

    def between(self, low, high):
        """A whole number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, one_in):
        return not self.below(one_in)

    def pick(self, items):
        return items[self.below(len(items))]

    def take(self, n):
        return bytes([self.below(256) for _ in range(n)])

    # values that the protocol can carry

    def an_int(self):
        if self.chance(2):
            return self.pick(_INTS)
        if self.chance(8):
            return self.pick(((1 << 63) - 1, -(1 << 63)))
        near = (1 << self.pick(_POWERS)) + self.between(-2, 2)
        return near if self.chance(2) else -near

    def a_float(self):
        if self.chance(3):
            return self.pick(_FLOATS) if self.chance(2) else -self.pick(_FLOATS)
        if self.chance(2):
            return (self.below(20001) - 10000) / self.pick((1, 4, 10, 100, 3))
        return self.wild_float()

    def wild_float(self):
        """Any finite double, bit by bit; half of them exact as float32."""
        while True:
            if self.chance(2):
                value = struct.unpack("<f", struct.pack("<I", self.bits()))[0]
            else:
                value = struct.unpack("<d", struct.pack("<II", self.bits(), self.bits()))[0]
            if value == value and abs(value) != float("inf"):
                return value

    def a_text(self):
        return "".join([self.pick(_TEXTS) for _ in range(self.below(4))])

    def a_container(self, depth=0):
        n = self.below(4)
        if self.chance(2):
            return [self._item(depth) for _ in range(n)]
        return {"k%d%s" % (i, self.pick(_TEXTS)): self._item(depth) for i in range(n)}

    def _item(self, depth):
        kind = self.below(7)
        if kind == 0 and depth < 6:
            return self.a_container(depth + 1)
        if kind == 1:
            return None
        if kind == 2:
            return self.chance(2)
        if kind == 3:
            return self.a_text()
        return self.an_int() if kind == 4 else self.a_float()

    def a_number(self):
        return self.an_int() if self.chance(2) else self.a_float()

    def a_value(self):
        kind = self.below(8)
        if kind == 0:
            return self.a_text()
        if kind == 1:
            return self.a_container()
        return self.chance(2) if kind == 2 else self.a_number()

    def some_tags(self):
        if self.chance(2):
            return None
        return {self.pick(("room", "probe", "ü", 'a"b')): self.pick(_TEXTS) for _ in range(self.below(3))}


def for_seeds(count, check, *arguments):
    """Call `check(Gen(seed), *arguments)` for `count` seeds; a failure names its seed."""
    for seed in range(1, count + 1):
        try:
            check(Gen(seed), *arguments)
        except BaseException:
            print("failed with seed", seed, "arguments", arguments)
            raise


def raises(kinds, function, *arguments):
    """The exception of one of `kinds` that the call must raise."""
    try:
        function(*arguments)
    except kinds as e:
        return e
    raise AssertionError("%s raised nothing" % (getattr(function, "__name__", function),))


def same(a, b):
    """Equal in type and value, doubles bit by bit where the VM prints and reads them so."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, float) or isinstance(b, float):
        if not (isinstance(a, float) and isinstance(b, float)):
            return False
        return struct.pack("<d", a) == struct.pack("<d", b) or not EXACT and _near(a, b)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all([same(x, y) for x, y in zip(a, b)])
    if isinstance(a, dict):
        return isinstance(b, dict) and set(a) == set(b) and all([same(a[k], b[k]) for k in a])
    return a == b


def _near(a, b):
    """As near as a VM comes that prints fewer digits than a double has."""
    return abs(a - b) <= 1e-13 * abs(b) + 1e-300 or abs(b) > 1.7e308


def _prints_exactly():
    """Whether numbers come out of this VM as they went in: MicroPython's do from 1.26 on."""
    g = Gen(1)
    return all([float(repr(value)) == value for value in [g.wild_float() for _ in range(200)]])


EXACT = _prints_exactly()
