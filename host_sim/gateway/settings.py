"""Every limit and switch of the gateway in one place.

Defaults are those of the Plexus gateway; each names the file of the Plexus
repository that states it. What the Plexus gateway does not state (connections,
timeouts, browsers) is our own choice and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Generation = Literal["aug", "oct"]
"""Which gateway is imitated.

`aug`: the Go gateway of August 2026; no `dropped` in answers, no device limit, no keys
limited to one device; on the WebSocket no acknowledgements, no goodbye, no runs of commands.
`oct`: the gateway that plexus-python 0.16.0 was written against.
"""

DEFAULT_PORT = 8765


@dataclass(frozen=True)
class Grant:
    """What one API key may do.

    Scopes: `read` the read APIs, `write` as a device, `commands` to give them, and on a device's key to take them.
    `source_id` limits *writing* to that device (refused in generation `oct`, unknown in `aug`).
    """

    scopes: frozenset[str] = frozenset({"read", "write", "commands"})
    source_id: str | None = None


@dataclass(frozen=True)
class Settings:
    """Limits, keys and switches. Sizes in bytes; times by the unit in the name."""

    keys: Mapping[str, Grant] = field(default_factory=dict, repr=False)
    generation: Generation = "oct"
    org_id: str = "local"

    # Ingest limits: gateway_config.go, ingest.go and validate.go.
    body_max_bytes: int = 5 * 1024 * 1024
    points_max: int = 10_000
    string_max_bytes: int = 256
    event_max_bytes: int = 4_096
    tags_max: int = 16
    ws_message_max_bytes: int = 1_048_576
    # Latest time that the Plexus store (ClickHouse DateTime64) can hold: end of the year 2299.
    timestamp_max_ms: int = 10_413_791_999_999

    # Message ceiling of one source over HTTP and WebSocket together: source_limit.go
    # (spacing 0.5 ms, no burst) and API.md of plexus-python 0.16.0 (bursts up to 500).
    source_rate_per_s: float = 2_000.0
    source_burst_oct: int = 500
    sources_tracked_max: int = 10_000
    # Devices of one organisation; None is no limit. Only generation `oct` knows it.
    devices_max: int | None = None

    # Device WebSocket: gateway_config.go and device.go; the rate of `oct` from plexus-python's changelog
    # (0.11.6), which does not tell its burst; the ceiling of a command's frame from its commands.py.
    device_auth_s: float = 10.0
    device_ping_s: float = 30.0
    device_queue_max: int = 64
    telemetry_burst: int = 2_000
    telemetry_rate_aug_per_s: float = 500.0
    telemetry_rate_oct_per_s: float = 2_000.0
    control_burst: int = 60
    control_rate_per_s: float = 20.0
    command_max_bytes: int = 65_536
    # Runs of commands: all that are kept, those of one source that are not over, how often one that is not
    # acknowledged is delivered again, and how long a device has to tell which runs it knows; our own choice.
    command_runs_max: int = 1_000
    command_runs_open_max: int = 64
    command_retry_s: float = 5.0
    command_sync_s: float = 10.0
    # A JPEG on its way to browsers: ws.py of plexus-python; the number of cameras is our own choice.
    video_max_bytes: int = 750_000
    video_cameras_max: int = 16
    # Not even a pong for so long: the device is gone. Our own choice: three heartbeats.
    device_silence_s: float = 90.0
    # What a device may say of itself (sensors, cameras, commands), as JSON; our own choice.
    manifest_max_bytes: int = 65_536

    # Runs, sessions and registered sources; the name's length is the runs route's own, the rest our own choice.
    run_name_max: int = 200
    run_body_max_bytes: int = 65_536
    runs_max: int = 100_000
    run_criteria_max: int = 32
    sources_registered_max: int = 10_000

    # How long a verified or refused key is remembered: ingest.go's auth client.
    auth_cache_good_ms: int = 60_000
    auth_cache_bad_ms: int = 10_000
    auth_cache_max: int = 1_024

    # Connections; our own choice.
    connections_max: int = 512
    header_max_bytes: int = 16 * 1024
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    keep_alive_s: int = 75

    # Read API: the app's /api/v1/telemetry and the data API /v1.
    telemetry_limit_default: int = 10_000
    telemetry_limit_max: int = 100_000
    query_rows_max: int = 10_000
    logs_limit_default: int = 1_000
    # A source is online while it was heard within this time; our own choice.
    online_ms: int = 60_000

    # Live page. 25 ms and 10 s are browser.go's; the rest is our own choice.
    live_flush_ms: int = 25
    browser_auth_s: float = 10.0
    browser_idle_s: float = 60.0
    browsers_max: int = 32
    browser_queue_max: int = 256
    browser_message_max_bytes: int = 4_096
    live_batch_max: int = 5_000
    live_history_points_max: int = 5_000
    live_history_ms: int = 15 * 60_000
    live_sweep_s: float = 5.0
    uplot_dir: Path = Path(__file__).parent.parent / "node_modules" / "uplot"
