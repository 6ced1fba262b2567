"""`tls` of MicroPython's ESP32 port, the module under `ssl` since 1.23: clients only.

A failed handshake frees the TLS part and leaves the socket below open, as on a board: whoever wrapped it
closes it. Client certificates, servers and DTLS are not there.
"""

from _board import call

MBEDTLS_VERSION = "Mbed TLS 3.6.5"
PROTOCOL_TLS_CLIENT = 0
PROTOCOL_TLS_SERVER = 1
CERT_NONE = 0
CERT_OPTIONAL = 1
CERT_REQUIRED = 2

_EAGAIN = 11


class SSLContext:
    def __init__(self, protocol):
        if protocol != PROTOCOL_TLS_CLIENT:
            raise OSError(95, "the virtual board has TLS clients only")
        self._authorities = ()
        self.verify_mode = CERT_REQUIRED
        self.verify_callback = None

    def load_verify_locations(self, cadata):
        """One certificate in DER, or any number in PEM; adds to those that were loaded."""
        if isinstance(cadata, str):
            cadata = cadata.encode()
        cadata = bytes(cadata)
        call("tls.check_authorities", cadata)
        self._authorities += (cadata,)

    def load_cert_chain(self, certfile, keyfile):
        raise OSError(95, "the virtual board has no client certificates")

    def wrap_socket(self, sock, *, server_side=False, do_handshake_on_connect=True, server_hostname=None):
        if server_side:
            raise OSError(95, "the virtual board has TLS clients only")
        wrapped = SSLSocket(self, sock, server_hostname)
        if do_handshake_on_connect:
            wrapped._handshake()
        return wrapped


class SSLSocket:
    """What `wrap_socket` returns: a stream."""

    def __init__(self, context, sock, host):
        self._sock = sock
        mode = context.verify_mode
        self._number = call("tls.wrap", sock._number, host, mode, *context._authorities)
        self._callback = context.verify_callback if context.verify_mode != CERT_NONE else None

    def _handshake(self):
        done = False
        try:
            self._call("tls.handshake")
            done = True
        finally:
            if not done:
                call("tls.drop", self._number)

    def _call(self, operation, *arguments):
        """Ask the board, then show a new chain to `verify_callback`: before its refusal is raised.

        A board calls it within the handshake; here the handshake is over, which only the server can tell.
        """
        try:
            return call(operation, self._number, *arguments)
        finally:
            if self._callback is not None:
                self._show_chain()

    def _show_chain(self):
        chain = []
        while True:
            certificate = call("tls.checked_certificate", self._number, len(chain))
            if certificate is None:
                break
            chain.append(certificate)
        if chain:
            callback, self._callback = self._callback, None
            for depth in range(len(chain) - 1, -1, -1):
                error = callback(memoryview(chain[depth]), depth)
                if error:
                    call("tls.drop", self._number)
                    raise OSError(error)

    def write(self, data):
        """All of it on a blocking socket; else what was taken, or None."""
        data = bytes(data)
        sent = 0
        while sent < len(data):
            n = self._unless_busy("sockets.send", data[sent:])
            if n is None:
                return sent or None
            sent += n
        return sent

    sendall = write

    def send(self, data):
        return self._call("sockets.send", bytes(data)) if data else 0

    def recv(self, n):
        data = self._call("sockets.recv", n)
        if data is None:
            raise OSError(_EAGAIN, "EAGAIN")
        return data

    def read(self, n=-1):
        """`n` bytes on a blocking socket, less only at the end; None when nothing is there yet."""
        found = b""
        while n < 0 or len(found) < n:
            part = self._unless_busy("sockets.recv", 1024 if n < 0 else n - len(found))
            if part is None:
                return found or None
            if not part:
                break
            found += part
        return found

    def readinto(self, buf, nbytes=0):
        data = self.read(nbytes or len(buf))
        if data is None:
            return None
        buf[: len(data)] = data
        return len(data)

    recv_into = readinto

    def readline(self):
        line = b""
        while not line.endswith(b"\n"):
            byte = self._unless_busy("sockets.recv", 1)
            if byte is None:
                return line or None
            if not byte:
                break
            line += byte
        return line

    def _unless_busy(self, operation, argument):
        try:
            return self._call(operation, argument)
        except OSError as e:
            if e.errno == _EAGAIN:
                return None
            raise

    def setblocking(self, flag):
        self._sock.setblocking(flag)

    def getpeercert(self, binary_form):
        if not binary_form:
            raise NotImplementedError  # as MicroPython does
        return call("tls.peer_certificate", self._number)

    def cipher(self):
        return tuple(call("tls.cipher", self._number))

    def close(self):
        call("tls.close", self._number)
