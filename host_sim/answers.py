"""What the gateway says instead of the truth, for so many requests or so long: the scripted part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .gateway import Action, Fate, Post, Reply

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
    """One way to answer: `status`, `dropped`, or a fate; `before` the request is looked at or after its commit."""

    before: bool
    action: Action
    delay_s: float = 0.0
    left: int | None = None  # requests; None: until it is removed


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

    async def before(self, post: Post) -> Action:
        self.posts += 1
        self.on_post(self.posts)
        return await self._decide(True)

    async def after_commit(self, post: Post, reply: Reply) -> Action:
        return await self._decide(False)

    async def _decide(self, before: bool) -> Action:
        for rule in self._rules:
            if rule.before == before:
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
