"""Runs that are remembered: as many as fit, over power cuts, in a file that is bounded."""

import os

from plexus_mp import runbook
from plexus_mp.runbook import Runbook, key_of

from . import talks


def _keys(first, last):
    return [key_of("run-%d" % n) for n in range(first, last)]


def test_the_last_256_are_remembered():
    book = Runbook("")
    for key in _keys(0, 300):
        book.set(book.add(key), 3, 70_000)
    assert [book.find(key) >= 0 for key in _keys(0, 300)] == [False] * 44 + [True] * 256
    assert book.get(book.find(key_of("run-299"))) == (3, 65_535)
    assert len(book._table) == 256 * 11


def test_a_key_across_two_entries_is_no_key():
    book = Runbook("")
    book.add(b"ABCDEFGH", 1)
    book.add(b"ijklmnop", 2)
    across = bytes(book._table[5:13])
    assert book.find(across) == -1
    book.add(across, 3)
    assert book.get(book.find(across)) == (3, 0)


def test_the_file_is_bounded_and_keeps_the_last():
    with talks.Clean() as path:
        book = Runbook(path)
        for n in range(1000):
            book.write(key_of("run-%d" % n), 2)
            if n % 3:
                book.write(key_of("run-%d" % n), 3)
            assert os.stat(path)[6] <= 768 * 12
        book = Runbook(path)
        states = [book.get(book.find(key))[0] for key in _keys(744, 1000)]
        assert states == [3 if n % 3 else 2 for n in range(744, 1000)]


def _content(path):
    with open(path, "rb") as f:
        return f.read()


def test_torn_records_cost_only_themselves():
    with talks.Clean() as path:
        book = Runbook(path)
        for key in _keys(0, 3):
            book.write(key, 2)
        whole = _content(path)
        for cut in range(len(whole)):
            with open(path, "wb") as f:
                f.write(whole[:cut])
            book = Runbook(path)
            assert [book.find(key) >= 0 for key in _keys(0, 3)] == [n < cut // 12 for n in range(3)]
            book.write(key_of("run-9"), 2)  # and what comes behind it is found
            assert Runbook(path).find(key_of("run-9")) >= 0
        for at in range(12, 24):
            with open(path, "wb") as f:
                f.write(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
            book = Runbook(path)
            assert [book.find(key) >= 0 for key in _keys(0, 3)] == [True, False, True]


class _Os:
    """A filesystem where the power goes at step `dies_at` of putting a file in another's place, and FAT if `fat`."""

    def __init__(self, dies_at, fat):
        self.left = dies_at
        self.fat = fat

    def _step(self):
        self.left -= 1
        if self.left < 0:
            raise SystemExit

    def remove(self, path):
        self._step()
        os.remove(path)

    def rename(self, old, new):
        if self.fat:
            try:
                os.stat(new)
            except OSError:
                pass  # nothing to replace
            else:
                raise OSError(17)
        self._step()
        os.rename(old, new)


def test_a_cut_while_the_file_is_shortened():
    for fat in (False, True):
        for dies_at in range(3):
            with talks.Clean() as path:
                book = Runbook(path)
                for key in _keys(0, 768):
                    book.write(key, 2)
                system = _Os(dies_at, fat)
                before = runbook.os
                runbook.os = system
                try:
                    book.write(key_of("run-768"), 2)
                except SystemExit:
                    assert dies_at < 1 + fat
                finally:
                    runbook.os = before
                book = Runbook(path)
                assert all([book.find(key) >= 0 for key in _keys(520, 768)]), (fat, dies_at)
