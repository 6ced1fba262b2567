"""Pictures: what goes out, between what, and when one is dropped."""

import struct

from plexus_mp import video
from plexus_mp.video import Video, size_of

from . import fakes, gen, talks, wires


def jpeg(n, width=320, height=240):
    """`n` bytes that begin and end as a JPEG."""
    head = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08" + struct.pack(">HH", height, width) + bytes(6)
    body = bytes([(i * 7 + (i >> 8)) & 255 for i in range(n - len(head) - 2)])
    return head + body + b"\xff\xd9"


class _Camera:
    """A board with pictures, let in."""

    def __init__(self, frame=1024, write_bytes=1 << 20):
        self.talk = talks.Talk(frame=frame)
        self.ticks = self.talk.ticks
        self.peer = self.talk.peer
        self.video = Video(self.talk.session, "test-1")
        self._patches = [
            fakes.Patch(video, "ticks_ms", self.ticks.ms),
            fakes.Patch(video, "ticks_diff", self.ticks.diff),
        ]

    def __enter__(self):
        for patch in self._patches:
            patch.__enter__()
        self.talk.commands.declare("c", lambda run: None)
        self.talk.connect()
        return self

    def __exit__(self, *_):
        for patch in self._patches:
            patch.__exit__()
        self.talk.__exit__()

    def take(self, picture, camera="c", width=None, height=None):
        return self.video.take(picture, camera, width, height, self.talk.device.unix_ms())

    def frames(self):
        return self.peer.frames()


def _message(frames):
    """The binary message of fragments; complains when something comes between them but control frames."""
    frames = [frame for frame in frames if not frame[0] & 8]
    assert frames[0][0] == 0x02 and frames[-1][0] == 0x80, [first for first, _ in frames]
    assert [first for first, _ in frames[1:-1]] == [0] * (len(frames) - 2)
    return b"".join([payload for _, payload in frames])


def _steps(camera, n=500):
    for _ in range(n):
        camera.talk.step()
        if not camera.video.busy and camera.talk.ws.ready:
            break


def test_a_picture_arrives_as_it_is_and_stays_as_it_was():
    for n in (30, 999, 1009, 1010, 1011, 5000, 70_000):
        for kind in (bytes, bytearray):
            picture = jpeg(n)
            given = kind(picture)
            with _Camera() as camera:
                assert camera.take(given, "front")
                _steps(camera)
                message = _message(camera.frames())
                unix_ms = camera.talk.device.unix_ms()
            head = b"\x01\x06test-1\x05front" + struct.pack(">IIq", 320, 240, unix_ms)
            assert message == head + picture and bytes(given) == picture
            assert (camera.video.sent, camera.video.dropped, camera.video.busy) == (1, 0, False)


def test_sizes():
    assert size_of(jpeg(100, 1600, 1200)) == (1600, 1200)
    progressive = jpeg(100).replace(b"\xff\xc0", b"\xff\xc2")
    tables = b"\xff\xd8\xff\xc4\x00\x06abcd" + jpeg(100)[2:]
    assert size_of(progressive) == size_of(tables) == (320, 240)
    for broken in (
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        jpeg(100)[:14],
        b"\xff\xd8" + bytes(50),
        jpeg(60)[:6] + b"\xff" * 50,
    ):
        assert size_of(broken) == (0, 0) or len(broken) == 56
    with _Camera() as camera:
        camera.take(jpeg(40), width=7, height=9)
        _steps(camera)
        assert struct.unpack(">II", _message(camera.frames())[10:18]) == (7, 9)


def test_one_at_a_time_and_only_when_there_is_a_connection():
    with _Camera() as camera:
        assert camera.take(jpeg(3000))
        assert not camera.take(jpeg(3000)) and camera.video.busy
        _steps(camera)
        assert camera.take(jpeg(3000))
        assert not camera.video.take(jpeg(40), "c", 1, 1, None)
        camera.talk.lose()
        assert not camera.take(jpeg(40)) and not camera.video.busy
        assert (camera.video.sent, camera.video.dropped) == (1, 4)


def test_too_big_is_dropped_and_no_jpeg_is_an_error():
    with _Camera() as camera:
        big = bytearray(750_001)
        big[:2] = b"\xff\xd8"
        assert not camera.take(big) and camera.video.dropped == 1
        assert camera.take(memoryview(big)[:750_000])
        for wrong in (b"", b"\xff\xd8", b"GIF89a..", bytearray(10)):
            gen.raises(ValueError, camera.take, wrong)
        gen.raises(TypeError, camera.take, "text")
        gen.raises(ValueError, camera.take, jpeg(40), "c" * 256)


def test_readings_and_statuses_wait_for_its_end_and_are_not_lost():
    with _Camera() as camera:
        talk = camera.talk
        camera.peer.write_bytes = 600
        assert camera.take(jpeg(4000))
        for _ in range(4):
            talk.step()
        assert talk.session.held and not talk.session.free
        talk.device.send("n", 1)
        talk.say({"type": "command_run", "run_id": "r", "command": "c"})
        camera.peer.say(wires.frame(0x89, b"?"))
        assert camera.take(jpeg(40)) is False
        for _ in range(60):
            talk.step()
            talk.commands.run_due(False)
        frames = camera.frames()
    kinds = [first for first, _ in frames]
    last = kinds.index(0x80)
    assert 0x8A in kinds[:last] and 0x81 not in kinds[:last]  # a ping is answered in between
    assert len(_message(frames[: last + 1])) == 4000 + 16 + 10
    texts = b"".join([payload for first, payload in frames[last:] if first == 0x81])
    assert texts.find(b'"telemetry"') >= 0 and texts.find(b'"succeeded"') >= 0


def test_readings_go_first():
    with _Camera() as camera:
        camera.talk.device.send("n", 1)
        assert camera.take(jpeg(3000))
        _steps(camera)
        kinds = [first for first, _ in camera.frames()]
    assert kinds.index(0x81) < kinds.index(0x02)


def test_a_slow_link_breaks_it_off_and_the_connection_stays():
    with _Camera() as camera:
        talk = camera.talk
        assert camera.take(jpeg(20_000))
        for _ in range(13):
            talk.step()
            camera.ticks.advance(1000)
        assert not camera.video.busy and camera.video.dropped == 1
        short = _message(camera.frames())
        assert len(short) < 20_000 and not short.endswith(b"\xff\xd9")
        assert talk.session.up
        assert camera.take(jpeg(500))
        _steps(camera)
        assert _message(camera.frames()).endswith(jpeg(500)) and camera.video.sent == 1


def test_a_connection_that_breaks_in_its_midst():
    with _Camera() as camera:
        assert camera.take(jpeg(20_000))
        for _ in range(5):
            camera.talk.step()
        camera.frames()
        camera.talk.drop()
        assert not camera.video.busy and camera.video.dropped == 1 and not camera.talk.session.held
        camera.talk.connect()
        assert camera.take(jpeg(500))
        _steps(camera)
        assert _message(camera.frames()).endswith(jpeg(500))
