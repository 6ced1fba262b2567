"""What the WebSocket client makes of the frames that arrive, rule by rule of RFC 6455, in every division."""

from plexus_mp.ws import mask

from . import fakes, gen, wires

_SIZES = (0, 1, 2, 125, 126, 127, 300, 640)
_TEXT = 0x81


# receiving: §5


def test_messages_of_every_size_and_division():
    with fakes.Ticks():
        for read_bytes in (1, 2, 3, 127, 1 << 20):
            peer = wires.Peer()
            ws = wires.opened(peer)
            peer.read_bytes = read_bytes
            sent = [bytes([65 + n % 26]) * n for n in _SIZES]
            peer.say(*[wires.frame(_TEXT, text) for text in sent])
            assert wires.messages(ws, peer) == sent and not ws.oversize
            assert not peer.frames()


def test_a_message_lies_in_the_buffer_until_the_next_poll():
    peer = wires.Peer()
    buf = bytearray(256)
    with fakes.Ticks():
        ws = wires.opened(peer, buf)
        peer.say(wires.frame(_TEXT, b"abc"), wires.frame(_TEXT, b"def"))
        message = ws.poll()
        assert message == b"abc" and buf[:3] == b"abc"
        buf[0] = 65
        assert message == b"Abc"
        assert ws.poll() == b"def"


def test_fragments_in_every_division():
    text = b"0123456789"
    with fakes.Ticks():
        peer = wires.Peer()
        ws = wires.opened(peer)
        for a in range(11):
            for b in range(a, 11):
                for read_bytes in (1, 1 << 20):
                    peer.read_bytes = read_bytes
                    peer.say(
                        wires.frame(0x01, text[:a]),
                        wires.frame(0x89, b"p"),
                        wires.frame(0x00, text[a:b]),
                        wires.frame(0x8A, b"unasked"),
                        wires.frame(0x80, text[b:]),
                    )
                    assert wires.messages(ws, peer) == [text] and peer.frames() == [(0x8A, b"p")]


def test_too_long_messages_are_skipped():
    long = (
        [wires.frame(_TEXT, b"x" * 641)],
        [wires.frame(_TEXT, b"x" * 70_000)],
        [wires.frame(_TEXT, b"x" * 300, width=2), wires.frame(_TEXT, b"x" * 5000)],
        [wires.frame(0x01, b"x" * 640), wires.frame(0x80, b"x")],
        [wires.frame(0x01, b"x" * 640), wires.frame(0x00), wires.frame(0x00, b"y" * 9999), wires.frame(0x80)],
    )
    with fakes.Ticks():
        for read_bytes in (50, 1 << 20):
            peer = wires.Peer()
            ws = wires.opened(peer)
            peer.read_bytes = read_bytes
            for i, frames in enumerate(long):
                peer.say(*frames)
                peer.say(wires.frame(0x89), wires.frame(_TEXT, b"ok"))
                found = wires.messages(ws, peer)
                assert found == ([b"x" * 300, b"ok"] if i == 2 else [b"ok"])
                assert ws.oversize == i + 1 and peer.frames() == [(0x8A, b"")]


_BROKEN = (
    wires.frame(_TEXT, b"abc", mask=b"1234"),
    wires.frame(0x89, b"", mask=b"1234"),
    wires.frame(0xC1),
    wires.frame(0xA1),
    wires.frame(0x91),
    wires.frame(0xC9),
    wires.frame(0x83),
    wires.frame(0x87),
    wires.frame(0x8B),
    wires.frame(0x8F),
    wires.frame(0x08, b"\x03\xe8"),
    wires.frame(0x09),
    wires.frame(0x0A),
    wires.frame(0x89, b"x" * 126),
    wires.frame(0x88, b"x" * 126),
    wires.frame(0x89, b"x", width=2),
    wires.frame(_TEXT, b"x" * 125, width=2),
    wires.frame(_TEXT, b"x" * 65535, width=8),
    wires.frame(_TEXT, b"", width=8),
    b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00",
    b"\x81\x7f\x00\x00\x00\x00\x00\x10\x00\x01",
    b"\x81\x7f" + b"\xff" * 8,
    wires.frame(0x80, b"nothing to go on with"),
    wires.frame(0x00),
    wires.frame(0x01, b"a") + wires.frame(0x81, b"b"),
    wires.frame(0x02, b"a") + wires.frame(0x02, b"b"),
)


def test_protocol_errors():
    for bad in _BROKEN:
        for read_bytes in (1, 1 << 20):
            peer = wires.Peer()
            with fakes.Ticks():
                ws = wires.opened(peer)
                peer.read_bytes = read_bytes
                peer.say(wires.frame(_TEXT, b"ok"), bad, wires.frame(_TEXT, b"not to be read"))

                def run():
                    for _ in range(40):
                        message = ws.poll()
                        assert message is None or message == b"ok", message

                gen.raises(OSError, run)
                assert not peer.open and not ws.ready and not ws.close_code
                assert peer.frames() == [(0x88, b"\x03\xea")], bad


# goodbyes: §5.5.1, §7

_CLOSE = wires.frame(0x88, b"\x03\xe9gateway restarting")


def test_a_goodbye_is_seen_at_once():
    """Nothing is read behind it, and nothing but the reply is sent."""
    for data, code, reply in (
        (_CLOSE, 1001, b"\x03\xe9"),
        (wires.frame(0x88, b"\x03\xf5"), 1013, b"\x03\xf5"),
        (wires.frame(0x88, b"\x03\xf0" + b"r" * 123), 1008, b"\x03\xf0"),
        (wires.frame(0x88), 1005, b"\x03\xe8"),
    ):
        for read_bytes in (1, 1 << 20):
            peer = wires.Peer()
            with fakes.Ticks():
                ws = wires.opened(peer)
                peer.read_bytes = read_bytes
                peer.say(data, wires.frame(_TEXT, b"too late"), wires.frame(0x89))
                for _ in range(40):
                    assert ws.poll() is None
                assert ws.close_code == code and not ws.connected and not ws.ready
                assert not peer.open and not ws.unsent
                assert peer.frames() == [(0x88, reply)]
                assert not ws.send(_TEXT, memoryview(bytearray(20)), 8, 12)


def test_a_goodbye_amid_a_frame_of_ours():
    """A reply would be taken for the rest of the frame: there is none, and the frame is over."""
    peer = wires.Peer()
    with fakes.Ticks():
        ws = wires.opened(peer)
        peer.write_bytes = 0
        buf = memoryview(bytearray(50))
        assert ws.send(_TEXT, buf, 8, 42)
        ws.poll()
        peer.write_bytes = 9
        peer.say(_CLOSE)
        ws.poll()
        assert ws.close_code == 1001 and not peer.open and len(peer.stream.sent) == 9
        mask(buf, 8, 42)
        assert bytes(buf[8:]) == bytes(42)


def test_a_goodbye_that_cannot_be_answered():
    for spoil in (OSError(32), None):
        peer = wires.Peer()
        with fakes.Ticks():
            ws = wires.opened(peer)
            peer.broken = spoil
            peer.write_bytes = 3
            peer.say(_CLOSE)
            assert ws.poll() is None and ws.close_code == 1001 and ws.unsent == 1 and not peer.open


def test_our_goodbye():
    peer = wires.Peer()
    with fakes.Ticks():
        ws = wires.opened(peer)
        ws.close()
        assert peer.frames() == [(0x88, b"\x03\xe8")] and not peer.open and not ws.connected
        ws.close()
        first = peer.stream
        with wires.hashlib_with(wires.Sha1):
            ws.open()
        ws.close()
        assert peer.stream is not first and not peer.open and not peer.stream.sent
    assert not ws.close_code and ws.connections == 2


# pings: §5.5.2


def test_pings():
    with fakes.Ticks():
        for write_bytes in (1, 7, 1000):
            for read_bytes in (1, 1000):
                peer = wires.Peer()
                ws = wires.opened(peer)
                peer.read_bytes = read_bytes
                peer.write_bytes = write_bytes
                for n in (0, 1, 4, 124, 125):
                    peer.say(wires.frame(0x89, b"p" * n), wires.frame(_TEXT, b"t"), wires.frame(0x8A, b"x"))
                    found = wires.messages(ws, peer)
                    while not ws.ready:
                        ws.poll()
                    assert found == [b"t"] and peer.frames() == [(0x8A, b"p" * n)]


def test_pings_amid_a_frame_of_ours():
    """A pong waits for the frame to end; of several pings the latest is answered, with its own payload."""
    peer = wires.Peer()
    with fakes.Ticks():
        ws = wires.opened(peer)
        peer.write_bytes = 0
        ws.send(_TEXT, memoryview(bytearray(40)), 8, 32)
        for payload in (b"one", b"two", b"three"):
            peer.say(wires.frame(0x89, payload))
            ws.poll()
        peer.say(wires.frame(0x89, b"four")[:4])
        ws.poll()
        peer.write_bytes = 5
        for _ in range(40):
            ws.poll()
        assert peer.frames() == [(_TEXT, bytes(32))]
        peer.say(wires.frame(0x89, b"four")[4:])
        for _ in range(9):
            ws.poll()
        assert ws.ready and peer.frames() == [(0x8A, b"four")]


def test_a_ping_while_a_pong_is_half_sent():
    peer = wires.Peer()
    with fakes.Ticks():
        ws = wires.opened(peer)
        peer.write_bytes = 3
        peer.say(wires.frame(0x89, b"first"))
        ws.poll()
        ws.poll()
        assert not ws.ready
        peer.say(wires.frame(0x89, b"second"))
        for _ in range(20):
            ws.poll()
        assert peer.frames() == [(0x8A, b"first"), (0x8A, b"second")]
