"""The vendor's own clients, unchanged, deliver everything: WebSocket refused, HTTP taken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from host_sim.answers import ScriptedAnswers, connect_rule_for
from host_sim.gateway.strict_json import canonical

from . import peer_sender
from .conftest import KEY, Running, Start

ROOT = Path(__file__).parents[2]

Identity = tuple[str, str, int, str, str]


def expected() -> set[Identity]:
    found: set[Identity] = set()
    for batch in range(peer_sender.BATCHES):
        numbers, events, tags = peer_sender.plan(batch)
        for cls, some in (("metric", numbers), ("event", events)):
            found |= {(cls, name, at_ms, canonical(value), canonical(tags)) for name, value, at_ms in some}
    return found


def peer_folder(version: str) -> Path:
    """Where that plexus-python lies; fails the test when it is not installed."""
    peer = ROOT / "build" / "peers" / f"plexus-{version}"
    if not (peer / "plexus").is_dir():
        pytest.fail(
            f"plexus-python {version} is not installed; run: "
            f"pip install --no-deps --target build/peers/plexus-{version} plexus-python=={version}"
        )
    return peer


def run_sender(gateway: Running, home: Path, version: str, timeout_s: float) -> list[Identity]:
    """Let that plexus-python send the plan; what the gateway has then."""
    port = gateway.server.port
    environment: dict[str, Any] = {
        **os.environ,
        "PYTHONPATH": str(peer_folder(version)),
        "HOME": str(home),
        "PLEXUS_GATEWAY_URL": f"http://127.0.0.1:{port}",
        "PLEXUS_ENDPOINT": f"http://127.0.0.1:{port}",
    }
    command = [
        sys.executable,
        peer_sender.__file__,
        KEY,
        "rig-01",
        f"ws://127.0.0.1:{port}",
        str(timeout_s),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == version
    rows = gateway.rows()
    return [(r.cls, r.metric, r.timestamp_ms, canonical(r.value), canonical(r.tags)) for r in rows]


@pytest.mark.parametrize("version", ["0.7.0", "0.16.0"])
def test_peer_delivers_everything(start: Start, tmp_path: Path, version: str) -> None:
    answers = ScriptedAnswers()
    answers.add(connect_rule_for("status", 404, None, 0.0))
    gateway = start(answers)
    # 0.7.0 waits for the WebSocket on every send, as long as an HTTP request may take.
    stored = run_sender(gateway, tmp_path, version, timeout_s=0.15)
    assert len(stored) == 10_000
    assert set(stored) == expected()
    assert gateway.gateway.counters["websockets_refused"] > 0
