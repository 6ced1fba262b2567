"""A program as on a CircuitPython board, on CPython: `circuitpython_program.py PORT LIB TRANSPORT COUNT
[CA [TIMEOUT_S]]`, or `circuitpython_program.py PORT LIB FILE`, which runs that one.

The modules that only such a board has are stood in for by real sockets with the manners of its firmware: a connection
begins with ETIMEDOUT, the end of a stream is ENOTCONN, TLS goes on with its handshake in whatever is called first.
"""

import os
import runpy
import socket
import ssl
import sys
import time
import types

EAGAIN, ENOTCONN, ETIMEDOUT = 11, 128, 116  # newlib's


class Socket:
    def __init__(self):
        self._sock = socket.socket()
        self._fd = self._sock.fileno()  # what a poller knows it by, also when it is closed

    def fileno(self):
        return self._sock.fileno() if self._sock.fileno() >= 0 else self._fd

    def settimeout(self, seconds):
        self._sock.settimeout(seconds)

    def connect(self, address):
        try:
            self._sock.connect(address)
        except BlockingIOError:
            raise OSError(ETIMEDOUT, "ETIMEDOUT") from None

    def send(self, data):
        try:
            return self._sock.send(data)
        except BlockingIOError:
            raise OSError(EAGAIN, "EAGAIN") from None

    def recv_into(self, buf):
        try:
            got = self._sock.recv_into(buf)
        except BlockingIOError:
            raise OSError(EAGAIN, "EAGAIN") from None
        if not got:
            raise OSError(ENOTCONN, "ENOTCONN")
        return got

    def close(self):
        self._sock.close()


class TlsSocket:
    """mbedtls's handshake goes on in `send` and `recv_into`; what waits is MBEDTLS_ERR_SSL_WANT_READ."""

    def __init__(self, plain, context, name):
        self._plain = plain
        mine = plain._sock.dup()  # CPython's layer takes the socket away from its owner
        self._sock = context.wrap_socket(mine, server_hostname=name, do_handshake_on_connect=False)
        self._sock.settimeout(0)

    def _call(self, function, *arguments):
        try:
            self._sock.do_handshake()
            return function(*arguments)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise OSError(-0x6900, "") from None
        except ssl.SSLCertVerificationError:
            raise OSError(-0x2700, "X509 - Certificate verification failed") from None

    def send(self, data):
        return self._call(self._sock.send, data)

    def recv_into(self, buf):
        return self._call(self._sock.recv_into, buf)

    def close(self):
        self._sock.close()
        self._plain.close()


class Context:
    def __init__(self):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def load_verify_locations(self, cadata):
        self._context.load_verify_locations(cadata=cadata)

    def wrap_socket(self, sock, server_hostname=None):
        return TlsSocket(sock, self._context, server_hostname)


class SocketPool:
    AF_INET, SOCK_STREAM = 0, 1

    def __init__(self, radio):
        assert radio is sys.modules["wifi"].radio

    def getaddrinfo(self, host, port, family=0, type=0):
        return [(0, 0, 0, "", info[4]) for info in socket.getaddrinfo(host, port, socket.AF_INET)]

    def socket(self, family, type):
        return Socket()


def module(name, **contents):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(contents)


def become_a_board():
    sys.implementation.name = "circuitpython"
    start = time.monotonic_ns()
    module(
        "supervisor", ticks_ms=lambda: ((time.monotonic_ns() - start) // 1_000_000 + 0x1FFF0000) % (1 << 29)
    )
    module("wifi", radio=types.SimpleNamespace(ipv4_address="127.0.0.1", hostname=""))
    module("socketpool", SocketPool=SocketPool)
    module("micropython", const=lambda value: value)
    module("microcontroller", cpu=types.SimpleNamespace(uid=bytes(range(8)), temperature=31.5))
    module("ssl", create_default_context=Context)


def main():
    port, lib = sys.argv[1:3]
    become_a_board()
    sys.path[:0] = [lib]
    if len(sys.argv) == 4:
        return runpy.run_path(sys.argv[3])
    transport, count = sys.argv[3:5]
    from plexus_mp import Plexus

    scheme = "https" if len(sys.argv) > 5 else "http"
    settings = {"ca_file": sys.argv[5]} if len(sys.argv) > 5 else {}
    url = f"{scheme}://localhost:{port}"
    px = Plexus(os.environ["PLEXUS_API_KEY"], None, url, transport=transport, **settings)
    assert px.source_id.endswith("0001020304050607"), px.source_id
    for n in range(int(count)):
        assert px.send("n", n, tags={"odd": "yes"} if n % 2 else None)
        if n % 3:
            px.sleep(0.02)
    px.flush_buffer(int(sys.argv[6]) if len(sys.argv) > 6 else 20)
    px.close()


main()
