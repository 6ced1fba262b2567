"""Readings that wait for company: how long, and what does not wait."""

from . import fakes


def _lingering(ticks):
    """A device of which a first frame, with all there was, is stored."""
    device = fakes.Device(ticks, linger_ms=5000)
    assert not device.outbox.ready
    assert device.send("m", 0) and device.outbox.ready, "the first reading waits for nobody"
    assert len(device.drain()) == 1
    assert device.send("m", 1) and not device.outbox.ready
    return device


def test_readings_wait_for_company_and_not_for_ever():
    with fakes.Ticks((1 << 30) - 3000) as ticks:  # the ticks wrap meanwhile
        device = _lingering(ticks)
        ticks.advance(4999)
        assert not device.outbox.ready
        ticks.advance(1)
        assert device.outbox.ready and len(device.drain()) == 1
        # A pause that is over stays over, also half a round of ticks later.
        ticks.advance(5000)
        assert not device.outbox.ready  # there is nothing
        for _ in range(3):
            ticks.advance(1 << 28)
            device.recorder.upkeep(False)
        assert device.send("m", 2) and device.outbox.ready


def test_what_may_fill_a_frame_does_not_wait():
    with fakes.Ticks() as ticks:
        device = _lingering(ticks)
        for i in range(2, 16):
            assert device.send("m", i) and not device.outbox.ready
        assert device.send("m", 16) and device.outbox.ready  # 16 of 64 bytes are a frame of 1,024
        # More than fit: what is left over goes at once, and is company to what comes then.
        for i in range(17, 60):
            assert device.send("m", i)
        frames = []
        while device.outbox.ready:
            frames.append(device.next_frame())
            assert device.outbox.release()
        assert len(frames) > 2 and sum(frames) == 59 and not device.outbox.waiting


def test_what_has_to_go_again_does_not_wait():
    def take_back(outbox):
        outbox.hand_over()
        assert not outbox.ready
        outbox.take_back()

    for again in (take_back, lambda outbox: outbox.split(), lambda outbox: outbox.quarantine(0)):
        with fakes.Ticks() as ticks:
            device = _lingering(ticks)
            ticks.advance(5000)
            assert device.send("m", 2) and device.outbox.ready and device.next_frame() == 2
            again(device.outbox)
            assert device.outbox.ready
