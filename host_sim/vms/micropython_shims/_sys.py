"""`sys` of the board: what the WebAssembly build says of itself is nothing that firmware meets on a board."""

import sys as _build
from collections import namedtuple

from _board import call

for _name in dir(_build):
    globals()[_name] = getattr(_build, _name)

platform = call("setup.port")
implementation = namedtuple("implementation", ("name", "version", "_machine", "_mpy"))(
    "micropython", _build.implementation[1], call("setup.machine"), _build.implementation._mpy
)
