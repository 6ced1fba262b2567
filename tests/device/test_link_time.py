"""When the link asks a gateway for the time, and what that does to the readings."""

from . import fakes
from .test_link import STORED, answer, on_bench


def test_weeks_without_trouble():
    """Half a round of ticks (6 days) after the last pause the comparison of ticks turns: nothing may wait then."""
    with on_bench() as b:
        for trouble in (False, True):
            if trouble:
                b.network.wires[-1].broken = OSError(104)
                b.network.reachable = False
                b.send()
                b.network.reachable = True
                b.pass_ms(1251)
            for _ in range(40):
                b.send(1)
                for _ in range(8):  # questions for the time go first
                    b.pass_ms(1000)
                assert b.outbox.waiting == 0
                b.pass_ms(43_200_000)


def test_the_time_is_asked_for_again_when_it_has_become_uncertain():
    with on_bench() as b:
        b.send()
        assert len(b.frames) == 1
        for hours in (1, 5):
            b.pass_ms(hours * 3_600_000)
            b.frames.clear()
            b.send(1)
            for _ in range(8):
                b.pass_ms(1000)
            asked = [len(fakes.parse_frame(frame)) for frame in b.frames]
            assert asked[0] == 1 and 2 <= len(asked) <= 6 and not any(asked[1:]), asked
            b.send(1)
            assert len(b.frames) == len(asked) + 1, "it is certain enough now"


def test_answers_that_tell_the_time_are_looked_for_often():
    with on_bench(synced=False) as b:
        assert not b.link.hasty
        b.network.serve = None
        b.send()
        assert b.link.hasty
        b.pass_ms(2900)
        assert b.link.hasty
        b.pass_ms(200)
        assert not b.link.hasty, "so slow an answer tells it badly"


def test_first_contact_asks_for_the_time():
    with on_bench(synced=False) as b:
        b.step()
        assert not b.frames, "nothing to say, nothing to ask"
        b.send()
        for _ in range(8):
            b.pass_ms(500)
        assert [len(fakes.parse_frame(frame)) for frame in b.frames] == [0] * 6 + [4], (
            "what time it is, and five times when a second begins"
        )
        assert b.device.recorder.clock.synced and b.outbox.delivered == 4
        stamps = [p["timestamp"] for p in fakes.parse_frame(b.frames[-1])]
        assert abs(stamps[0] - fakes.UNIX_MS) <= 1000


def test_first_contact_through_anything_but_a_gateway():
    for status, body, date in (
        (200, STORED, None),
        (200, STORED, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (200, STORED, "yesterday"),
        (400, '{"error":"points[0] is bad"}', None),
        (413, '{"error":"too large"}', None),
        (500, "", None),
        (401, "{}", None),
    ):
        with on_bench(synced=False) as b:
            b.say = lambda frame: answer(status, body, date)
            b.send()
            for _ in range(5):
                b.pass_ms(75_001)
            assert len(b.frames) == 6
            assert all([fakes.parse_frame(frame) == [] for frame in b.frames]), "no reading is sent undated"
            assert b.outbox.waiting == 4 and b.outbox.rejected == 0
            b.say = lambda frame: answer(200, STORED)
            b.pass_ms(75_001)
            for _ in range(8):
                b.pass_ms(1001)
            assert b.outbox.delivered == 4, (status, body, date)
