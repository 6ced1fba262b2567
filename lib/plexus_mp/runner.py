"""Runs of commands: their handlers, and what those say. Where frames come from and go to is not known here."""

import json
import sys

from .ports import Guard, const, ticks_diff, ticks_ms
from .runbook import key_of

_TEXT_MAX = const(256)  # of an id, an error or a message
_NEWS_MAX = const(32)
_PROGRESS_MS = const(1000)
_UNATTENDED_MS = const(1000)

# States as they are remembered; to _FAILED the reason is added, which CODES has at that number.
_RUNNING = const(2)
_SUCCEEDED = const(3)
_FAILED = const(4)
_EXPIRED = const(2)
_HANDLER_ERROR = const(5)
_CANCELLED = const(6)
CODES = (
    "unknown_command", "bad_params", "expired_on_arrival", "busy", "duplicate", "handler_error", "cancelled",
)  # fmt: skip


class Cancelled(Exception):
    """Raised by a handler: the run ends as failed, with the code `cancelled`."""


class Run:
    """One run, the first argument of its handler: `id`, `command`, `params`, `attempt`."""

    Cancelled = Cancelled
    cancel_requested = False  # the protocol has no way to ask for it yet

    def __init__(self, commands, run_id, command, params, attempt, ttl_ms, declared):
        self.id = run_id
        self.command = command
        self.params = params
        self.attempt = attempt
        self._commands = commands
        self._ttl_ms = ttl_ms
        self._since = ticks_ms()
        self._told = None  # ticks of the last progress
        self._declared = declared
        self._task = None  # of an `async` handler
        self._begun = False

    @property
    def time_remaining(self):
        """Seconds until the run expires, None when it does not; a run that began is not ended by that."""
        if self._ttl_ms is None:
            return None
        if self._ttl_ms:
            left_ms = self._ttl_ms - ticks_diff(ticks_ms(), self._since)
            if left_ms > 0:
                return left_ms / 1000
            self._ttl_ms = 0  # so it stays, when the ticks wrap
        return 0

    def progress(self, percent, message=None):
        """Report 0 to 100 percent, once a second at most; 100 is always sent. Does a slice of network work."""
        if self._declared[2] is None:
            return
        percent = min(100, max(0, percent))
        now = ticks_ms()
        if percent < 100 and self._told is not None and 0 <= ticks_diff(now, self._told) < _PROGRESS_MS:
            return
        self._told = now
        self._commands.tell_progress(self, percent, message)


class Runner:
    """Runs that wait or are at work.

    A handler runs outside of `tick()`, one at a time, when the program itself calls `tick()`, `sleep()` or `serve()`;
    where it does not for a second, when the timer calls, between two lines of the program but never within a `send()`.
    So a handler may send, and what it takes is the program's time, or the timer's.
    """

    def __init__(self, session, recorder, tick, book):
        self._session = session
        self._recorder = recorder
        self._tick = tick
        self._book = book
        self._guard = Guard()
        self._live = []  # runs that wait or are at work
        self._due = []  # those whose handler has not begun
        # What handlers said goes to the tick in one list, which a callback cannot catch half changed:
        # (run id or None, its state, JSON that must be sent, JSON that may).
        self._news = []
        self._attended = None  # ticks when the program itself last called

    def _fail(self, run_id, code, why):
        must = (',"error_code":"%s"' % CODES[code]).encode()
        self._news.append((run_id, _FAILED + code, must, b',"error_message":' + dumps(why[:_TEXT_MAX])))

    def _tell_legacy(self, run_id, name, event, more):
        head = {"type": "command_result", "id": run_id, "command": name[:_TEXT_MAX], "event": event}
        self._news.append((None, 0, dumps(head)[:-1], more))

    def tell_progress(self, run, percent, message):
        # It is worth nothing later, and must not fill the memory while nobody takes it.
        if self._session.up and len(self._news) < _NEWS_MAX:
            more = b',"message":' + dumps(str(message)[:_TEXT_MAX]) if message else b""
            self._news.append((run.id, 0, b',"progress":' + dumps(percent), more))
        self._tick()

    def run_due(self, by_timer):
        """Run the handler that waits longest. The timer leaves it to a program that calls by itself."""
        if not by_timer:
            self._attended = ticks_ms()
        if not self._due:
            return
        call = self._recorder.enter()
        try:
            try:
                if self._guard.take(False, call) and self._may_run(by_timer):  # not within a handler
                    self._run(self._due[0])
            finally:
                self._guard.drop(call)
        finally:  # Ctrl-C may strike in the midst of the other one
            self._guard.drop(call)

    def _run(self, run):
        try:
            self._start(run)
        finally:
            if run._task is None:
                self._end(run, Cancelled("interrupted"), None)  # by Ctrl-C, if it has not ended
            self._due.remove(run)

    def _may_run(self, by_timer):
        if by_timer and self._attended is not None:
            if 0 <= ticks_diff(ticks_ms(), self._attended) < _UNATTENDED_MS:
                return False
        return not by_timer or self._recorder.apart(int) is not None  # not in the midst of a send()

    def _start(self, run):
        if run._begun:  # Ctrl-C struck when it had ended
            return
        run._begun = True
        manifest, handler, declared = run._declared
        if run not in self._live:  # Ctrl-C struck when it came
            self._live.append(run)
        if declared is None:
            return self._call(run, handler, (run.command, run.params), {})
        if run.time_remaining == 0:
            self._fail(run.id, _EXPIRED, "expired before its handler was free")
            self._live.remove(run)
            return
        if not manifest["idempotent"]:
            try:
                self._book.write(key_of(run.id), _RUNNING)
            except OSError as e:
                self._fail(run.id, _HANDLER_ERROR, "not run, because it cannot be remembered: %r" % e)
                self._live.remove(run)
                return
        self._news.append((run.id, _RUNNING, b"", b""))
        for _ in range(_NEWS_MAX):  # said before the handler holds everything up
            if not self._tick():
                break
        self._call(run, handler, (run,), run.params)

    def _call(self, run, handler, arguments, named):
        try:
            result = handler(*arguments, **named)
            if not hasattr(result, "throw"):
                return self._end(run, None, result)
            # A coroutine, of an `async` handler.
            later = self._follow(run, result)
            if _in_loop():
                run._task = sys.modules["asyncio"].create_task(later)  # CPython keeps no reference
            else:
                import asyncio

                asyncio.run(later)
        except Exception as e:
            self._end(run, e, None)
        except BaseException as e:
            self._end(run, e, None)
            raise

    async def _follow(self, run, coroutine):
        try:
            self._end(run, None, await coroutine)
        except Exception as e:
            self._end(run, e, None)
        except BaseException as e:  # a task that is cancelled
            self._end(run, e, None)
            raise

    def _end(self, run, error, result):
        """Report how it went; whatever that meets costs only this run."""
        if run not in self._live:  # KeyboardInterrupt passes here twice
            return
        legacy = run._declared[2] is None
        state = _SUCCEEDED
        if error is not None:
            cancelled = isinstance(error, Cancelled)
            state = _FAILED + (_CANCELLED if cancelled else _HANDLER_ERROR)
            why = str(error) if legacy or cancelled else "%s: %s" % (type(error).__name__, error)
            if not cancelled:
                print("plexus: command %s: %s" % (run.command, why))
        if legacy:
            event = "result" if error is None else "error"
            more = _result(result) if error is None else dumps(why[:_TEXT_MAX])
            self._tell_legacy(run.id, run.command, event, (',"%s":' % event).encode() + more)
        elif error is None:
            self._news.append((run.id, _SUCCEEDED, b"", b',"result":' + _result(result)))
        else:
            self._fail(run.id, state - _FAILED, why)
        self._live.remove(run)
        if not legacy and not run._declared[0]["idempotent"]:
            try:
                self._book.write(key_of(run.id), state)
            except OSError:  # after a reboot its end is not known
                self._recorder.faults += 1


def _in_loop():
    """Whether a loop of asyncio runs, so that a task gets its turns."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        return asyncio.current_task() is not None
    except (RuntimeError, AttributeError):
        return False


def _result(value):
    """The JSON of what a handler returned: an object; what JSON cannot carry is described."""
    from .checks import check_json

    if value is None:
        value = {}
    elif not isinstance(value, dict):
        value = {"value": value}
    try:
        check_json(value, 1)
    except Exception:  # which one does not matter: what was returned is told instead
        value = {"value": repr(value)[:_TEXT_MAX]}
    return dumps(value)


def dumps(value):
    return json.dumps(value, separators=(",", ":")).encode()
