"""TCP streams of `asyncio`."""

import _asyncio_core as core

# Numbers of lwIP and newlib on an ESP32.
_EINPROGRESS = 119
_EOPNOTSUPP = 95


class Stream:
    """Reads and writes `s`, which must not block."""

    def __init__(self, s, e={}):  # noqa: B006
        self.s = s
        self.e = e
        self.out_buf = b""

    def get_extra_info(self, v):
        return self.e[v]

    def close(self):
        pass

    async def wait_closed(self):
        self.s.close()

    async def read(self, n=-1):
        """At most `n` bytes, b"" at the end; with -1, all until the end."""
        whole = b""
        while True:
            await core.io_queue.queue_read(self.s)
            part = self.s.read(n)
            if part is None:
                continue
            if n >= 0:
                return part
            if not part:
                return whole
            whole += part

    async def readinto(self, buf):
        await core.io_queue.queue_read(self.s)
        return self.s.readinto(buf)

    async def readexactly(self, n):
        whole = b""
        while len(whole) < n:
            await core.io_queue.queue_read(self.s)
            part = self.s.read(n - len(whole))
            if part is None:
                continue
            if not part:
                raise EOFError
            whole += part
        return whole

    async def readline(self):
        line = b""
        while True:
            await core.io_queue.queue_read(self.s)
            byte = self.s.read(1)
            while byte:
                line += byte
                if byte == b"\n":
                    return line
                byte = self.s.read(1)
            if byte is not None:
                return line

    def write(self, buf):
        """Gives to the stream what it takes at once; `drain` writes the rest."""
        if not self.out_buf:
            n = self.s.write(buf)
            if n == len(buf):
                return
            if n:
                buf = buf[n:]
        self.out_buf += buf

    async def drain(self):
        if not self.out_buf:
            await core.sleep_ms(0)  # so that a loop of write and drain lets others have their turn
            return
        rest = memoryview(self.out_buf)
        while rest:
            await core.io_queue.queue_write(self.s)
            n = self.s.write(rest)
            if n:
                rest = rest[n:]
        self.out_buf = b""


StreamReader = Stream
StreamWriter = Stream


async def open_connection(host, port, ssl=None, server_hostname=None):
    """A stream twice, to read from and to write to. Resolving the host blocks.

    As in MicroPython it returns as well when the connection is refused, and the first use raises `OSError`.
    """
    import socket

    info = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    s = socket.socket(info[0], info[1], info[2])
    try:
        s = _begin(s, info[-1], ssl, server_hostname or host)
        await core.io_queue.queue_write(s)
    except (core.CancelledError, Exception):
        s.close()  # a board's garbage collector would, this one does not know of sockets
        raise
    stream = Stream(s)
    return stream, stream


def _begin(s, address, context, name):
    """Start to connect; the socket, wrapped when `context` is an SSLContext or True."""
    s.setblocking(False)
    try:
        s.connect(address)
    except OSError as e:
        if e.errno != _EINPROGRESS:
            raise
    if not context:
        return s
    if context is True:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    s = context.wrap_socket(s, server_hostname=name, do_handshake_on_connect=False)
    s.setblocking(False)
    return s


async def start_server(cb, host, port, backlog=5, ssl=None):
    raise OSError(_EOPNOTSUPP, "the virtual board does not listen")
