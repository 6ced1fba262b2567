"""Histories drawn from seeds: played, judged by the journal, and shrunk to what still fails."""

from .history import History, draw
from .play import FIRMWARE, Outcome, play
from .shrink import shrink

__all__ = ["FIRMWARE", "History", "Outcome", "draw", "play", "shrink"]
