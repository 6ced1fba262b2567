"""The handshake that begins a WebSocket (RFC 6455 §4). Loaded with it and given back; `ws` is a `Ws`."""

from binascii import b2a_base64

from . import ports
from .answers import word
from .ports import const

# Words of headers as answers.py hashes them.
_UPGRADE = const(0xA60F30)
_WEBSOCKET = const(0x98FFB5)
_ACCEPT = const(0xF2B7E0)


def begin(ws):
    """A new key into the request, and its proof, b"" where there is no SHA-1, for the answer."""
    seed = bytearray(16)
    ports.randomize(seed, 0, 16)
    key = b2a_base64(seed)[:24]
    ws._head[-28:-4] = key
    digest = ports.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    ws._proof = b2a_base64(digest)[:28] if digest else b""


def take_header(ws, at, end):
    """Note in `_agreed` what a header of the answer says."""
    name = word(ws, at, end)
    at = ws._at
    if name == _UPGRADE and word(ws, at, end) == _WEBSOCKET:
        ws._agreed |= 1
    elif name == _ACCEPT and ws._buf.find(ws._proof, at, end) == at:
        ws._agreed |= 2
