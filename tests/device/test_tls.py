"""What the TLS streams make of a port: the clock's floor, the words of errors, that both layers are closed."""

from plexus_mp import tls
from plexus_mp.build import DATE
from plexus_mp.tls import Connector, not_before

from . import fakes, gen

_BUILT = DATE + (0, 0, 0)
_LATER = (2030, 5, 6, 7, 8, 9)
_NOT_YET = "certificate not yet valid"
_CLOSED = 9


class Port:
    """Stands for `ports/*_tls.py`: a clock, and connections that end as `fails` says."""

    CA_FILE = None

    def __init__(self, now=(2000, 1, 1, 0, 0, 0)):
        self.now = now
        self.sets = []
        self.open = 0
        self.dialled = 0
        self.shows = None  # a certificate
        self.fails = None
        self.not_before = None  # a clock before this fails
        self.see = None

    def make_context(self, ca, see):
        self.see = see

    def date(self, unix_s=None):
        return self.now if unix_s is None else (unix_s,)

    def set_clock(self, date):
        self.sets.append(date)
        self.now = date

    def explain(self, error):
        return str(error) if isinstance(error, ValueError) else None

    def TlsTcp(self, host, port, context):
        return _Wire(self)


class _Wire:
    def __init__(self, port):
        self._port = port
        self._is_open = True
        port.open += 1
        port.dialled += 1

    def secured(self, seen):
        assert self._is_open
        if self._port.shows:
            self._port.see(memoryview(self._port.shows), 0)
        if self._port.not_before and self._port.now < self._port.not_before:
            raise ValueError(_NOT_YET)
        if self._port.fails:
            raise self._port.fails
        return True

    def write(self, data):
        assert self._is_open
        if self._port.fails:
            raise self._port.fails
        return len(data)

    def readinto(self, buf):
        assert self._is_open
        if self._port.fails:
            raise self._port.fails
        return None

    def close(self):
        assert self._is_open, "closed twice"
        self._is_open = False
        self._port.open -= 1


FAILURES = (
    OSError(12),
    OSError(104, "reset"),
    ValueError("certificate expired"),
    ValueError(_NOT_YET),
    MemoryError(),
)


def der(tag, *contents):
    """A DER element."""
    inside = b"".join(contents)
    size = len(inside)
    if size < 128:
        return bytes([tag, size]) + inside
    return bytes([tag, 0x82, size >> 8, size & 255]) + inside


def certificate(when, tag=0x17, version=True, serial=b"\x01" * 20):
    """What of a certificate lies before and around its dates."""
    issuer = der(0x30, der(0x31, der(0x30, b"\x06\x03\x55\x04\x03", der(0x0C, b"x" * 150))))
    validity = der(0x30, der(tag, when), der(0x17, b"491231235959Z"))
    parts = [der(0xA0, b"\x02\x01\x02")] if version else []
    parts += [der(0x02, serial), der(0x30, b"\x06\x01\x2a"), issuer, validity, der(0x30, b"z" * 300)]
    return der(0x30, der(0x30, *parts), der(0x30), der(0x03, b"s" * 256))


class _Patched:
    """In a `with` block the library's port is a `Port`."""

    def __init__(self, **settings):
        self.port = Port(**settings)
        self._patch = fakes.Patch(tls, "_port", self.port)

    def __enter__(self):
        self._patch.__enter__()
        return self.port

    def __exit__(self, *_):
        self._patch.__exit__()


def test_not_before():
    when = b"300506070809Z"
    assert not_before(certificate(when)) == _LATER
    assert not_before(memoryview(certificate(when, version=False, serial=b"\x05"))) == _LATER
    assert not_before(certificate(b"20510506070809Z", tag=0x18)) == (2051, 5, 6, 7, 8, 9)
    assert not_before(certificate(b"490101000000Z")) == (2049, 1, 1, 0, 0, 0)
    assert not_before(certificate(b"500101000000Z")) == (1950, 1, 1, 0, 0, 0)


def test_not_before_of_no_certificate():
    good = certificate(b"300506070809Z")
    for n in range(200):
        gen.raises((ValueError, IndexError), not_before, good[:n])
    for bad in (b"3005060708Z", b"300506070x09Z", b"", b"\xff" * 13, b"3005060708090Z"):
        gen.raises((ValueError, IndexError), not_before, certificate(bad))
    gen.raises((ValueError, IndexError), not_before, b"\x30\x84\xff\xff\xff\xff" + good)
    for n in range(len(good)):
        for bits in (0x01, 0x55, 0x80, 0xFF):
            spoilt = bytearray(good)
            spoilt[n] ^= bits
            try:
                assert len(not_before(spoilt)) == 6
            except (ValueError, IndexError):
                pass


def test_an_unset_clock_is_put_to_the_floor():
    with _Patched() as port:
        connector = Connector(b"ca", lambda: None)
        assert port.sets == []
        assert connector("host", 1).connected()
        assert port.now == _BUILT
        port.now = _LATER  # somebody who knows, or an earlier boot
        assert connector("host", 1).connected()
        assert port.now == _LATER and port.sets == [_BUILT]


def test_a_clock_that_is_too_late_is_put_to_the_floor_too():
    """A generation ahead every certificate has expired: it was set wrong, and would never be set right."""
    with _Patched() as port:
        connector = Connector(b"ca", lambda: None)
        port.now = (_BUILT[0] + 24, 12, 31, 23, 59, 59)
        assert connector("host", 1).connected() and port.sets == []
        port.now = (_BUILT[0] + 25, 1, 1, 0, 0, 0)
        assert connector("host", 1).connected()
        assert port.now == _BUILT and port.sets == [_BUILT]


def test_the_floor_rises_to_what_is_signed_and_once():
    with _Patched() as port:
        port.shows = certificate(b"300506070809Z")
        port.not_before = _LATER
        connector = Connector(b"ca", lambda: None)
        stream = connector("host", 1)
        assert not stream.connected() and stream.connected()
        assert port.sets == [_BUILT, _LATER] and port.dialled == 2 and port.open == 1
        port.now = (2000, 1, 1, 0, 0, 0)  # lost its memory
        assert connector("host", 1).connected()
        assert port.now == _LATER and port.dialled == 3
        port.not_before = (2031, 1, 1, 0, 0, 0)  # later than all that was shown
        stream = connector("host", 1)
        assert gen.raises(OSError, stream.connected).args == (71, _NOT_YET)
        assert port.dialled == 4 and port.open == 0


def test_a_clock_that_cannot_be_set_ends_it():
    with _Patched(now=(2026, 1, 1, 0, 0, 0)) as port:
        port.set_clock = lambda date: None
        port.shows = certificate(b"300506070809Z")
        port.not_before = _LATER
        connector = Connector(b"ca", lambda: None)
        for dialled in (2, 3):  # the second time nothing new is to be learnt
            stream = connector("host", 1)
            for _ in range(5):
                try:
                    stream.connected()
                except OSError as e:
                    assert e.errno in (71, _CLOSED)
            assert port.dialled == dialled and port.open == 0


def test_of_several_certificates_the_last_to_begin_counts():
    with _Patched() as port:
        connector = Connector(b"ca", lambda: None)
        connector.set_clock()
        for when in (b"290101000000Z", b"300506070809Z", b"280101000000Z"):
            assert connector._see(certificate(when), 0) == 0
        assert connector._see(b"nonsense", 0) == 0 and connector.unread == 1
        assert connector.raise_floor()
        connector.set_clock()
        assert port.now == _LATER
        assert not connector.raise_floor()  # nothing shown since


def test_no_guess_against_the_known_time():
    with _Patched() as port:
        port.shows = certificate(b"300506070809Z")
        port.not_before = _LATER
        stream = Connector(b"ca", lambda: 1_000_000)("host", 1)
        assert gen.raises(OSError, stream.connected).args == (71, _NOT_YET)
        assert port.sets == [(1000,)] and port.dialled == 1 and port.open == 0


def test_another_fault_does_not_move_the_clock():
    with _Patched() as port:
        port.shows = certificate(b"300506070809Z")
        for text in ("certificate expired", "%s, certificate is for another host" % _NOT_YET):
            port.fails = ValueError(text)
            stream = Connector(b"ca", lambda: None)("host", 1)
            assert gen.raises(OSError, stream.connected).args == (71, text)
        assert port.now == _BUILT and port.open == 0


def test_every_failure_closes():
    for error in FAILURES:
        with _Patched() as port:
            port.fails = error
            stream = Connector(b"ca", lambda: None)("host", 1)
            raised = gen.raises((OSError, MemoryError), stream.connected)
            assert port.open == 0
            assert not isinstance(error, (OSError, MemoryError)) or raised is error
            for step in (stream.connected, lambda: stream.write(b"x"), lambda: stream.readinto(bytearray(1))):
                assert gen.raises(OSError, step).errno == _CLOSED
            stream.close()


def test_a_failure_later_is_explained_and_left_to_the_caller():
    with _Patched() as port:
        stream = Connector(b"ca", lambda: None)("host", 1)
        assert stream.connected() and stream.write(b"abc") == 3 and stream.readinto(bytearray(1)) is None
        port.fails = ValueError("certificate expired")
        assert gen.raises(OSError, stream.write, b"x").args == (71, "certificate expired")
        port.fails = OSError(104)
        assert gen.raises(OSError, stream.readinto, bytearray(1)) is port.fails
        stream.close()
        stream.close()
        assert port.open == 0


def test_one_at_a_time():
    with _Patched() as port:
        connector = Connector(b"ca", lambda: None)
        first = connector("host", 1)
        second = connector("host", 1)
        assert port.open == 1 and second.connected()
        assert gen.raises(OSError, first.connected).errno == _CLOSED
        first.close()
        assert port.open == 1


def test_a_file_that_is_not_there():
    with _Patched():
        assert "ca_file" in str(gen.raises(ValueError, Connector, "/no/such.der", lambda: None))
