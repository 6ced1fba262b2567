"""The page's forms for commands, and its pictures."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .conftest import KEY, NOW_MS, READ_KEY, Running, Start
from .device_client import RawDevice, connect
from .devtools import Page, find_chromium
from .test_device_socket import wait_for
from .test_live import Browser

HOSTILE = "<img src=x onerror=document.title='owned'>"
PARAMS = {
    "percent": {"type": "integer", "minimum": 0, "maximum": 100, "required": True},
    "mode": {"type": "string", "enum": ["slow", HOSTILE], "default": HOSTILE, "required": False},
    "dry": {"type": "boolean", "default": True, "required": False},
    "note": {"type": "string", "required": False, "title": HOSTILE},
}
COMMANDS = [
    {"name": "valve", "title": HOSTILE, "params": PARAMS},
    {"name": "reboot", "danger": "critical"},
    {"name": "rinse", "danger": "dangerous", "description": HOSTILE},
]
# A picture of 1 by 1 pixels, as any browser shows it.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////"
    "////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA="
)

needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="no chromium or google-chrome found")


@contextmanager
def shown(gateway: Running) -> Iterator[tuple[RawDevice, Page]]:
    """A device with COMMANDS, and the page that shows them."""
    device = connect(gateway, commands=COMMANDS)
    with Page(gateway.server.page_url) as page:
        page.wait_for("document.querySelectorAll('.command').length === 3")
        yield device, page


def type_key(page: Page, key: str) -> None:
    page.evaluate(f"document.querySelector('#commands [type=password]').value = '{key}'")


def submit(page: Page, name: str) -> None:
    page.evaluate(
        f"[...document.querySelectorAll('.command')].find(f => f.querySelector('button').textContent === {name!r})"
        ".requestSubmit()"
    )


@needs_chromium
def test_a_form_asks_for_a_run_and_shows_what_becomes_of_it(start: Start) -> None:
    with shown(start()) as (device, page):
        assert page.evaluate("document.querySelectorAll('.command img').length") == 0
        assert page.evaluate("document.querySelector('.command h3').firstChild.textContent") == HOSTILE
        page.evaluate("document.querySelector('.command [name=percent]').value = 30")
        submit(page, HOSTILE)
        page.wait_for("document.querySelector('.command [role=status]').textContent === 'invalid API key'")
        type_key(page, READ_KEY)
        submit(page, HOSTILE)
        page.wait_for(
            "document.querySelector('.command [role=status]').textContent.includes('commands scope')"
        )
        type_key(page, KEY)
        submit(page, HOSTILE)
        told = device.hear()
        assert told["params"] == {"percent": 30, "mode": HOSTILE, "dry": True}
        device.say(type="command_status", run_id=told["run_id"], seq=1, state="progress", progress=40)
        page.wait_for("document.querySelector('.runs').textContent.includes('running 40 %')")
        failed: dict[str, Any] = {"error_code": "handler_error", "error_message": HOSTILE}
        device.say(type="command_status", run_id=told["run_id"], seq=2, state="failed", **failed)
        page.wait_for("document.querySelector('.runs .failed')")
        assert HOSTILE in page.evaluate("document.querySelector('.runs .body').textContent")
        assert page.evaluate("document.title") == "Plexus gateway"


@needs_chromium
def test_dangerous_ones_are_asked_for_twice(start: Start) -> None:
    gateway = start()
    with shown(gateway) as (device, page):
        type_key(page, KEY)
        submit(page, "rinse")
        page.evaluate("document.querySelector('.confirm .no').click()")
        submit(page, "rinse")
        page.evaluate("document.querySelector('.confirm .yes').click()")
        assert device.hear()["command"] == "rinse"
        submit(page, "reboot")
        page.evaluate("document.querySelector('.confirm .yes').click()")  # without the name
        assert page.evaluate("document.querySelectorAll('.confirm').length") == 1
        page.evaluate("document.querySelector('.confirm input').value = 'rig-01'")
        page.evaluate("document.querySelector('.confirm .yes').click()")
        assert device.hear()["command"] == "reboot"
        assert len(gateway.get("/api/commands/runs").json["runs"]) == 2
        device.link.shutdown()
        page.wait_for("document.querySelectorAll('.command').length === 0")


def picture(camera: str, jpeg: bytes = JPEG, stamp_ms: int = NOW_MS) -> bytes:
    name = camera.encode()
    return b"\x01\x00" + bytes((len(name),)) + name + struct.pack(">IIq", 1, 1, stamp_ms) + jpeg


@needs_chromium
def test_the_newest_picture_of_each_camera(start: Start) -> None:
    gateway = start()
    device = connect(gateway)
    with Page(gateway.server.page_url) as page:
        page.wait_for("document.getElementById('link').textContent === 'live'")
        device.link.send_binary(picture(HOSTILE))
        device.link.send_binary(picture("back"))
        page.wait_for("document.querySelectorAll('.picture img').length === 2")
        page.wait_for("document.querySelector('.picture img').src.startsWith('data:image/jpeg;base64,/9j/')")
        assert HOSTILE in page.evaluate("document.querySelector('.picture figcaption').textContent")


def test_pictures_are_bounded_and_never_queue(start: Start) -> None:
    gateway = start(video_cameras_max=2, video_max_bytes=2_000)
    device = connect(gateway)
    browser = Browser(gateway)
    browser.hear()
    for camera in ("a", "b", "c"):
        device.link.send_binary(picture(camera))
    device.link.send_binary(picture("a", JPEG + bytes(2_000)))
    assert device.ask() == []
    seen = [told for told in (browser.hear() for _ in range(3)) if told["type"] == "video_frame"]
    assert [each["camera_id"] for each in seen] == ["a", "b"]
    assert base64.b64decode(seen[0]["frame"]) == JPEG and seen[0]["timestamp"] == NOW_MS
    counters = gateway.gateway.counters
    assert (counters["video_frames"], counters["video_frames_unshown"], counters["video_frames_invalid"]) == (
        3,
        1,
        1,
    )
    device.link.shutdown()
    wait_for(lambda: gateway.gateway.devices.find("rig-01") is None)
    connect(gateway).link.send_binary(picture("c"))
    wait_for(lambda: gateway.gateway.counters["video_frames"] == 4)
    assert counters["video_frames_unshown"] == 1


def test_a_viewer_gets_the_newest_of_what_it_missed(start: Start) -> None:
    gateway = start()

    async def offer() -> list[str]:
        live = gateway.gateway.live
        viewer = live.attach()
        assert viewer is not None
        for number in range(3):
            for camera in ("a", "b"):
                live.show_picture({"type": "video_frame", "source_id": "s", "camera_id": camera, "n": number})
        found = [await viewer.next(), await viewer.next()]
        live.detach(viewer)
        return found

    assert ['"n":2' in text for text in gateway.run(offer())] == [True, True]
    assert gateway.gateway.counters["live_pictures_replaced"] == 4
