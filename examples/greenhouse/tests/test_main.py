"""The greenhouse's firmware on a simulated board: two hours of it take seconds."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def greenhouse(board):
    board.put("/bme280.py", Path("firmware/bme280.py"))  # the driver that comes with plexus_mp


def test_every_reading_arrives(board, gateway):
    board.run("main.py", virtual="1h", board="board.py")
    assert board.report.lost == 0 and board.report.duplicates == 0
    assert 359 <= len(gateway.rows("temperature")) <= 361


def test_the_vent_opens_at_noon_and_closes_again(board, gateway):
    board.run("main.py", virtual="2h", board="board.py", trace="warm_noon.csv")
    opened, closed = gateway.rows("vent")
    assert (opened.value, closed.value) == (1, 0)
    assert closed.timestamp_ms - opened.timestamp_ms == pytest.approx(60 * 60_000, rel=0.05)


def test_a_router_that_restarts_costs_nothing(board, gateway, scenario):
    scenario("router_reboot.toml")
    board.run("main.py", virtual="30m", board="board.py")
    assert board.report.lost == 0 and board.report.pending == 0
    assert len(gateway.rows("temperature")) == board.report.accepted


def test_a_power_cut_costs_at_most_the_page(board, scenario):
    scenario(fault="power", action="cut", at="10m", for_="1m")
    board.run("main.py", virtual="30m", board="board.py")
    assert board.boots == 2
    assert board.report.lost == 0 and board.report.at_cut * 10 <= 300
