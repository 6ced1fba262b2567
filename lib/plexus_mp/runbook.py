"""Which runs of commands were seen: the last 256, in RAM, and those that must not run twice also in a file.

In RAM a run takes 11 bytes: a hash of its id, its state, how many statuses were sent of it. In the file it takes 12 for
having begun, and 12 more for its end: hash, state, 3 bytes of CRC. The file is appended to; a record that a power
cut tore has a wrong CRC, and does not count. It is written before a handler runs.
"""

import os
import struct
from binascii import crc32

from .ports import const

_RUNS_MAX = const(256)
_ENTRY = const(11)
_RECORD = const(12)
# Two records a run: as many as 256 runs have, and what comes before they are copied.
_KEPT_RECORDS = const(512)
_RECORDS_MAX = const(768)


def key_of(run_id):
    """8 bytes that stand for a run id: two hashes, so that one collision in 2^56 is what to expect."""
    data = run_id.encode()
    n = len(data)
    for c in data:
        n = (n * 33 & 0xFFFFFF) ^ c
    return struct.pack(">II", crc32(data), n)


class Runbook:
    """`path` is that of the file, "" for none."""

    def __init__(self, path):
        self.path = path
        self._table = bytearray()
        self._next = 0  # entry that the next run takes once there are 256
        self._records = 0
        self._fault = None  # why the file cannot be trusted
        if path:
            try:
                self._load()
            except OSError as e:
                self._fault = e

    def find(self, key):
        """Where the run's entry is, -1 if it is not remembered."""
        at = self._table.find(key)
        while at > 0 and at % _ENTRY:
            at = self._table.find(key, at + 1)
        return at

    def add(self, key, state=0):
        """A new entry; the oldest one goes when there are 256."""
        at = len(self._table)
        if at < _RUNS_MAX * _ENTRY:
            self._table.extend(bytes(_ENTRY))
        else:
            at = self._next * _ENTRY
            self._next = (self._next + 1) % _RUNS_MAX
        struct.pack_into(">8sBH", self._table, at, key, state, 0)
        return at

    def get(self, at):
        """(state, number of the last status) of the entry there."""
        return struct.unpack_from(">BH", self._table, at + 8)

    def set(self, at, state, seq):
        struct.pack_into(">BH", self._table, at + 8, state, min(seq, 0xFFFF))

    def write(self, key, state):
        """Keep the run's state over a reboot. Raises `OSError` when it cannot be kept; blocks for a write to a file."""
        if not self.path:
            return
        if self._fault:
            raise self._fault
        if self._records >= _RECORDS_MAX:
            self._shorten(self._records - _KEPT_RECORDS)
        record = key + bytes((state,))
        with open(self.path, "ab") as f:
            f.write(record + struct.pack(">I", crc32(record))[1:])
        self._records += 1

    def _load(self):
        f = self._open()
        if f is None:
            return
        with f:
            while True:
                record = f.read(_RECORD)
                if len(record) < _RECORD:
                    break
                self._records += 1
                if struct.pack(">I", crc32(record[:9]))[1:] == record[9:]:
                    at = self.find(record[:8])
                    self.add(record[:8], record[8]) if at < 0 else self.set(at, record[8], 0)
        if record:  # torn: what is appended must not begin there
            self._shorten(0)

    def _open(self):
        try:
            return open(self.path, "rb")
        except OSError:
            pass  # no run yet, or the power went between the two steps of _replace
        try:
            os.rename(self.path + ".new", self.path)
            return open(self.path, "rb")
        except OSError:
            return None

    def _shorten(self, first):
        """Copy the records from number `first` on, and put the copy in the file's place."""
        with open(self.path, "rb") as old:
            with open(self.path + ".new", "wb") as new:
                old.seek(first * _RECORD)
                for _ in range(self._records - first):
                    new.write(old.read(_RECORD))
        self._records -= first
        try:
            os.rename(self.path + ".new", self.path)
        except OSError:  # FAT does not replace
            os.remove(self.path)
            os.rename(self.path + ".new", self.path)
