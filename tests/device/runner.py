"""Runs the tests of one file where there is no pytest: a line for each, the traceback of those that fail."""

import sys


def _traceback(error):
    if hasattr(sys, "print_exception"):  # MicroPython
        sys.print_exception(error, sys.stdout)
        return
    try:
        import traceback
    except ImportError:  # CircuitPython's unix port
        print(repr(error))
    else:
        traceback.print_exception(error, file=sys.stdout)


def load(name):
    """The module `device.<name>`."""
    return getattr(__import__("device." + name), name)


def names(module):
    return sorted(
        [name for name in dir(module) if name.startswith("test_") and callable(getattr(module, name))]
    )


def run_one(module, name):
    """Run one test; whether it passed. A module may have `lacking(name)`: what a VM has not that a test needs."""
    lacking = getattr(module, "lacking", None)
    if lacking is not None and lacking(name):
        print("SKIP", name, lacking(name))
        return True
    try:
        getattr(module, name)()
    except Exception as error:
        print("FAIL", name)
        _traceback(error)
        return False
    print("PASS", name)
    return True


def run(name):
    """Run every test of a file; how many failed."""
    module = load(name)
    results = [run_one(module, test) for test in names(module)]
    print("%s: %d passed, %d failed" % (name, results.count(True), results.count(False)))
    return results.count(False)
