"""Stores by URL: `sqlite://` in memory, `sqlite:///file.db`, `sqlite:////absolute/file.db`."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from .model import Bucket, InsertResult, Point, Row, Selection, Source, Store, StoreError
from .sqlite import SqliteStore
from .windows import Window, Windows

__all__ = [
    "Bucket",
    "InsertResult",
    "Point",
    "Row",
    "Selection",
    "Source",
    "Store",
    "StoreError",
    "Window",
    "Windows",
    "open_store",
]


def open_store(url: str) -> Store:
    """Open the store that `url` names, creating it when it does not exist.

    `?synchronous=full` makes a commit survive the loss of power of this computer;
    the default (`normal`) survives the death of the process.
    Raises ValueError for a scheme or an option that is not known.
    """
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc:
        raise ValueError(f"unknown store {url!r}: use sqlite:// or sqlite:///path")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "normal")
    if options:
        raise ValueError(f"unknown store option: {', '.join(sorted(options))}")
    return SqliteStore(unquote(parts.path[1:]) or ":memory:", synchronous)
