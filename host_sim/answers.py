"""What the gateway says instead of the truth, for so many requests or so long: the scripted part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .gateway import Action, Fate, Frame, Hello, Late, Post, Reply, Request, Say, Upgrade
from .gateway.device_session import REDIS_REASON, REDIS_UNAVAILABLE, TRY_AGAIN_LATER
from .gateway.device_socket import POLICY_VIOLATION

# What a status of the Plexus gateway comes with (ingest.go); others are what a proxy may say.
_BODIES = {
    401: "invalid API key",
    403: "API key lacks write scope",
    413: "payload too large (max 5242880 bytes)",
    500: "internal error",
    502: "failed to queue telemetry",
    503: "gateway degraded: redis unavailable",
}


@dataclass
class Rule:
    """One way to answer requests of the kind `of`: `before` they are looked at, or after their commit."""

    before: bool
    action: Action
    delay_s: float = 0.0
    left: int | None = None  # requests; None: until it is removed
    of: type[Request] = Post
    skip: int = 0  # requests that come first and are not its business


class ScriptedAnswers:
    """A gateway's script: the first rule that applies decides."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self.posts = 0
        self.on_post: Callable[[int], None] = lambda number: None
        self.used = 0

    def add(self, rule: Rule) -> Callable[[], None]:
        """Put a rule in force; call the result to end it."""
        self._rules.append(rule)

        def remove() -> None:
            if rule in self._rules:
                self._rules.remove(rule)

        return remove

    async def before(self, request: Request) -> Action:
        if isinstance(request, Post):
            self.posts += 1
            self.on_post(self.posts)
        return await self._decide(True, request)

    async def after_commit(self, request: Request, reply: Reply | None) -> Action:
        return await self._decide(False, request)

    async def _decide(self, before: bool, request: Request) -> Action:
        for rule in self._rules:
            if rule.before == before and type(request) is rule.of:
                if rule.skip:
                    rule.skip -= 1
                    continue
                self._use(rule)
                await asyncio.sleep(rule.delay_s)
                return rule.action
        return None

    def _use(self, rule: Rule) -> None:
        self.used += 1
        if rule.left is not None:
            rule.left -= 1
            if rule.left <= 0:
                self._rules.remove(rule)


def refusal(status: int, error: str | None = None) -> Reply:
    """The error answer of that status."""
    return Reply.error(status, error or _BODIES.get(status, "scripted"))


def rule_for(answer: str, status: int, count: int | None, delay_s: float) -> Rule:
    """A rule by the name that scenario files use."""
    if answer == "status":
        return Rule(True, refusal(status), delay_s, count)
    if answer == "dropped":
        return Rule(True, Reply.json(200, {"success": True, "count": 0, "dropped": 1}), delay_s, count)
    if answer == "captive_portal":
        return Rule(True, Reply(200, b"<html><title>Log in</title></html>"), delay_s, count)
    if answer == "hang":
        return Rule(True, Fate.HANG, delay_s, count)
    if answer == "reset":
        return Rule(True, Fate.ABORT, delay_s, count)
    if answer == "lost":
        return Rule(False, Fate.ABORT, delay_s, count)
    if answer == "slow":
        return Rule(False, None, delay_s, count)
    raise ValueError(f"unknown answer {answer!r}")


ANSWERS = ("status", "dropped", "captive_portal", "hang", "reset", "lost", "slow")


def _refused_hello(message: dict[str, str]) -> Say:
    return Say({"type": "error", **message}, close=POLICY_VIOLATION, reason="auth failed")


# device.go's refusals, and the plan's, of which no more than the word is known.
_HELLOS = {
    "invalid_key": _refused_hello({"message": "Invalid API key"}),
    "no_write_scope": _refused_hello({"message": "API key lacks write scope"}),
    "streaming_requires_plan": _refused_hello(
        {"code": "streaming_requires_plan", "message": "streaming_requires_plan"}
    ),
}


def connect_rule_for(answer: str, status: int, count: int | None, delay_s: float) -> Rule:
    """A rule for devices that open a WebSocket, by the name that scenario files use."""
    if answer in _HELLOS:
        return Rule(True, _HELLOS[answer], delay_s, count, Hello)
    if answer == "status":
        return Rule(True, refusal(status), delay_s, count, Upgrade)
    if answer == "slow":
        return Rule(True, None, delay_s, count, Hello)
    fates = {"hang": (Fate.HANG, Hello), "hang_upgrade": (Fate.HANG, Upgrade), "reset": (Fate.ABORT, Hello)}
    if answer in fates:
        fate, of = fates[answer]
        return Rule(True, fate, delay_s, count, of)
    raise ValueError(f"unknown answer {answer!r}")


CONNECT_ANSWERS = (*_HELLOS, "status", "slow", "hang", "hang_upgrade", "reset")

_LIMITS = {"rate_limited": "RATE_LIMITED", "source_limit": "SOURCE_LIMIT", "device_limit": "DEVICE_LIMIT"}
_REDIS = Say(REDIS_UNAVAILABLE, close=TRY_AGAIN_LATER, reason=REDIS_REASON)


def frame_rule_for(answer: str, count: int | None, delay_s: float, after: int = 0) -> Rule:
    """A rule for telemetry frames behind the next `after`, by the name that scenario files use."""
    if answer in _LIMITS:
        said = Say({"type": "error", "code": _LIMITS[answer]}, with_seq=True)
        return Rule(True, said, delay_s, count, Frame, after)
    if answer in ("late", "gathered"):
        return Rule(False, Late(delay_s, answer == "gathered"), 0.0, count, Frame, after)
    found = {
        "redis_unavailable": (True, _REDIS),
        "slow": (True, None),
        "hang": (True, Fate.HANG),
        "reset": (True, Fate.ABORT),
        "unacknowledged": (False, Fate.HANG),
        "lost": (False, Fate.ABORT),
    }
    if answer in found:
        before, action = found[answer]
        return Rule(before, action, delay_s, count, Frame, after)
    raise ValueError(f"unknown answer {answer!r}")


FRAME_ANSWERS = (
    *_LIMITS,
    "redis_unavailable",
    "slow",
    "hang",
    "reset",
    "unacknowledged",
    "late",
    "gathered",
    "lost",
)

# With these the delay itself is the fault.
DELAYED_ANSWERS = ("slow", "late", "gathered")
