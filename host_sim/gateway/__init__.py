"""The local gateway: what devices send to, what dashboards read from, and a live page."""

from .app import Gateway, create_app
from .conditions import Action, Conditions, Fate, Frame, Hello, Late, Post, Request, Say, Script, Upgrade
from .protocol import ProtocolFactory
from .replies import Reply
from .server import GatewayServer, protocol_factory
from .settings import Generation, Grant, Settings
from .store import InsertResult, Point, Row, Store, StoreError, open_store

__all__ = [
    "Action",
    "Conditions",
    "Fate",
    "Frame",
    "Gateway",
    "GatewayServer",
    "Generation",
    "Grant",
    "Hello",
    "InsertResult",
    "Late",
    "Point",
    "Post",
    "ProtocolFactory",
    "Reply",
    "Request",
    "Row",
    "Say",
    "Script",
    "Settings",
    "Store",
    "StoreError",
    "Upgrade",
    "create_app",
    "open_store",
    "protocol_factory",
]
