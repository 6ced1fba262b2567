"""Sectors in files: on the filesystem that the VM has, and on one that fails when it is told to."""

from plexus_mp.fileblocks import FileBlocks

from . import gen
from .disks import Disk, Folder

DEINIT = 2
SYNC = 3
ERASE = 6


def _read(dev, n, size, off=0):
    buf = bytearray(size)
    dev.readblocks(n, memoryview(buf), off)
    return bytes(buf)


def _put(dev, n, content, header=72):
    dev.ioctl(ERASE, n)
    dev.writeblocks(n, content[:header], 0)
    if len(content) > header:
        dev.writeblocks(n, memoryview(content)[header:], header)


def _padded(content, size):
    return content + b"\xff" * (size - len(content))


def _against_model(g, folder, count, sector):
    """A ring's calls against the bytes that each sector must hold; it boots anew now and then."""
    dev = FileBlocks(folder, count * sector, sector)
    model = [b""] * count
    for n in range(count):
        dev.ioctl(ERASE, n)
    for _ in range(60):
        n = g.below(count)
        what = g.below(6)
        if what < 2:
            content = g.take(g.between(1, sector))
            _put(dev, n, content, g.between(1, 96))
            if len(content) <= 96:
                dev.ioctl(SYNC, 0)  # perhaps a header without data
            model[n] = content
        elif what == 2 and model[n] and len(model[n]) < sector:
            mark = g.take(min(16, sector - len(model[n])))
            dev.writeblocks(n, mark, len(model[n]))
            model[n] += mark
        elif what == 3:
            dev.ioctl(ERASE, n)
            model[n] = b""
        elif what == 4:
            off = g.below(sector)
            size = g.between(1, sector - off)
            assert _read(dev, n, size, off) == _padded(model[n], sector)[off : off + size]
        elif g.chance(3):
            dev.ioctl(SYNC, 0)
            dev = FileBlocks(folder, count * sector, sector)
    for n in range(count):
        assert _read(dev, n, sector) == _padded(model[n], sector), n
    dev.ioctl(DEINIT, 0)


def test_against_a_list_of_sectors():
    for count, sector in ((2, 512), (5, 700), (3, 4096)):
        with Folder() as folder:
            gen.for_seeds(4, _against_model, folder, count, sector)
        with Disk():
            gen.for_seeds(4, _against_model, "/ring", count, sector)


def test_the_protocol():
    with Disk() as disk:
        dev = FileBlocks("/ring", 10000, 1024)
        assert dev.ioctl(4, 0) == 9 and dev.ioctl(5, 0) == 1024
        assert not dev.volatile and dev.write_once
        assert _read(dev, 3, 1024) == b"\xff" * 1024
        assert disk.folder and disk.files == {} and disk.opens == 0


def test_a_header_waits_for_the_first_data():
    with Disk() as disk:
        dev = FileBlocks("/ring", 4096, 1024)
        dev.ioctl(ERASE, 1)
        dev.writeblocks(1, b"h" * 72, 0)
        assert disk.calls == 1 and _read(dev, 1, 80) == b"h" * 72 + b"\xff" * 8  # the folder's mkdir
        dev.writeblocks(1, b"commit", 72)
        assert disk.files == {"/ring/1": b"h" * 72 + b"commit"} and disk.opens == 1
        dev.ioctl(ERASE, 2)
        dev.writeblocks(2, b"h" * 72, 0)
        dev.ioctl(SYNC, 0)
        assert disk.files["/ring/2"] == b"h" * 72
        dev.writeblocks(2, b"later", 72)
        assert disk.files["/ring/2"] == b"h" * 72 + b"later" and disk.is_open == []


def test_a_sector_is_replaced_without_being_removed():
    with Disk() as disk:
        dev = FileBlocks("/ring", 4096, 1024)
        for content in (b"a" * 500, b"b" * 600, b"c" * 100):
            _put(dev, 1, content)
            assert disk.files == {"/ring/1": content}
        assert disk.removes == 0


def test_a_released_sector_goes_at_a_sync_or_with_the_next_change():
    with Disk() as disk:
        dev = FileBlocks("/ring", 4096, 1024)
        for n in range(4):
            _put(dev, n, b"a" * 500)
        dev.ioctl(ERASE, 0)
        assert "/ring/0" in disk.files and _read(dev, 0, 500) == b"\xff" * 500
        dev.ioctl(SYNC, 0)
        assert "/ring/0" not in disk.files
        dev.ioctl(ERASE, 1)
        dev.ioctl(ERASE, 2)
        assert "/ring/1" not in disk.files and "/ring/2" in disk.files
        dev.writeblocks(3, b"mark", 500)
        assert sorted(disk.files) == ["/ring/3"]
        dev.ioctl(ERASE, 0)
        dev.writeblocks(0, b"h" * 72, 0)
        dev.ioctl(ERASE, 3)  # while a sector is open
        assert disk.files == {}
        dev.writeblocks(0, b"commit", 72)
        assert disk.files == {"/ring/0": b"h" * 72 + b"commit"} and disk.removes == 4


def test_the_next_header_gives_up_the_one_before():
    with Disk() as disk:
        dev = FileBlocks("/ring", 4096, 1024)
        _put(dev, 0, b"old" * 100)
        dev.ioctl(ERASE, 0)
        dev.writeblocks(0, b"h" * 72, 0)
        dev.ioctl(ERASE, 1)
        dev.writeblocks(1, b"i" * 72, 0)
        assert disk.files == {} and _read(dev, 0, 8) == b"\xff" * 8 and _read(dev, 1, 8) == b"i" * 8
        dev.writeblocks(1, b"commit", 72)
        assert disk.files == {"/ring/1": b"i" * 72 + b"commit"}


def test_what_is_erased_at_the_end_of_a_write_is_not_stored():
    with Disk() as disk:
        dev = FileBlocks("/ring", 4096, 1024)
        _put(dev, 0, b"h" * 72 + b"commit" + b"\xff" * 10)
        assert disk.files["/ring/0"] == b"h" * 72 + b"commit"
        dev.writeblocks(0, b"mark\xff", 80)
        assert disk.files["/ring/0"] == b"h" * 72 + b"commit\xff\xffmark"
        assert _read(dev, 0, 20, 70) == b"hhcommit\xff\xffmark" + b"\xff" * 6


def test_programming_over_data_or_beyond_the_sector_is_refused():
    with Disk() as disk:
        dev = FileBlocks("/ring", 4096, 1024)
        _put(dev, 0, b"h" * 100)
        for off, data in ((99, b"x"), (0, b"x"), (1020, b"12345")):
            assert gen.raises(OSError, dev.writeblocks, 0, data, off).args[0] == 22
        dev.ioctl(ERASE, 1)
        dev.writeblocks(1, b"h" * 72, 0)
        assert gen.raises(OSError, dev.writeblocks, 1, b"x", 71).args[0] == 22
        assert disk.files == {"/ring/0": b"h" * 100}


def test_other_files_are_left_alone():
    with Disk() as disk:
        disk.folder = True
        others = {"/ring/" + name: b"mine" for name in ("7", "01", "x", "1.txt", "-1")}
        disk.files.update(others)
        disk.files["/ring/1"] = b"an older boot's"
        dev = FileBlocks("/ring", 4096, 1024)
        assert _read(dev, 1, 20) == b"an older boot's" + b"\xff" * 5
        for n in range(4):
            _put(dev, n, b"a" * 500)
            dev.ioctl(ERASE, n)
        dev.ioctl(SYNC, 0)
        assert disk.files == others


def test_the_last_file_read_stays_open():
    with Disk() as disk:
        dev = FileBlocks("/ring", 4096, 1024)
        _put(dev, 0, b"a" * 500)
        _put(dev, 1, b"b" * 500)
        opens = disk.opens
        for off in range(0, 500, 100):
            assert _read(dev, 0, 100, off) == b"a" * 100
        assert disk.opens == opens + 1
        _read(dev, 1, 500)
        assert disk.opens == opens + 2 and len(disk.is_open) == 1
        dev.writeblocks(1, b"mark", 500)
        assert disk.is_open == [] and _read(dev, 1, 4, 500) == b"mark"
        dev.ioctl(DEINIT, 0)
        assert disk.is_open == []


def _outcome(fat, fails_at, error):
    """Some of a ring's calls, each repeated until it succeeds; whether the fault came in time."""
    with Disk(fat) as disk:
        disk.folder = True
        dev = FileBlocks("/ring", 2048, 512)
        _put(dev, 0, b"a" * 400)
        _put(dev, 1, b"b" * 400)
        disk.error = error
        disk.fails_at = disk.calls + fails_at
        calls = (
            (dev.writeblocks, 1, b"mark" * 2, 400),
            (dev.ioctl, ERASE, 0),
            (dev.writeblocks, 0, b"h" * 72, 0),
            (dev.ioctl, ERASE, 1),
            (dev.writeblocks, 0, b"c" * 100, 80),
            (dev.ioctl, ERASE, 2),
            (dev.writeblocks, 2, b"i" * 72, 0),
            (dev.ioctl, SYNC, 0),
            (dev.ioctl, ERASE, 0),
            (dev.ioctl, SYNC, 0),
        )
        for number, call in enumerate(calls):
            before = [_read(dev, n, 512) for n in range(4)]
            try:
                call[0](*call[1:])
                continue
            except OSError as e:
                assert e is error
            assert disk.is_open == [] or disk.is_open[0]._mode == "rb"
            after = [_read(dev, n, 512) for n in range(4)]
            if number == 0 and fat:
                return True  # a torn append: the ring writes no more behind it
            if number:
                assert after == before, (number, fails_at)
            if number or after == before:
                call[0](*call[1:])
        assert [_read(dev, n, 72) for n in range(4)] == [b"\xff" * 72, b"\xff" * 72, b"i" * 72, b"\xff" * 72]
        assert sorted(disk.files) == ["/ring/2"]
        return disk.calls >= disk.fails_at


def test_a_call_that_failed_can_be_repeated():
    for fat in (False, True):
        for error in (OSError(28), OSError(30)):
            fails_at = 1
            while _outcome(fat, fails_at, error):
                fails_at += 1
            assert fails_at > 8


def test_a_creation_that_failed_is_no_file():
    with Disk() as disk:
        dev = FileBlocks("/ring", 2048, 512)
        dev.ioctl(ERASE, 0)
        dev.writeblocks(0, b"h" * 72, 0)
        disk.fails_at = disk.calls + 1
        gen.raises(OSError, dev.writeblocks, 0, b"c" * 100, 72)
        dev.ioctl(ERASE, 0)
        dev.ioctl(SYNC, 0)
        assert disk.files == {} and _read(dev, 0, 10) == b"\xff" * 10
        disk.fails_at = disk.calls + 1
        gen.raises(OSError, dev.writeblocks, 1, b"c" * 300, 0)
        assert _read(dev, 1, 10) == b"\xff" * 10
        dev.writeblocks(1, b"c" * 300, 0)
        assert _read(dev, 1, 300) == b"c" * 300


def test_a_file_that_somebody_removed_does_not_stop_the_ring():
    with Disk() as disk:
        dev = FileBlocks("/ring", 2048, 512)
        _put(dev, 0, b"a" * 400)
        _put(dev, 1, b"b" * 400)
        disk.files.clear()
        assert gen.raises(OSError, _read, dev, 0, 10).args[0] == 2
        dev.ioctl(ERASE, 0)
        dev.ioctl(SYNC, 0)
        _put(dev, 1, b"c" * 400)
        assert _read(dev, 0, 10) == b"\xff" * 10 and _read(dev, 1, 400) == b"c" * 400


def test_a_drive_that_a_computer_has_is_read_only():
    with Disk() as disk:
        disk.error = OSError(30)
        disk.fails_at = 1
        assert gen.raises(OSError, FileBlocks, "/ring", 2048, 512) is disk.error
        disk.folder = True
        dev = FileBlocks("/ring", 2048, 512)
        assert _read(dev, 0, 512) == b"\xff" * 512


def test_sizes_that_do_not_fit_are_named():
    for size, sector, word in (
        (1024, 256, "sector_bytes"),
        (1 << 20, 65536, "sector_bytes"),
        (1023, 512, "ring_bytes"),
        (257 * 512, 512, "ring_bytes"),
    ):
        assert word in str(gen.raises(ValueError, FileBlocks, "/ring", size, sector))
