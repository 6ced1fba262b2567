"""`asyncio` as MicroPython 1.29 has it, the same on both VMs."""
# ruff: noqa: F401

from _asyncio_core import (
    CancelledError,
    Loop,
    Task,
    TimeoutError,
    create_task,
    current_task,
    get_event_loop,
    new_event_loop,
    run,
    run_until_complete,
    sleep,
    sleep_ms,
)
from _asyncio_streams import StreamReader, StreamWriter, open_connection, start_server
from _asyncio_sync import Event, Lock, ThreadSafeFlag, gather, wait_for, wait_for_ms

__version__ = (3, 0, 0)
