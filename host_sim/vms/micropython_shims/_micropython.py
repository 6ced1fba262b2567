"""`micropython` of the board: the WebAssembly build has no emergency buffer, and needs none."""

import micropython as _build

for _name in dir(_build):
    globals()[_name] = getattr(_build, _name)


def alloc_emergency_exception_buf(size):
    pass
