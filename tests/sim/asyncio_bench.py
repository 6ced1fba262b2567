"""Programs with `asyncio` on both VMs, for tests."""

from __future__ import annotations

from host_sim.world import VIRTUAL_GATEWAY
from tests.e2e.simulation import VMS, program, simulate

HEAD = """
import asyncio
import time

import machine
from machine import Timer


def say(*values):
    print(time.ticks_ms(), *values)


async def worker(name, ms, n=1, error=None):
    try:
        for i in range(n):
            await asyncio.sleep_ms(ms)
            say(name, i)
        if error:
            raise error
        return name
    except asyncio.CancelledError:
        say(name, "cancelled")
        raise


def start(name, ms, n=1, error=None):
    return asyncio.create_task(worker(name, ms, n, error))


def later(ms, function):
    Timer(-1, mode=Timer.ONE_SHOT, period=ms, callback=lambda timer: function())

"""

CONNECT = f"""
import network

async def connected():
    while not network.WLAN(network.STA_IF).isconnected():
        await asyncio.sleep_ms(100)

async def dial(port={VIRTUAL_GATEWAY[1]}):
    await connected()
    return await asyncio.open_connection("{VIRTUAL_GATEWAY[0]}", port)
"""


def printer(folder):
    """`printed(source)` runs it on both VMs, has them agree, and gives what they printed, line by line.

    Calls into the board cost no time, so what a program prints of the time is exact.
    """

    def printed(source, seconds=30, during=None, **config):
        def prepare(placement):
            for name, value in {"call_us": 0, **config}.items():
                setattr(placement.board.config, name, value)

        firmware = program(folder, HEAD + source)
        consoles = [_lines(simulate(firmware, vm, seconds, during, prepare=prepare)) for vm in VMS]
        assert consoles[0] == consoles[1]
        return consoles[0]

    return printed


def _lines(outcome):
    """Without the lines of tracebacks, which name files, and with exceptions as CPython shows them."""
    lines = [line.replace(",)", ")") for line in outcome.console.splitlines()]
    return [line for line in lines if not line.startswith("  ")]
