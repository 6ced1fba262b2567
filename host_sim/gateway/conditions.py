"""What can be wrong around the gateway, and the seam where a scenario scripts its answers.

`Conditions` are states of the cloud (a queue that is down, a key that is not paid for) that the
ingest path meets where the real gateway would meet them. A `Script` decides about single requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from .replies import Reply


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


class Fate(Enum):
    """What a script may do instead of answering."""

    HANG = "hang"
    """Never answer; the connection stays open until the client gives up."""
    ABORT = "abort"
    """Drop the connection without an answer."""


Action = Reply | Fate | None


@dataclass(frozen=True)
class Post:
    """One POST to the ingest endpoint; `number` counts them from 1 since the app was made."""

    number: int
    path: str
    received_ms: int


class Script(Protocol):
    """Decides about single requests. Both hooks may await (a delay) before they return."""

    async def before(self, post: Post) -> Action:
        """Before any check. None: go on as usual; anything else is what happens instead."""
        ...

    async def after_commit(self, post: Post, reply: Reply) -> Action:
        """After the commit, before the answer. None: send `reply`; anything else replaces it."""
        ...


class NoScript:
    """Interferes with nothing."""

    async def before(self, post: Post) -> Action:
        return None

    async def after_commit(self, post: Post, reply: Reply) -> Action:
        return None
