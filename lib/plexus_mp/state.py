"""What the library keeps over a reboot besides readings: the name that a gateway gave, runs that are open.

One small JSON file, read when it is needed and written when something changes. Loaded by those that need it.
"""

import json
import os

from .ports import STATE_FILE

_path = [STATE_FILE]


def load():
    """The state, a dict; empty where there is no file, or a broken one."""
    if not _path[0]:
        return {}
    try:
        with open(_path[0]) as f:
            found = json.load(f)
    except (OSError, ValueError):  # none yet, or cut in the midst of its first writing
        return {}
    return found if isinstance(found, dict) else {}


def _replace(source, target):
    try:
        os.rename(source, target)
    except OSError:  # FAT renames over nothing
        os.remove(target)
        os.rename(source, target)


def save(found):
    """Write the state; False where there is no place for it, or none that can be written (CircuitPython).

    Blocks for writing a small file: some 50 ms on littlefs.
    """
    path = _path[0]
    if not path:
        return False
    try:
        with open(path + ".new", "w") as f:
            json.dump(found, f)
        _replace(path + ".new", path)
    except OSError:
        return False
    return True
