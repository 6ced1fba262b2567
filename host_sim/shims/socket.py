"""`socket` of MicroPython's ESP32 port: TCP streams."""

from _board import call, operation

AF_INET = 2
SOCK_STREAM = 1
SOCK_DGRAM = 2
SOL_SOCKET = 4095
SO_REUSEADDR = 4
IPPROTO_TCP = 6

_EAGAIN = 11

_recv = operation("sockets.recv")
_send = operation("sockets.send")


def getaddrinfo(host, port, af=0, type=0, proto=0, flags=0):
    return [(AF_INET, SOCK_STREAM, 0, "", (call("sockets.resolve", host), port))]


class socket:
    def __init__(self, af=AF_INET, type=SOCK_STREAM, proto=IPPROTO_TCP):
        if type != SOCK_STREAM:
            raise OSError(22)  # the virtual board has no datagrams
        self._number = call("sockets.open")

    def setblocking(self, flag):
        self.settimeout(None if flag else 0)

    def settimeout(self, seconds):
        call("sockets.set_timeout", self._number, None if seconds is None else int(seconds * 1000))

    def setsockopt(self, level, option, value):
        pass

    def connect(self, address):
        call("sockets.connect", self._number, address[0], address[1])

    def send(self, data):
        return _send(self._number, bytes(data))

    def sendall(self, data):
        data = bytes(data)
        while data:
            data = data[self.send(data) :]

    def write(self, data):
        try:
            return self.send(data)
        except OSError as e:
            if e.errno == _EAGAIN:
                return None
            raise

    def recv(self, n):
        data = self._read(n)
        if data is None:
            raise OSError(_EAGAIN, "EAGAIN")
        return data

    def read(self, n=-1):
        if n >= 0:
            return self._read(n)
        whole = b""
        while True:
            part = self._read(1024)
            if not part:
                return whole
            whole += part

    def _read(self, n):
        """None when there is nothing yet and the socket does not block."""
        return _recv(self._number, n)

    def readinto(self, buf, nbytes=0):
        data = _recv(self._number, nbytes or len(buf))
        if data is None:
            return None
        buf[: len(data)] = data
        return len(data)

    def readline(self):
        line = b""
        while not line.endswith(b"\n"):
            byte = self.recv(1)
            if not byte:
                break
            line += byte
        return line

    def makefile(self, mode="rb", buffering=0):
        return self

    def close(self):
        call("sockets.close", self._number)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
