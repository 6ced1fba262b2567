"""What tasks wait for together, of `asyncio`: limits, groups, events, flags and locks."""

import _asyncio_core as core

_POLL = 3  # the request that asks a stream for its events: MP_STREAM_POLL

# Waiting for several


class _Limited:
    """One `wait_for`: its task sleeps, and `run` awaits the awaitable in a task of its own."""

    def __init__(self):
        self._waiter = core.cur_task
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
        if waiter.waits_on is None and waiter.thrown is None and not waiter.finished:
            waiter.interrupt(core.CancelledError(self))

    def result(self):
        if self._error is not None:
            raise self._error
        return self._value


async def wait_for(aw, timeout, sleep=core.sleep):
    """The result of `aw`; after `timeout` seconds cancels it and raises TimeoutError."""
    aw = core.as_task(aw)
    if timeout is None:
        return await aw
    limited = _Limited()
    runner = core.create_task(limited.run(aw))
    try:
        await sleep(timeout)
    except core.CancelledError as e:
        if limited in e.args:
            return limited.result()
        runner.cancel()
        raise
    runner.cancel()
    await runner
    raise core.TimeoutError


def wait_for_ms(aw, timeout):
    return wait_for(aw, timeout, core.sleep_ms)


class _Gathering:
    """One `gather`, which its task waits on until all parts have ended, or one of them failed."""

    def __init__(self, parts, keeps_errors):
        self._task = core.cur_task
        self._parts = parts
        self._keeps_errors = keeps_errors
        self._running = 0
        self.error = None
        for part in parts:
            self._add(part)

    def _add(self, part):
        if part.finished:
            if not self._keeps_errors:
                self.error = self.error or part.error
        elif part.gathering is not None or not part.line.is_empty():
            raise RuntimeError("can't gather")
        else:
            part.gathering = self
            self._running += 1

    def must_wait(self):
        return self._running > 0 and self.error is None

    def wait(self):
        self._task.waits_on = self
        return core.Pause()

    def remove(self, task):
        """Nothing to leave: a part that ends looks whether the task still waits."""

    def part_ended(self, error):
        if self._task.waits_on is not self:
            return
        self._running -= 1
        if error is not None and not self._keeps_errors:
            self.error = error
        elif self._running:
            return
        core.task_queue.push(self._task)

    def let_go(self, cancels):
        """Parts that still run are on their own from now on."""
        for part in self._parts:
            if not part.finished:
                part.gathering = None
                if cancels:
                    part.cancel()

    def results(self):
        return [part.value if part.error is None else part.error for part in self._parts]


async def gather(*aws, return_exceptions=False):
    """The results in the order of `aws`; the first exception is raised, unless they are to be returned."""
    gathering = _Gathering([core.as_task(aw) for aw in aws], return_exceptions)
    try:
        if gathering.must_wait():
            await gathering.wait()
    except core.CancelledError:
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
        self._line = core.Line()

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
            await core.io_queue.queue_read(self)
        self._is_set = False


class Lock:
    def __init__(self):
        self._locked = False
        self._heir = None  # it is next and has not had its turn yet
        self._line = core.Line()

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
        except core.CancelledError:
            if self._heir is core.cur_task:
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
