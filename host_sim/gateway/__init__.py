"""The local gateway: what devices send to, what dashboards read from, and a live page."""

from .app import Gateway, create_app
from .conditions import Action, Conditions, Fate, Post, Script
from .protocol import ProtocolFactory
from .replies import Reply
from .server import GatewayServer, protocol_factory
from .settings import Generation, Grant, Settings
from .store import InsertResult, Point, Row, Store, StoreError, open_store

__all__ = [
    "Action",
    "Conditions",
    "Fate",
    "Gateway",
    "GatewayServer",
    "Generation",
    "Grant",
    "InsertResult",
    "Point",
    "Post",
    "ProtocolFactory",
    "Reply",
    "Row",
    "Script",
    "Settings",
    "Store",
    "StoreError",
    "create_app",
    "open_store",
    "protocol_factory",
]
