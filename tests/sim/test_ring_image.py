"""What an image of a ring holds, against what was sent, stored and dropped."""

from hypothesis import given
from hypothesis import strategies as st

from host_sim.ring_image import held_rows, ring_of
from tests.device import fakes

SECTOR_BYTES = 512
STEPS = st.lists(st.one_of(st.integers(1, 40), st.just("deliver")), max_size=30)


@given(STEPS)
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
            assert len(stored) + len(held) + ring_of(image, SECTOR_BYTES).dropped == sent
            assert held == list(range(sent))[sent - len(held) :]
            assert not set(held) & set(stored)
