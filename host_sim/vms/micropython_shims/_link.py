"""The pipe to the host. Text crosses it: integers would be cut to 32 bits on their way through JavaScript."""

import io
import json
from binascii import hexlify, unhexlify

import _pipe

try:
    from _pipe import taken
except ImportError:
    taken = unhexlify

FileBase = io.IOBase  # what a file must be for MicroPython to import from it
_call = _pipe.call  # looking an attribute of a JavaScript object up allocates


def _packed(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"x": hexlify(value).decode()}
    return value


as_data = repr  # what no other way would carry as it is: tuples, and dicts with any key


def bind(operation, on_due):
    """A function that asks the board for `operation`; timers that are due go to `on_due`."""

    def ask(*arguments):
        request = [operation, [_packed(argument) for argument in arguments]]
        status, value, due = json.loads(_call(json.dumps(request)))
        if status == 1:
            raise OSError(*value)
        if status == 2:
            raise ValueError(value)
        if status == 3:
            raise MemoryError
        if status == 4:
            raise KeyboardInterrupt
        if status == 5:
            raise TypeError(value)
        if due:
            on_due(due)
        if isinstance(value, dict):
            value = taken(value["x"])
        return value

    return ask
