"""Tasks and their loop, of `asyncio`. What suspends does so by `__iter__`, which is what MicroPython's `await`
asks for, and by `__await__`, which CPython's does.

Waiting is done in `select.poll`, so timer callbacks run meanwhile and virtual time passes in one step.
"""

import select
import sys
from time import ticks_add, ticks_diff, ticks_ms

from _board import call

_READER, _WRITER = 1, 2

cur_task = None
# A task that nobody refers to any more still stands where it waits. Python would collect it and run its
# `finally` blocks, which MicroPython does not, least of all after a power cut.
_unfinished = set()


class CancelledError(BaseException):
    pass


class TimeoutError(Exception):
    pass


class Pause:
    """Awaited, gives the turn away once; when `due` is given, until then."""

    def __init__(self, due=None):
        self._due = due
        self._over = False

    def __iter__(self):
        return self

    __await__ = __iter__

    def __next__(self):
        if self._over:
            raise StopIteration
        self._over = True
        if self._due is not None:
            task_queue.push(cur_task, self._due)


def sleep_ms(t):
    """Counts from the call, not from the `await`; less than 0 is 0."""
    return Pause(ticks_add(ticks_ms(), max(0, t)))


def sleep(t):
    return sleep_ms(int(t * 1000))


# Where tasks wait. What a task waits on has `remove(task)`, for when it is cancelled.


class TaskQueue:
    """Tasks by the time when they are due; of equals, first come, first served."""

    def __init__(self):
        self._tasks = []

    def peek(self):
        return self._tasks[0] if self._tasks else None

    def push(self, task, due=None):
        if due is None:
            due = ticks_ms()  # timer callbacks may run here, so nothing is changed before
        task._due = due
        task.waits_on = None
        tasks = self._tasks
        i = len(tasks)
        while i and ticks_diff(tasks[i - 1]._due, due) > 0:
            i -= 1
        tasks.insert(i, task)

    def pop(self):
        return self._tasks.pop(0)

    def remove(self, task):
        self._tasks.remove(task)


class Line:
    """Tasks that wait for something without a date, in the order in which they came."""

    def __init__(self):
        self._tasks = []

    def join(self):
        """Let the running task wait here: it awaits what this returns."""
        self._tasks.append(cur_task)
        cur_task.waits_on = self
        return Pause()

    def remove(self, task):
        self._tasks.remove(task)

    def is_empty(self):
        return not self._tasks

    def wake_next(self):
        """Its turn comes; None when nobody waits."""
        if not self._tasks:
            return None
        task = self._tasks.pop(0)
        task_queue.push(task)
        return task

    def wake_all(self):
        while self._tasks:
            self.wake_next()


class IOQueue:
    """Tasks that wait for a stream: one to read and one to write on each."""

    def __init__(self):
        self._poller = select.poll()
        self._entries = {}  # by the stream's id: [stream, reader, writer]

    def is_empty(self):
        return not self._entries

    def queue_read(self, stream):
        return self._join(stream, _READER)

    def queue_write(self, stream):
        return self._join(stream, _WRITER)

    def _join(self, stream, role):
        entry = self._entries.setdefault(id(stream), [stream, None, None])
        assert entry[role] is None, "another task waits for this stream already"
        entry[role] = cur_task
        cur_task.waits_on = self
        self._register(entry)
        return Pause()

    def _register(self, entry):
        stream, reader, writer = entry
        mask = (select.POLLIN if reader else 0) | (select.POLLOUT if writer else 0)
        if mask:
            self._poller.register(stream, mask)
        else:
            self._poller.unregister(stream)
            del self._entries[id(stream)]

    def remove(self, task):
        for entry in list(self._entries.values()):
            for role in (_READER, _WRITER):
                if entry[role] is task:
                    entry[role] = None
                    self._register(entry)
                    return

    def wait(self, timeout_ms):
        """Until a stream has something for its tasks, for ever when it is -1."""
        for stream, events in self._poller.poll(timeout_ms):
            entry = self._entries[id(stream)]
            if events & ~select.POLLOUT:
                self._wake(entry, _READER)
            if events & ~select.POLLIN:
                self._wake(entry, _WRITER)
            self._register(entry)

    def _wake(self, entry, role):
        task = entry[role]
        if task is not None:
            entry[role] = None
            task_queue.push(task)


class Task:
    """A coroutine that runs by itself; awaited, gives its result."""

    def __init__(self, coro):
        self.coro = coro
        self._due = 0
        self.waits_on = None  # None: it has or awaits its turn
        self.thrown = None  # what it gets at its next turn
        self.line = Line()  # tasks that await this one
        self.gathering = None  # the `gather` it is a part of
        self.finished = False
        self._retrieved = False  # somebody gets its exception
        self.error = None
        self.value = None
        _unfinished.add(self)

    def __repr__(self):
        return "<Task>"

    def done(self):
        return self.finished

    def __iter__(self):
        if self.finished:
            self._retrieved = True
        elif self.gathering is not None:
            raise RuntimeError("can't wait")
        return self

    __await__ = __iter__

    def __next__(self):
        if not self.finished:
            self.line.join()
            cur_task.waits_on = self
        elif self.error is not None:
            raise self.error
        else:
            raise StopIteration(self.value)

    def cancel(self):
        """CancelledError at its next turn, which is now; a task that awaits another passes it on."""
        if self.finished:
            return False
        if self is cur_task:
            raise RuntimeError("can't cancel self")
        task = self
        while isinstance(task.waits_on, Task):
            task = task.waits_on
        if task is not cur_task:  # it awaits the one that cancels it: has no effect in MicroPython either
            task.interrupt(CancelledError)
        return True

    def interrupt(self, error):
        if self.waits_on is not None:
            self.waits_on.remove(self)
            task_queue.push(self)
        elif ticks_diff(self._due, ticks_ms()) > 0:
            task_queue.remove(self)
            task_queue.push(self)
        self.thrown = error

    def _step(self):
        """One turn."""
        thrown, self.thrown = self.thrown, None
        try:
            if thrown is None:
                self.coro.send(None)
            else:
                self.coro.throw(thrown)
        except StopIteration as e:
            self._finish(None, e.value)
        except (CancelledError, Exception) as e:
            self._finish(e, None)

    def _finish(self, error, value):
        self.finished = True
        self.error, self.value = error, value
        _unfinished.discard(self)
        if self.gathering is not None:
            self._retrieved = True
            self.gathering.part_ended(error)
        elif not self.line.is_empty():
            self._retrieved = True
            self.line.wake_all()
        elif error is not None and not isinstance(error, CancelledError) and not self._retrieved:
            task_queue.push(self)  # reported at its next turn, unless somebody awaits it until then

    def _report(self):
        if not self._retrieved:
            message = "Task exception wasn't retrieved"
            Loop.call_exception_handler({"message": message, "exception": self.error, "future": self})


def current_task():
    if cur_task is None:
        raise RuntimeError("no running event loop")
    return cur_task


def create_task(coro):
    if not hasattr(coro, "send"):
        raise TypeError("coroutine expected")
    task = Task(coro)
    task_queue.push(task)
    return task


def as_task(awaitable):
    return awaitable if isinstance(awaitable, Task) else create_task(awaitable)


# The loop


def _wait_for_turn():
    """Wait until the first task of the queue is due."""
    while True:
        task = task_queue.peek()
        if task is None and io_queue.is_empty():
            call("time.idle")  # nothing but a timer callback can bring a task back
            continue
        wait_ms = -1 if task is None else max(0, ticks_diff(task._due, ticks_ms()))
        if wait_ms or not io_queue.is_empty():
            io_queue.wait(wait_ms)
        if wait_ms == 0:
            return


def run_until_complete(main_task):
    """Run all tasks until `main_task` is done, and return its result; the others stay where they are."""
    global cur_task
    main_task._retrieved = True
    while not main_task.finished:
        _wait_for_turn()
        task = cur_task = task_queue.pop()
        if task.finished:
            task._report()
        else:
            task._step()
    cur_task = None
    if main_task.error is not None:
        raise main_task.error
    return main_task.value


def run(coro):
    return run_until_complete(create_task(coro))


async def _nothing():
    pass


class Loop:
    """There is one, and it is this class."""

    _exception_handler = None
    _stopper = None

    @staticmethod
    def create_task(coro):
        return create_task(coro)

    @staticmethod
    def run_until_complete(awaitable):
        return run_until_complete(as_task(awaitable))

    @staticmethod
    def run_forever():
        Loop._stopper = Task(_nothing())
        run_until_complete(Loop._stopper)

    @staticmethod
    def stop():
        """The tasks that are due now have their turn before."""
        if Loop._stopper is not None:
            task_queue.push(Loop._stopper)
            Loop._stopper = None

    @staticmethod
    def close():
        pass

    @staticmethod
    def set_exception_handler(handler):
        """`handler(loop, context)`; None is the default one."""
        Loop._exception_handler = handler

    @staticmethod
    def get_exception_handler():
        return Loop._exception_handler

    @staticmethod
    def default_exception_handler(loop, context):
        print(context["message"])
        print("future:", context["future"], "coro=", _described(context["future"].coro))
        sys.print_exception(context["exception"])

    @staticmethod
    def call_exception_handler(context):
        (Loop._exception_handler or Loop.default_exception_handler)(Loop, context)


def _described(coro):
    """As MicroPython shows it, less the address: a run shall print the same when it is repeated."""
    name = repr(coro).split(" at ")[0].split(" ")[-1].split(".")[-1]
    return "<generator object '%s'>" % name.strip("'>")


def get_event_loop(runq_len=0, waitq_len=0):
    return Loop


def new_event_loop():
    """Forget all tasks."""
    global task_queue, io_queue
    task_queue = TaskQueue()
    io_queue = IOQueue()
    return Loop


new_event_loop()
