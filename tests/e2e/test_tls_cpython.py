"""The library's TLS streams on CPython, over real sockets of this machine."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import contextmanager

import pytest
from plexus_mp.tls import Connector

from host_sim.authority import Authority, make_identities

HOST = "localhost"
_GIVE_UP_S = 30


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def identities(authority):
    return make_identities(authority, HOST, int(time.time()))


class Server(threading.Thread):
    """Answers each line of one connection after another; without `identity` it speaks no TLS."""

    def __init__(self, folder, identity):
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._context = None
        self.names = []
        if identity is not None:
            chain = folder / "chain.pem"
            chain.write_bytes(identity.pem + identity.key_pem)
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(chain)
            self._context.sni_callback = lambda _socket, name, _context: self.names.append(name)

    def run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                self._serve(connection)
            except OSError:  # the client went, as it should with most of these servers
                connection.close()

    def _serve(self, connection):
        connection.settimeout(_GIVE_UP_S)
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            data = b""
            while not data.endswith(b"\n"):
                data = connection.recv(65536)
                if self._context is None:
                    data = b"HTTP/1.1 400 what?\n"
                if not data:
                    return
            connection.sendall(data[-5:] if self._context else data)

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join(_GIVE_UP_S)


@contextmanager
def serving(folder, identity):
    server = Server(folder, identity)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connect(connector, port):
    stream = connector(HOST, port)
    end = time.monotonic() + _GIVE_UP_S
    while not stream.connected():
        assert time.monotonic() < end
        time.sleep(0.002)
    return stream


def read(stream, size):
    data, buf = b"", bytearray(100)
    while len(data) < size:
        n = stream.readinto(buf)
        if n is None:
            time.sleep(0.002)
            continue
        if n == 0:
            break
        data += bytes(buf[:n])
    return data


def test_bytes_go_both_ways(tmp_path, authority, identities):
    with serving(tmp_path, identities.good) as server:
        stream = connect(Connector(authority.der, lambda: None), server.port)
        assert stream.readinto(bytearray(10)) is None
        assert stream.write(b"ping\n") == 5
        assert read(stream, 5) == b"ping\n"
        assert server.names == [HOST]
        stream.close()


def test_what_does_not_fit_is_taken_later(tmp_path, authority, identities):
    """A full socket takes 0 bytes; the same bytes again, and the stream is whole."""
    with serving(tmp_path, identities.good) as server:
        stream = connect(Connector(authority.pem, lambda: None), server.port)
        stream._tcp._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        todo, refusals = memoryview(b"x" * 4_999_995 + b"done\n"), 0
        while todo:
            n = stream.write(todo[:16384])
            todo = todo[n:]
            if not n:
                refusals += 1
                select.select((), (stream._tcp._sock,), (), _GIVE_UP_S)
        assert refusals
        assert read(stream, 5) == b"done\n"
        stream.close()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "certificate expired"),
        ("not_yet_valid", "certificate not yet valid"),
        ("wrong_host", "certificate is for another host"),
        ("other_ca", "certificate not signed by the CA"),
        ("self_signed", "certificate not signed by the CA"),
        (None, "the server does not speak TLS"),
    ],
)
def test_an_error_says_which_check_failed(tmp_path, authority, identities, kind, words):
    with serving(tmp_path, kind and getattr(identities, kind)) as server:
        connector = Connector(authority.der, lambda: None)
        with pytest.raises(OSError) as caught:
            connect(connector, server.port)
        assert caught.value.args == (71, words)
        assert connector._stream._tcp is None


def test_without_a_ca_the_system_decides(tmp_path, identities):
    with serving(tmp_path, identities.good) as server, pytest.raises(OSError, match="not signed by the CA"):
        connect(Connector(None, lambda: None), server.port)


def test_what_is_no_certificate(tmp_path):
    (tmp_path / "ca.der").write_bytes(b"no certificate")
    for ca in (str(tmp_path / "ca.der"), b"-----BEGIN CERTIFICATE-----\n-----END", str(tmp_path / "none")):
        with pytest.raises(ValueError, match="ca_file"):
            Connector(ca, lambda: None)
