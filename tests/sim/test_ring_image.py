"""What an image of a ring holds, against what was sent, stored and dropped."""

from hypothesis import example, given
from hypothesis import strategies as st

from host_sim.ring_image import held_rows, ring_of
from tests.device import fakes

SECTOR_BYTES = 512
STEPS = st.lists(st.one_of(st.integers(1, 40), st.just("deliver")), max_size=30)


@given(STEPS)
@example([1, 15, 40, 40, *["deliver"] * 6])
def test_a_reading_is_held_or_stored_or_counted_as_dropped(steps):
    with fakes.Ticks() as ticks:
        device = fakes.Device(
            ticks, page=128, frame=400, blocks=fakes.NorBlocks(4 * SECTOR_BYTES, SECTOR_BYTES)
        )
        stored = []
        sent = 0
        for step in steps:
            if step == "deliver":
                if device.next_frame():
                    stored += [point["value"] for point in fakes.parse_frame(device.frame_bytes())]
                    assert device.outbox.release()
            else:
                for _ in range(step):
                    assert device.send("m", sent)
                    sent += 1
            image = bytes(device.blocks._mem)
            held = [row.value for row in held_rows(image, SECTOR_BYTES, {}, in_ram=False)]
            assert len({*stored, *held}) + ring_of(image, SECTOR_BYTES).dropped == sent
            assert held == list(range(sent))[sent - len(held) :]
            # A boot sends again what no mark tells of: where it has no room, and the next sector would cost readings.
            told = device.ring.head_off + len(device.ring._mark) <= SECTOR_BYTES
            assert not told or not set(held) & set(stored)


@given(st.lists(st.one_of(st.integers(1, 40), st.sampled_from(["frame", "answer"])), max_size=30))
def test_in_ram_a_frame_under_way_may_be_all_that_is_left(steps):
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, 4 * SECTOR_BYTES, SECTOR_BYTES, page=128, frame=400)
        ring, stored, sent = device.ring, 0, 0
        for step in steps:
            if step == "frame":
                device.next_frame()
            elif step == "answer":
                if device.outbox.points:
                    stored += device.outbox.points
                    assert device.outbox.release()
                    device.outbox.points = 0
            else:
                for _ in range(step):
                    assert device.send("m", sent)
                    sent += 1
            held = [row.value for row in held_rows(bytes(device.blocks._mem), SECTOR_BYTES, {}, in_ram=True)]
            assert held[-1:] == [sent - 1][: len(held)]
            assert stored + len(held) + ring.dropped + ring.orphaned >= sent
            assert len(held) + ring.dropped + ring.orphaned <= sent
