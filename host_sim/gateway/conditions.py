"""What can be wrong around the gateway, and the seam where a scenario scripts its answers.

`Conditions` are states of the cloud (a queue that is down, a key that is not paid for) that the
ingest path meets where the real gateway would meet them. A `Script` decides about single requests:
a POST, or what a device does on its WebSocket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from .replies import Reply
from .settings import Generation


@dataclass
class Conditions:
    """Infrastructure faults; change them at any time, the next request meets them.

    The sets hold source_ids (`billing_disabled`: API keys). A source fault strikes at that source's
    group: groups before it in the request stay stored, as in the Plexus gateway.
    """

    circuit_open: bool = False
    """The breaker towards the queue is open: 503."""
    auth_down: bool = False
    """Keys cannot be verified: 401, except for keys verified within `auth_cache_good_ms`."""
    billing_disabled: set[str] = field(default_factory=set, repr=False)
    """Keys of organisations that do not pay: 401."""
    queue_failing: set[str] = field(default_factory=set)
    """Queueing this source's points fails: 502."""
    marshal_failing: set[str] = field(default_factory=set)
    """This source's points cannot be packed: 500."""
    over_ceiling: set[str] = field(default_factory=set)
    """Treated as over the message ceiling: skipped in `aug`, `dropped` in `oct`."""
    over_device_limit: set[str] = field(default_factory=set)
    """Treated as beyond the organisation's device limit: `dropped` in `oct`, nothing in `aug`."""
    names_suffixed: bool = False
    """As gateways did for plexus-python 0.4.0 to 0.7.0: a name belongs to the first `install_id` that connects under
    it, another one is called `name_2`, and so on."""
    generation: Generation | None = None
    """Another generation than that of the settings: requests and WebSockets that begin from now on."""


class Fate(Enum):
    """What a script may do instead of answering."""

    HANG = "hang"
    """Never answer; the connection stays open until the client gives up. A telemetry frame that meets it
    before the commit is lost with all that follows on its connection; after the commit it alone goes
    without acknowledgement."""
    ABORT = "abort"
    """Drop the connection without an answer."""


@dataclass(frozen=True)
class Say:
    """On a WebSocket: `message` instead of the answer, then `close` (a code), unless that is None.

    `with_seq` adds the frame's `seq` where the connection acknowledges.
    """

    message: Mapping[str, Any]
    with_seq: bool = False
    close: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Late:
    """After the commit of a frame: acknowledge it in `delay_s`, while others are read and stored.

    `gathered`: not each by itself, but with one acknowledgement what came until then.
    """

    delay_s: float
    gathered: bool = False


Action = Reply | Say | Late | Fate | None


@dataclass(frozen=True)
class Post:
    """One POST to the ingest endpoint; `number` counts them from 1 since the app was made."""

    number: int
    path: str
    received_ms: int


@dataclass(frozen=True)
class Upgrade:
    """One request for a device WebSocket, before it becomes one: meets a Reply or a Fate."""

    number: int
    received_ms: int


@dataclass(frozen=True)
class Hello:
    """One well-formed `device_auth`, before its key is looked at: meets a Say or a Fate."""

    number: int
    source_id: str
    received_ms: int


@dataclass(frozen=True)
class Frame:
    """One telemetry frame that is JSON, before its points are looked at: meets a Say, a Late or a Fate.

    `number` counts those of all devices; `seq` is None on connections without acknowledgements.
    """

    number: int
    source_id: str
    seq: int | None
    received_ms: int


Request = Post | Upgrade | Hello | Frame


class Script(Protocol):
    """Decides about single requests. Both hooks may await (a delay) before they return."""

    async def before(self, request: Request) -> Action:
        """Before any check. None: go on as usual; anything else is what happens instead."""
        ...

    async def after_commit(self, request: Request, reply: Reply | None) -> Action:
        """After the commit of a Post or a Frame, before its answer (`reply`, for a Post).

        None: answer as usual; anything else replaces the answer.
        """
        ...


class NoScript:
    """Interferes with nothing."""

    async def before(self, request: Request) -> Action:
        return None

    async def after_commit(self, request: Request, reply: Reply | None) -> Action:
        return None
