"""`asyncio` as MicroPython 1.29 has it, for both VMs: what suspends does so by `__iter__`, which is
what MicroPython's `await` asks for, and by `__await__`, which CPython's does.

Waiting is done in `select.poll`, so timer callbacks run meanwhile and virtual time passes in one step.
"""

import select
import sys
from time import ticks_add, ticks_diff, ticks_ms

from _board import call

__version__ = (3, 0, 0)

_POLL = 3  # the request that asks a stream for its events: MP_STREAM_POLL
_READER = 1
_WRITER = 2
# Numbers of lwIP and newlib on an ESP32.
_EINPROGRESS = 119
_EOPNOTSUPP = 95

cur_task = None
# A task that nobody refers to any more still stands where it waits. Python would collect it and run its
# `finally` blocks, which MicroPython does not, least of all after a power cut.
_unfinished = set()


class CancelledError(BaseException):
    pass


class TimeoutError(Exception):
    pass


class _Pause:
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
            _task_queue.push(cur_task, self._due)


def sleep_ms(t):
    """Counts from the call, not from the `await`; less than 0 is 0."""
    return _Pause(ticks_add(ticks_ms(), max(0, t)))


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
        task._waits_on = None
        tasks = self._tasks
        i = len(tasks)
        while i and ticks_diff(tasks[i - 1]._due, due) > 0:
            i -= 1
        tasks.insert(i, task)

    def pop(self):
        return self._tasks.pop(0)

    def remove(self, task):
        self._tasks.remove(task)


class _Line:
    """Tasks that wait for something without a date, in the order in which they came."""

    def __init__(self):
        self._tasks = []

    def join(self):
        """Let the running task wait here: it awaits what this returns."""
        self._tasks.append(cur_task)
        cur_task._waits_on = self
        return _Pause()

    def remove(self, task):
        self._tasks.remove(task)

    def is_empty(self):
        return not self._tasks

    def wake_next(self):
        """Its turn comes; None when nobody waits."""
        if not self._tasks:
            return None
        task = self._tasks.pop(0)
        _task_queue.push(task)
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
        cur_task._waits_on = self
        self._register(entry)
        return _Pause()

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
            _task_queue.push(task)


class Task:
    """A coroutine that runs by itself; awaited, gives its result."""

    def __init__(self, coro):
        self.coro = coro
        self._due = 0
        self._waits_on = None  # None: it has or awaits its turn
        self._thrown = None  # what it gets at its next turn
        self._line = _Line()  # tasks that await this one
        self._gathering = None  # the `gather` it is a part of
        self._finished = False
        self._retrieved = False  # somebody gets its exception
        self._error = None
        self._value = None
        _unfinished.add(self)

    def __repr__(self):
        return "<Task>"

    def done(self):
        return self._finished

    def __iter__(self):
        if self._finished:
            self._retrieved = True
        elif self._gathering is not None:
            raise RuntimeError("can't wait")
        return self

    __await__ = __iter__

    def __next__(self):
        if not self._finished:
            self._line.join()
            cur_task._waits_on = self
        elif self._error is not None:
            raise self._error
        else:
            raise StopIteration(self._value)

    def cancel(self):
        """CancelledError at its next turn, which is now; a task that awaits another passes it on."""
        if self._finished:
            return False
        if self is cur_task:
            raise RuntimeError("can't cancel self")
        task = self
        while isinstance(task._waits_on, Task):
            task = task._waits_on
        if task is not cur_task:  # it awaits the one that cancels it: has no effect in MicroPython either
            task._interrupt(CancelledError)
        return True

    def _interrupt(self, error):
        if self._waits_on is not None:
            self._waits_on.remove(self)
            _task_queue.push(self)
        elif ticks_diff(self._due, ticks_ms()) > 0:
            _task_queue.remove(self)
            _task_queue.push(self)
        self._thrown = error

    def _step(self):
        """One turn."""
        thrown, self._thrown = self._thrown, None
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
        self._finished = True
        self._error, self._value = error, value
        _unfinished.discard(self)
        if self._gathering is not None:
            self._retrieved = True
            self._gathering.part_ended(error)
        elif not self._line.is_empty():
            self._retrieved = True
            self._line.wake_all()
        elif error is not None and not isinstance(error, CancelledError) and not self._retrieved:
            _task_queue.push(self)  # reported at its next turn, unless somebody awaits it until then

    def _report(self):
        if not self._retrieved:
            message = "Task exception wasn't retrieved"
            Loop.call_exception_handler({"message": message, "exception": self._error, "future": self})


def current_task():
    if cur_task is None:
        raise RuntimeError("no running event loop")
    return cur_task


def create_task(coro):
    if not hasattr(coro, "send"):
        raise TypeError("coroutine expected")
    task = Task(coro)
    _task_queue.push(task)
    return task


def _as_task(awaitable):
    return awaitable if isinstance(awaitable, Task) else create_task(awaitable)


# The loop


def _wait_for_turn():
    """Wait until the first task of the queue is due."""
    while True:
        task = _task_queue.peek()
        if task is None and _io_queue.is_empty():
            call("time.idle")  # nothing but a timer callback can bring a task back
            continue
        wait_ms = -1 if task is None else max(0, ticks_diff(task._due, ticks_ms()))
        if wait_ms or not _io_queue.is_empty():
            _io_queue.wait(wait_ms)
        if wait_ms == 0:
            return


def run_until_complete(main_task):
    """Run all tasks until `main_task` is done, and return its result; the others stay where they are."""
    global cur_task
    main_task._retrieved = True
    while not main_task._finished:
        _wait_for_turn()
        task = cur_task = _task_queue.pop()
        if task._finished:
            task._report()
        else:
            task._step()
    cur_task = None
    if main_task._error is not None:
        raise main_task._error
    return main_task._value


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
        return run_until_complete(_as_task(awaitable))

    @staticmethod
    def run_forever():
        Loop._stopper = Task(_nothing())
        run_until_complete(Loop._stopper)

    @staticmethod
    def stop():
        """The tasks that are due now have their turn before."""
        if Loop._stopper is not None:
            _task_queue.push(Loop._stopper)
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
    global _task_queue, _io_queue
    _task_queue = TaskQueue()
    _io_queue = IOQueue()
    return Loop


new_event_loop()

# Waiting for several


class _Limited:
    """One `wait_for`: its task sleeps, and `run` awaits the awaitable in a task of its own."""

    def __init__(self):
        self._waiter = cur_task
        self._error = None
        self._value = None

    async def run(self, awaitable):
        try:
            self._value = await awaitable
        except BaseException as e:
            self._error = e
        waiter = self._waiter
        # That it sleeps may also mean that it was cancelled, went on and sleeps elsewhere. MicroPython does
        # not tell the two apart either, and cancels it a second time.
        if waiter._waits_on is None and waiter._thrown is None and not waiter._finished:
            waiter._interrupt(CancelledError(self))

    def result(self):
        if self._error is not None:
            raise self._error
        return self._value


async def wait_for(aw, timeout, sleep=sleep):
    """The result of `aw`; after `timeout` seconds cancels it and raises TimeoutError."""
    aw = _as_task(aw)
    if timeout is None:
        return await aw
    limited = _Limited()
    runner = create_task(limited.run(aw))
    try:
        await sleep(timeout)
    except CancelledError as e:
        if limited in e.args:
            return limited.result()
        runner.cancel()
        raise
    runner.cancel()
    await runner
    raise TimeoutError


def wait_for_ms(aw, timeout):
    return wait_for(aw, timeout, sleep_ms)


class _Gathering:
    """One `gather`, which its task waits on until all parts have ended, or one of them failed."""

    def __init__(self, parts, keeps_errors):
        self._task = cur_task
        self._parts = parts
        self._keeps_errors = keeps_errors
        self._running = 0
        self.error = None
        for part in parts:
            self._add(part)

    def _add(self, part):
        if part._finished:
            if not self._keeps_errors:
                self.error = self.error or part._error
        elif part._gathering is not None or not part._line.is_empty():
            raise RuntimeError("can't gather")
        else:
            part._gathering = self
            self._running += 1

    def must_wait(self):
        return self._running > 0 and self.error is None

    def wait(self):
        self._task._waits_on = self
        return _Pause()

    def remove(self, task):
        """Nothing to leave: a part that ends looks whether the task still waits."""

    def part_ended(self, error):
        if self._task._waits_on is not self:
            return
        self._running -= 1
        if error is not None and not self._keeps_errors:
            self.error = error
        elif self._running:
            return
        _task_queue.push(self._task)

    def let_go(self, cancels):
        """Parts that still run are on their own from now on."""
        for part in self._parts:
            if not part._finished:
                part._gathering = None
                if cancels:
                    part.cancel()

    def results(self):
        return [part._value if part._error is None else part._error for part in self._parts]


async def gather(*aws, return_exceptions=False):
    """The results in the order of `aws`; the first exception is raised, unless they are to be returned."""
    gathering = _Gathering([_as_task(aw) for aw in aws], return_exceptions)
    try:
        if gathering.must_wait():
            await gathering.wait()
    except CancelledError:
        gathering.let_go(True)
        raise
    gathering.let_go(False)
    if gathering.error is not None:
        raise gathering.error
    return gathering.results()


# Between tasks


class Event:
    def __init__(self):
        self._is_set = False
        self._line = _Line()

    def is_set(self):
        return self._is_set

    def set(self):
        """From a task only: what timer callbacks set is a `ThreadSafeFlag`."""
        self._line.wake_all()
        self._is_set = True

    def clear(self):
        self._is_set = False

    async def wait(self):
        if not self._is_set:
            await self._line.join()
        return True


class ThreadSafeFlag:
    """To be set from anywhere; waits as a stream that the poller asks. One task at a time waits for it."""

    def __init__(self):
        self._is_set = False

    def ioctl(self, request, argument):
        if request != _POLL:
            return -1
        return argument if self._is_set else 0

    def set(self):
        self._is_set = True

    def clear(self):
        self._is_set = False

    async def wait(self):
        if not self._is_set:
            await _io_queue.queue_read(self)
        self._is_set = False


class Lock:
    def __init__(self):
        self._locked = False
        self._heir = None  # it is next and has not had its turn yet
        self._line = _Line()

    def locked(self):
        return self._locked

    async def acquire(self):
        if self._locked or self._heir is not None:
            await self._turn()
        self._heir = None
        self._locked = True
        return True

    async def _turn(self):
        try:
            await self._line.join()
        except CancelledError:
            if self._heir is cur_task:
                self._pass_on()
            raise

    def release(self):
        if not self._locked:
            raise RuntimeError("Lock not acquired")
        self._locked = False
        self._pass_on()

    def _pass_on(self):
        self._heir = self._line.wake_next()

    async def __aenter__(self):
        return await self.acquire()

    async def __aexit__(self, exc_type, exc, tb):
        return self.release()


# Streams


class Stream:
    """Reads and writes `s`, which must not block."""

    def __init__(self, s, e={}):  # noqa: B006
        self.s = s
        self.e = e
        self.out_buf = b""

    def get_extra_info(self, v):
        return self.e[v]

    def close(self):
        pass

    async def wait_closed(self):
        self.s.close()

    async def read(self, n=-1):
        """At most `n` bytes, b"" at the end; with -1, all until the end."""
        whole = b""
        while True:
            await _io_queue.queue_read(self.s)
            part = self.s.read(n)
            if part is None:
                continue
            if n >= 0:
                return part
            if not part:
                return whole
            whole += part

    async def readinto(self, buf):
        await _io_queue.queue_read(self.s)
        return self.s.readinto(buf)

    async def readexactly(self, n):
        whole = b""
        while len(whole) < n:
            await _io_queue.queue_read(self.s)
            part = self.s.read(n - len(whole))
            if part is None:
                continue
            if not part:
                raise EOFError
            whole += part
        return whole

    async def readline(self):
        line = b""
        while True:
            await _io_queue.queue_read(self.s)
            byte = self.s.read(1)
            while byte:
                line += byte
                if byte == b"\n":
                    return line
                byte = self.s.read(1)
            if byte is not None:
                return line

    def write(self, buf):
        """Gives to the stream what it takes at once; `drain` writes the rest."""
        if not self.out_buf:
            n = self.s.write(buf)
            if n == len(buf):
                return
            if n:
                buf = buf[n:]
        self.out_buf += buf

    async def drain(self):
        if not self.out_buf:
            await sleep_ms(0)  # so that a loop of write and drain lets others have their turn
            return
        rest = memoryview(self.out_buf)
        while rest:
            await _io_queue.queue_write(self.s)
            n = self.s.write(rest)
            if n:
                rest = rest[n:]
        self.out_buf = b""


StreamReader = Stream
StreamWriter = Stream


async def open_connection(host, port, ssl=None, server_hostname=None):
    """A stream twice, to read from and to write to. Resolving the host blocks.

    As in MicroPython it returns as well when the connection is refused, and the first use raises `OSError`.
    """
    import socket

    info = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    s = socket.socket(info[0], info[1], info[2])
    try:
        s = _begin(s, info[-1], ssl, server_hostname or host)
        await _io_queue.queue_write(s)
    except (CancelledError, Exception):
        s.close()  # a board's garbage collector would, this one does not know of sockets
        raise
    stream = Stream(s)
    return stream, stream


def _begin(s, address, context, name):
    """Start to connect; the socket, wrapped when `context` is an SSLContext or True."""
    s.setblocking(False)
    try:
        s.connect(address)
    except OSError as e:
        if e.errno != _EINPROGRESS:
            raise
    if not context:
        return s
    if context is True:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    s = context.wrap_socket(s, server_hostname=name, do_handshake_on_connect=False)
    s.setblocking(False)
    return s


async def start_server(cb, host, port, backlog=5, ssl=None):
    raise OSError(_EOPNOTSUPP, "the virtual board does not listen")
