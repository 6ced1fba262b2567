"""The live page: served strictly, and showing hostile names as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import NOW_MS, Start
from .devtools import Page, find_chromium

HOSTILE = "<img src=x onerror=document.title='owned'>"


@pytest.mark.parametrize("path", ["/", "/app.js", "/commands.js", "/model.js", "/style.css"])
def test_files_are_served_without_a_key_under_a_strict_policy(start: Start, path: str) -> None:
    answer = start().get(path, None)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_page_has_no_inline_code_and_no_html_sinks(start: Start) -> None:
    gateway = start()
    assert b"onclick=" not in gateway.get("/").body and b"<style" not in gateway.get("/").body
    for path in ("/app.js", "/commands.js", "/model.js"):
        script = gateway.get(path).body
        assert b"innerHTML" not in script and b"insertAdjacent" not in script and b"eval(" not in script


def test_chart_library_comes_from_node_modules(start: Start, tmp_path: Path) -> None:
    path = "/node_modules/uplot/dist/uPlot.iife.min.js"
    assert b"uPlot" in start().get(path).body
    missing = start(uplot_dir=tmp_path).get(path)
    assert (missing.status, b"npm install" in missing.body) == (503, True)


def test_page_address_holds_the_token_in_its_fragment(start: Start) -> None:
    gateway = start()
    address, fragment = gateway.server.page_url.split("#")
    assert address == f"http://127.0.0.1:{gateway.server.port}/"
    assert fragment == f"token={gateway.gateway.page_token}"


@pytest.mark.skipif(find_chromium() is None, reason="no chromium, chromium-browser or google-chrome found")
def test_hostile_names_are_shown_as_text(start: Start) -> None:
    gateway = start()
    event = {"metric": HOSTILE, "value": HOSTILE, "timestamp": NOW_MS}
    reading = {"metric": HOSTILE, "value": 21.5, "timestamp": NOW_MS, "tags": {HOSTILE: HOSTILE}}
    gateway.post({"source_id": "rig-01", "points": [event, reading]})
    with Page(gateway.server.page_url) as page:
        page.wait_for("document.querySelector('.chart canvas') && document.querySelector('.events li')")
        for place in (".tile .name", ".chart h3", ".events .body"):
            assert page.evaluate(f"document.querySelector('{place}').textContent") == HOSTILE
        assert page.evaluate("document.querySelector('.legend').textContent").count(HOSTILE) == 2
        assert page.evaluate("document.querySelectorAll('img').length") == 0
        assert page.evaluate("document.querySelector('.tile .value').textContent") == "21.5"
        assert page.evaluate("document.querySelector('.dot').className") == "dot online"
        assert page.evaluate("document.title") == "Plexus gateway"
        gateway.post({"source_id": "rig-02", "points": [{**reading, "value": 7, "timestamp": NOW_MS + 9}]})
        page.wait_for("document.querySelector('.tile .value').textContent === '7'")
        assert page.evaluate("document.querySelectorAll('#sources li').length") == 2


@pytest.mark.skipif(find_chromium() is None, reason="no chromium, chromium-browser or google-chrome found")
def test_page_without_its_token_says_so(start: Start) -> None:
    with Page(start().server.url) as page:
        page.wait_for("document.getElementById('link').textContent.includes('lacks its token')")
