"""What a board knows of time: ticks from its crystal, a real-time clock that nobody set, and timers."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from .config import BoardConfig

TICKS_US_PERIOD = 1 << 30


class Clocks:
    """Ticks and RTC of one board, made from true time in microseconds.

    `power_on` starts both anew: ticks at the configured value, the RTC at the first second of its epoch.
    """

    def __init__(self, config: BoardConfig) -> None:
        self._config = config
        self._rate = self._rtc_rate = 1.0 + config.drift_ppm / 1e6
        self.power_on(0)

    def power_on(self, now_us: int) -> None:
        self._ticks_start_ms = self._config.ticks_start_ms
        self._ticks_period_ms = self._config.ticks_period_ms
        self._since_us = now_us  # true time up to which the two below are counted
        self._uptime_us = 0.0
        self._rtc_us = 0.0
        self._rtc_rate = self._rate

    def reset(self, now_us: int) -> None:
        """Ticks start anew at every reset, the RTC goes on, by the crystal again."""
        self._count(now_us)
        self._uptime_us = 0.0
        self._rtc_rate = self._rate

    def doze(self, now_us: int, us: int) -> int:
        """Deep sleep begins: how long true time takes until the clock that is left has counted `us`."""
        self._count(now_us)
        self._rtc_rate = 1.0 + self._config.sleep_drift_ppm / 1e6
        return int(us / self._rtc_rate + 0.999)

    def set_drift(self, now_us: int, drift_ppm: float) -> None:
        """From now on the crystal is so much too fast."""
        self._count(now_us)
        self._rate = self._rtc_rate = 1.0 + drift_ppm / 1e6

    def _count(self, now_us: int) -> None:
        self._uptime_us = self.uptime_us(now_us)
        self._rtc_us = self.rtc_us(now_us)
        self._since_us = now_us

    def uptime_us(self, now_us: int) -> int:
        return int(self._uptime_us + (now_us - self._since_us) * self._rate)

    def ticks_us(self, now_us: int) -> int:
        return (self.uptime_us(now_us) + self._ticks_start_ms * 1000) % TICKS_US_PERIOD

    def ticks_ms(self, now_us: int) -> int:
        uptime_us = int(self._uptime_us + (now_us - self._since_us) * self._rate)
        return (uptime_us // 1000 + self._ticks_start_ms) % self._ticks_period_ms

    def rtc_us(self, now_us: int) -> int:
        """Microseconds since the board's epoch, as far as it knows."""
        return int(self._rtc_us + (now_us - self._since_us) * self._rtc_rate)

    def set_rtc_us(self, now_us: int, rtc_us: int) -> None:
        self._count(now_us)
        self._rtc_us = rtc_us

    def true_us(self, board_us: int) -> int:
        """How long true time takes until the board has counted `board_us`."""
        return max(0, int(board_us / self._rate + 0.999))


@dataclass(slots=True)
class _Timer:
    period_us: int
    periodic: bool
    due_us: int


class Timers:
    """The board's timers, by id; due times are true time."""

    LIMIT = 16

    def __init__(self) -> None:
        self._timers: dict[int, _Timer] = {}
        self._heap: list[tuple[int, int]] = []
        self.next_us: int | None = None

    def start(self, timer_id: int, now_us: int, period_us: int, periodic: bool) -> None:
        if len(self._timers) >= self.LIMIT and timer_id not in self._timers:
            raise OSError(12)  # ENOMEM
        due_us = now_us + period_us
        anew = timer_id in self._timers
        self._timers[timer_id] = _Timer(period_us, periodic, due_us)
        heapq.heappush(self._heap, (due_us, timer_id))
        if anew:
            self._look()
        elif self.next_us is None or due_us < self.next_us:
            self.next_us = due_us

    def stop(self, timer_id: int) -> None:
        self._timers.pop(timer_id, None)
        self._look()

    def clear(self) -> None:
        self._timers.clear()
        self._heap.clear()
        self.next_us = None

    def take_due(self, now_us: int) -> list[int]:
        """The timers that are due, in their order; periodic ones are armed again, missed periods skipped."""
        due = []
        heap, timers = self._heap, self._timers
        while heap and heap[0][0] <= now_us:
            due_us, timer_id = heap[0]
            timer = timers.get(timer_id)
            if timer is None or timer.due_us != due_us:  # stopped, or started anew
                heapq.heappop(heap)
                continue
            due.append(timer_id)
            if timer.periodic:
                periods = (now_us - due_us) // timer.period_us + 1
                timer.due_us += periods * timer.period_us
                heapq.heapreplace(heap, (timer.due_us, timer_id))
            else:
                del timers[timer_id]
                heapq.heappop(heap)
        self._look()
        return due

    def _look(self) -> None:
        """Forget entries of timers that were stopped or started anew."""
        heap = self._heap
        while heap:
            timer = self._timers.get(heap[0][1])
            if timer is not None and timer.due_us == heap[0][0]:
                break
            heapq.heappop(heap)
        self.next_us = heap[0][0] if heap else None
