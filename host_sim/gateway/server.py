"""The gateway on real sockets, inside a loop that somebody else runs."""

from __future__ import annotations

import asyncio
import errno
import logging

from .app import Gateway
from .protocol import ProtocolFactory
from .settings import DEFAULT_PORT

_log = logging.getLogger("plexus.gateway")
PORTS_TRIED = 20


def protocol_factory(gateway: Gateway) -> ProtocolFactory:
    """What makes the protocol of each connection, for transports of one's own (virtual time).

    `factory()` returns an `asyncio.Protocol` for one connection; `await factory.close()` ends all.
    """
    return ProtocolFactory(gateway)


class GatewayServer:
    """Listens on `host`; a busy port gives way to the next free one. Installs no signal handlers.

    After `start()`: `port`, `url`, `page_url` (holds the page's read-only token in the fragment,
    never an API key) and `moved_from` (the busy port that was asked for, else None).
    Port 0 takes any free port.
    """

    def __init__(self, gateway: Gateway, host: str = "127.0.0.1", port: int = DEFAULT_PORT) -> None:
        self.gateway = gateway
        self.host = host
        self.port = port
        self.moved_from: int | None = None
        self._factory: ProtocolFactory | None = None
        self._server: asyncio.Server | None = None
        self._killed = False

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def page_url(self) -> str:
        return f"{self.url}/#token={self.gateway.page_token}"

    @property
    def connections(self) -> int:
        return self._factory.connections if self._factory is not None else 0

    async def start(self, may_move: bool = True) -> None:
        """Bind and serve; raises OSError when no port of the range, or without `may_move` the port, is free."""
        self._killed = False
        self._factory = protocol_factory(self.gateway)
        asked = self.port
        server = await self._bind(self._factory, asked, PORTS_TRIED if may_move else 0)
        if self._killed:  # meanwhile
            server.close()
            return
        self._server = server
        self.port = server.sockets[0].getsockname()[1]
        if asked and self.port != asked:
            self.moved_from = asked
            _log.warning("port %d is in use, listening on %d", asked, self.port)

    async def _bind(self, factory: ProtocolFactory, asked: int, more: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        last = min(asked + more, 65_535) if asked else 0
        for port in range(asked, last + 1):
            try:
                return await loop.create_server(factory, self.host, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port == last:
                    raise
                _log.debug("port %d is in use", port)
        raise AssertionError("unreachable")

    def kill(self) -> None:
        """Stop listening and end all connections, as when the process dies; `start` begins anew."""
        self._killed = True
        if self._server is not None and self._factory is not None:
            self._server.close()
            self._factory.kill()
            self._server = None

    def abort_connections(self) -> None:
        """End all connections without a word, and go on listening."""
        if self._factory is not None:
            self._factory.kill()

    async def stop(self, grace_s: float = 1.0) -> None:
        """Stop listening and end all connections, waiting at most `grace_s` for open answers."""
        if self._server is None or self._factory is None:
            return
        self._server.close()
        await self._factory.close(grace_s)
        await self._server.wait_closed()
        self._server = None
