"""The firmware's way to its board: operations, after which due timer callbacks run.

A real board runs soft callbacks between any two bytecodes; here they run wherever firmware touches
hardware or time, sleeping included, and never inside one another.
"""

from _link import bind

_operations = {}
_callbacks = {}
_waiting = []
_running = False


def operation(name):
    """A function that asks the board; `OSError` as the hardware's driver would raise it."""
    found = _operations.get(name)
    if found is None:
        found = _operations[name] = bind(name, _on_due)
    return found


def call(name, *arguments):
    """As `operation`, for what is seldom asked."""
    return operation(name)(*arguments)


def _on_due(timers):
    _waiting.extend(timers)
    if not _running:
        _run_waiting()


def on_timer(timer_id, callback, *arguments):
    if callback is None:
        _callbacks.pop(timer_id, None)
    else:
        _callbacks[timer_id] = (callback, arguments)


def _run_waiting():
    global _running
    _running = True
    try:
        while _waiting:
            found = _callbacks.get(_waiting.pop(0))
            if found is not None:
                _run(*found)
    finally:
        _running = False


def _run(callback, arguments):
    """An exception in a callback is printed and forgotten, as MicroPython's scheduler does."""
    try:
        callback(*arguments)
    except Exception as e:
        import sys

        sys.print_exception(e)
