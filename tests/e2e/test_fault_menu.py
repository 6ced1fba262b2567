"""Every fault of the menu, over WebSocket and HTTP, from a seed each, one in three over TLS. The sweep: `make soak`."""

from __future__ import annotations

import pytest

from host_sim.world import ROOT
from tests.e2e import fault_table
from tests.e2e.fault_menu import MENU, SLICE_MAX_US, histories, play
from tests.e2e.observed import DNS, ERASE, FILES, TLS

SEEDS = (10, 11, 12)  # rings in files over TLS, RAM, flash
_HISTORIES = histories()


@pytest.fixture(scope="module")
def table():
    """Rows of what was played; pytest -s shows them."""
    rows = [fault_table.HEAD]
    yield rows
    print("\n" + "\n".join(rows))


@pytest.mark.parametrize(("name", "transport"), _HISTORIES, ids=[f"{n}-{t}" for n, t in _HISTORIES])
def test_nothing_lost_nothing_twice_and_delivered_in_time(name, transport, table):
    seed = SEEDS[(_HISTORIES.index((name, transport)) // 2) % len(SEEDS)]
    result = play(name, transport, seed)
    table.append(fault_table.row(name, transport, [fault_table.Played.of(result)]))
    assert result.complaint() is None
    assert result.faults


def test_the_same_seed_gives_the_same_history():
    first, second = (play("ws: dropped before the ack", "auto", 11) for _ in range(2))
    assert (first.statistics, first.recovery_s, first.resent) == (
        second.statistics,
        second.recovery_s,
        second.resent,
    )
    assert first.resent > 0


def test_what_blocks_is_seen():
    """The bench sees each kind of what cannot be cut into slices, and the rest stays below the limit."""
    seen = {}
    for name, transport, seed in (("DNS hangs", "http", 1), ("503", "auto", 5), ("503", "auto", 2)):
        for call, worst in play(name, transport, seed).watch.calls.items():
            for kind, us in worst.unsliced.items():
                seen[kind] = max(seen.get(kind, 0), us)
            if call != "timer":
                assert 0 < worst.longest_sliced.sliced_us <= SLICE_MAX_US
    assert seen[DNS] > 100_000 and seen[TLS] > 800_000
    assert 44_000 < seen[ERASE] < 46_000 and 44_000 < seen[FILES] < 110_000


def test_the_document_names_each_fault_and_no_other_wait():
    text = (ROOT / "docs" / "blocking.md").read_text()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    found = {(cells[0], cells[1]): cells[2:] for cells in rows if len(cells) == 11}
    assert set(_HISTORIES) <= set(found)
    for name, transport in _HISTORIES:
        cells = found[name, transport]
        assert all(float(cell) <= SLICE_MAX_US / 1000 for cell in cells[:2]), (name, transport)
    assert len(MENU) >= 50
