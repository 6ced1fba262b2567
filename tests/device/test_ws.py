"""The WebSocket client's handshakes, frames that it sends, deadlines and ends; RFC 6455 §4 and §5."""

from plexus_mp.ws import mask

from . import fakes, gen, wires

_SIZES = (0, 1, 2, 125, 126, 127, 300, 640)
_TEXT = 0x81


# handshake: RFC 6455 §4.1


def test_sha1_of_the_standard():
    assert wires.accept(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_request():
    seen = []
    for write_bytes in (1, 3, 1000):
        peer = wires.Peer(write_bytes=write_bytes)
        with fakes.Ticks():
            wires.opened(peer)
        lines = peer.stream.request.split(b"\r\n")
        assert lines[0] == b"GET /ws/device HTTP/1.1" and lines[-2:] == [b"", b""]
        headers = dict([line.split(b": ", 1) for line in lines[1:-2]])
        seen.append(headers.pop(b"Sec-WebSocket-Key"))
        assert headers == {
            b"Host": b"gateway:8080",
            b"User-Agent": b"agent/1",
            b"Upgrade": b"websocket",
            b"Connection": b"Upgrade",
            b"Sec-WebSocket-Version": b"13",
        }
        assert len(seen[-1]) == 24 and seen[-1].endswith(b"==")
    assert len(set(seen)) == 3


def test_answers_in_every_division_with_frames_behind():
    """What comes in one piece with the answer is not lost, messages in fragments and too long ones included."""
    behind = (
        wires.frame(_TEXT, b"first")
        + wires.frame(0x01, b"x" * 200)
        + wires.frame(0x89, b"?")
        + wires.frame(0x80, b"y" * 130)
        + wires.frame(_TEXT, b"z" * 700)
        + wires.frame(_TEXT, b"")
        + wires.frame(_TEXT, b"last")
    )
    interim = b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"
    for read_bytes in (1, 2, 3, 7, 50, 200, 333, 1 << 20):
        peer = wires.Peer(lambda request: interim + wires.upgraded(request) + behind, read_bytes)
        with fakes.Ticks():
            ws = wires.opened(peer)
            assert wires.messages(ws, peer) == [b"first", b"x" * 200 + b"y" * 130, b"", b"last"], read_bytes
        assert ws.oversize == 1 and peer.frames() == [(0x8A, b"?")]


def _handshake_error(answer, polls=600):
    peer = wires.Peer(answer)
    with fakes.Ticks(), wires.hashlib_with(wires.Sha1):
        ws = wires.client(peer)
        ws.open()

        def run():
            for _ in range(polls):
                ws.poll()

        error = gen.raises(OSError, run)
        assert not peer.open and not ws.connected and not ws.ready and not peer.stream.sent
        assert ws.poll() is None
    return ws, error


def test_refusals_give_the_status():
    for status in (200, 301, 400, 401, 403, 404, 426, 500, 503):
        answer = b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\n{}" % status
        ws, error = _handshake_error(lambda request: answer)
        assert ws.status == status and str(status) in str(error)


def test_wrong_agreements():
    good = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n"
    for answer in (
        lambda request: good % wires.accept(b"x" * 24),
        lambda request: good % wires.accept(wires.key_of(request)).lower(),
        lambda request: good.replace(b"websocket", b"h2c") % wires.accept(wires.key_of(request)),
        lambda request: good.replace(b"Upgrade", b"Updraft") % wires.accept(wires.key_of(request)),
        lambda request: b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n",
        lambda request: b"HTTP/1.1 101 S\r\n\r\n",
        lambda request: b"\x81\x05hello\r\n",
        lambda request: b"SSH-2.0-x\r\n",
        lambda request: b"HTTP/1.1 101 S\r\n" + b"A: b\r\n" * 80,
        lambda request: b"HTTP/1.1 101 S\r\n" + b"A" * 700,
    ):
        _handshake_error(answer)


def test_without_sha1_the_proof_is_believed():
    for accept, good in ((b"whatever", True), (b"", False)):
        answer = b"HTTP/1.1 101 S\r\nUpgrade: WebSocket\r\n"
        if accept:
            answer += b"Sec-WebSocket-Accept: " + accept + b"\r\n"
        peer = wires.Peer(lambda request: answer + b"\r\n")
        with fakes.Ticks(), wires.hashlib_with(None):
            ws = wires.client(peer)
            ws.open()
            if good:
                for _ in range(9):
                    ws.poll()
                assert ws.ready
            else:
                gen.raises(OSError, lambda: [ws.poll() for _ in range(9)])


# sending: §5


def test_frames_of_every_size_and_division():
    with fakes.Ticks():
        for write_bytes in (1, 2, 5, 100, 1 << 20):
            peer = wires.Peer(write_bytes=write_bytes)
            ws = wires.opened(peer)
            for n in _SIZES:
                payload = bytes([(n + i) & 255 for i in range(n)])
                buf = wires.send(ws, payload)
                assert peer.frames() == [(_TEXT, payload)], (n, write_bytes)
                mask(buf, 8, n)
                assert bytes(buf[8:]) == payload


def test_long_frames_and_their_headroom():
    with fakes.Ticks():
        peer = wires.Peer(write_bytes=20_000)
        ws = wires.opened(peer)
        for n, room in ((65_535, 8), (65_536, 14)):
            wires.send(ws, bytes(n), 0x82, room)
            assert peer.frames() == [(0x82, bytes(n))]
        for n, room in ((0, 5), (125, 5), (126, 7), (65_536, 13)):
            gen.raises(ValueError, ws.send, _TEXT, memoryview(bytearray(room + n)), room, n)
            assert ws.ready and not peer.frames()


def test_a_full_stream():
    """`ready` tells that a frame is out; the next is not begun before."""
    peer = wires.Peer()
    with fakes.Ticks():
        ws = wires.opened(peer)
        peer.write_bytes = 0
        buf = memoryview(bytearray(20))
        assert ws.send(_TEXT, buf, 8, 12) and not ws.ready
        for _ in range(5):
            assert ws.poll() is None and not ws.ready
            assert not ws.send(_TEXT, memoryview(bytearray(20)), 8, 12)
        peer.write_bytes = 99
        ws.poll()
        assert ws.ready and peer.frames() == [(_TEXT, bytes(12))]


def test_a_picture_in_fragments():
    """Pieces of a picture through a small buffer, which stays whole itself; pings are answered between them."""
    picture = bytes(range(256)) * 4
    peer = wires.Peer(write_bytes=64)
    with fakes.Ticks():
        ws = wires.opened(peer)
        wires.send(ws, b"head", 0x02)
        for at in range(0, 1024, 256):
            peer.say(wires.frame(0x89, b"%d" % at))
            wires.send(ws, picture[at : at + 256], 0x80 if at == 768 else 0x00)
        sent = peer.frames()
    assert b"".join([payload for first, payload in sent if first != 0x8A]) == b"head" + picture
    assert [first for first, _ in sent if first != 0x8A] == [0x02, 0, 0, 0, 0x80]
    assert [payload for first, payload in sent if first == 0x8A] == [b"0", b"256", b"512", b"768"]


def test_masks_differ():
    """By os.urandom where the port has it, by single random bits where not."""
    peer = wires.Peer()
    with fakes.Ticks():
        ws = wires.opened(peer)
        for _ in range(40):
            wires.send(ws, b"abcd")
        frames = peer.frames()
    assert len(set(frames.masks)) > 35
    for i in range(4):  # no byte of the key stands still
        assert len(set([key[i] for key in frames.masks])) > 10


# deadlines, and connections that break


def _times_out(ticks, peer, ws):
    for _ in range(5):
        assert ws.poll() is None
    ticks.advance(10_000)
    assert ws.poll() is None and ws.connected
    ticks.advance(1)
    gen.raises(OSError, ws.poll)
    assert not peer.open and not ws.connected


def test_deadlines():
    near_wrap = (1 << 30) - 5000
    for answer, connects in ((upgrade_never, True), (half_an_upgrade, True), (upgrade_never, False)):
        with fakes.Ticks(near_wrap) as ticks:
            peer = wires.Peer(answer)
            peer.connects = connects
            ws = wires.client(peer)
            ws.open()
            _times_out(ticks, peer, ws)
    frame = wires.frame(_TEXT, b"x" * 200)
    for end in (1, 2, 3, 4, 100, 203):
        with fakes.Ticks(near_wrap) as ticks:
            peer = wires.Peer()
            ws = wires.opened(peer)
            peer.say(frame[:end])
            _times_out(ticks, peer, ws)
    for ping in (False, True):
        with fakes.Ticks(near_wrap) as ticks:
            peer = wires.Peer()
            ws = wires.opened(peer)
            peer.write_bytes = 0
            if ping:
                peer.say(wires.frame(0x89))
                ws.poll()
            else:
                assert ws.send(_TEXT, memoryview(bytearray(20)), 8, 12)
            _times_out(ticks, peer, ws)


def upgrade_never(request):
    return b""


def half_an_upgrade(request):
    return wires.upgraded(request)[:-3]


def test_silence_is_no_error():
    with fakes.Ticks() as ticks:
        peer = wires.Peer()
        ws = wires.opened(peer)
        for _ in range(200):  # more than a round of ticks
            ticks.advance(10_000_000)
            assert ws.poll() is None and ws.ready
        peer.say(wires.frame(0x01, b"a"))
        assert ws.poll() is None
        ticks.advance(60_000)  # between fragments as well
        assert ws.poll() is None
        peer.say(wires.frame(0x80, b"b"))
        assert ws.poll() == b"ab"


def test_ends_and_resets():
    for end in (True, OSError(104)):
        for before in (b"", b"\x81", b"\x81\x7e\x01", b"\x81\x05abc"):
            peer = wires.Peer()
            with fakes.Ticks():
                ws = wires.opened(peer)
                peer.say(before)
                peer.stream.ended = end
                gen.raises(OSError, lambda: [ws.poll() for _ in range(9)])
                assert not peer.open and not ws.close_code and not ws.ready


def test_it_opens_again_after_anything():
    """What was half done is forgotten: fragments, lengths, a pong, a frame of ours."""
    with fakes.Ticks():
        peer = wires.Peer()
        ws = wires.opened(peer)
        for left in (wires.frame(0x01, b"abc"), b"\x81\x05ab", b"\x89\x05ab", wires.frame(0x89, b"x")):
            peer.say(left)
            ws.poll()
            peer.write_bytes = 0
            ws.send(_TEXT, memoryview(bytearray(20)), 8, 12)
            ws.poll()
            ws.close()
            assert not peer.open
            peer.write_bytes = 1000
            with wires.hashlib_with(wires.Sha1):
                ws.open()
            while not ws.ready:
                ws.poll()
            peer.say(wires.frame(_TEXT, b"new"))
            assert wires.messages(ws, peer) == [b"new"] and not peer.frames()
            wires.send(ws, b"out")
            assert peer.frames() == [(_TEXT, b"out")]
