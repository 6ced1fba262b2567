"""A board's boot: `boot.py`, `main.py`, then what a REPL would do, wait while timers go on."""

import sys

from _board import call


def _watch(cls, name):
    """Tell the host of every reading that is handed to the library, before and after."""
    original = getattr(cls, name)

    def watched(self, *arguments, **named):
        if name == "send_batch" and arguments:
            arguments = (list(arguments[0]),) + arguments[1:]
        call("host.begin", name, repr((arguments, named)))
        accepted = False
        try:
            accepted = original(self, *arguments, **named)
            return accepted
        finally:
            call("host.end", bool(accepted))

    setattr(cls, name, watched)


def _watch_library():
    try:
        from plexus_mp import Plexus
    except Exception:
        return  # no library, or a broken one: main.py will say so
    _watch(Plexus, "send")
    _watch(Plexus, "send_batch")


def run(run_file):
    """`run_file(name)` executes a file of the board, or returns when there is none."""
    _watch_library()
    for name in ("boot.py", "main.py"):
        try:
            run_file(name)
        except SystemExit:
            pass
        except Exception as e:
            sys.print_exception(e)
    while True:
        call("time.idle")
