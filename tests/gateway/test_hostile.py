"""Whatever is thrown at the gateway, it refuses cleanly and answers the next good request."""

from __future__ import annotations

import gzip
import json
import random
import socket
import zlib
from collections.abc import Iterator
from contextlib import suppress

import pytest
import websocket

from .conftest import KEY, NOW_MS, Running, Start, points
from .device_client import GONE, RawDevice, connect
from .test_device_socket import wait_for


@pytest.fixture
def gateway(start: Start) -> Iterator[Running]:
    made = start(header_timeout_s=0.2, body_timeout_s=0.2, connections_max=8)
    yield made
    before = len(made.rows())
    assert made.post(points("still here")).status == 200
    assert len(made.rows()) == before + 1
    assert made.gateway.counters["internal_errors"] == 0


def raw(gateway: Running, *pieces: bytes) -> bytes:
    """Send pieces on one connection and read until the gateway hangs up."""
    with socket.create_connection(("127.0.0.1", gateway.server.port), timeout=10) as link:
        for piece in pieces:
            link.sendall(piece)
        return b"".join(iter(lambda: link.recv(65536), b""))


def head(**headers: object) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"POST /ingest HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n{''.join(lines)}\r\n".encode()


def value_body(text: bytes) -> bytes:
    return b'{"source_id":"rig-01","points":[{"metric":"m","value":' + text + b"}]}"


NOT_JSON = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "beyond a double": b"1e999",
    "integer beyond 64 bits": b"18446744073709551616",
    "negative beyond 64 bits": b"-9223372036854775809",
    "megabytes of digits": b"9" * 3_000_000,
    "lone surrogate": b'"\\ud800"',
    "bad UTF-8": b'"\xff"',
    "duplicate key in a value": b'{"a":1,"a":2}',
    "duplicate key hidden by escapes": b'{"a":"\\u0022","a":"\\u0022","b":"\\u0022\\u0022"}',
    "nested beyond the parser": b"[" * 100_000 + b"]" * 100_000,
    "nested beyond the writer": b"[" * 900 + b"]" * 900,
    "never closed": b"[" * 1_000_000,
    "trailing": b"1}]}{",
}


@pytest.mark.parametrize("text", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_not_json(gateway: Running, text: bytes) -> None:
    answer = gateway.post(value_body(text))
    assert (answer.status, answer.json) == (400, {"error": "invalid JSON body"})
    assert gateway.rows() == []


def test_duplicate_keys_of_the_envelope_and_the_point(gateway: Running) -> None:
    assert gateway.post(b'{"points":[],"points":[]}').status == 400
    assert gateway.post(b'{"points":[{"source_id":"a","metric":"m","value":1,"value":2}]}').status == 400


def test_quotes_and_long_digits_that_are_fine(gateway: Running) -> None:
    sent = ['say "hi" \\ \u0022', "12345678901234567890123", 0.12345678901234567, 18446744073709551615]
    escaped = json.dumps(points(*sent)).replace('\\"', "\\u0022").encode()
    assert gateway.post(escaped).status == 200
    assert [row.value for row in gateway.rows()] == sent


def test_deep_but_allowed_event(gateway: Running) -> None:
    assert gateway.post(value_body(b"[" * 200 + b"]" * 200)).status == 200


BOMBS = {
    "5 GB in 5 MB": lambda: gzip.compress(bytes(50_000_000)),
    "many members": lambda: gzip.compress(b"") * 100_000,
    "huge member after a small one": lambda: gzip.compress(b"{") + gzip.compress(bytes(50_000_000)),
    "garbage after a member": lambda: gzip.compress(b'{"points":[]}') + b"garbage",
    "broken stream": lambda: gzip.compress(b"x" * 1000)[:20] + b"\xff" * 100,
    "deflate": lambda: zlib.compress(b'{"points":[]}'),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS.keys())
def test_gzip_bombs(gateway: Running, make) -> None:  # type: ignore[no-untyped-def]
    assert gateway.post(make(), content_encoding="gzip").status in (400, 413)


def test_gzip_members_are_joined(gateway: Running) -> None:
    body = gzip.compress(b'{"poi') + gzip.compress(b'nts":[]}')
    assert gateway.post(body, content_encoding="gzip").status == 200


def test_endless_chunked_body(gateway: Running) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    request = head(transfer_encoding="chunked", connection="close")
    assert raw(gateway, request, *[chunk] * 6, b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")


def test_a_refusal_reaches_a_client_that_closes(gateway: Running) -> None:
    """Such a client sends its whole body first; it must not get a reset in place of the answer."""
    request = b"POST /ingest HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4000000\r\n\r\n"
    assert raw(gateway, request, b" " * 4_000_000).startswith(b"HTTP/1.1 401 ")


def test_slow_header(gateway: Running) -> None:
    answer = raw(gateway, b"POST /ingest HTTP/1.1\r\nhos")
    assert answer.startswith(b"HTTP/1.1 408 ") and b"request header took too long" in answer
    assert gateway.gateway.counters["slow_header"] == 1


def test_silent_connection(gateway: Running) -> None:
    assert raw(gateway).startswith(b"HTTP/1.1 408 ")


def test_slow_body(gateway: Running) -> None:
    answer = raw(gateway, head(content_length=100), b'{"points"')
    assert answer.startswith(b"HTTP/1.1 408 ") and b"request body took too long" in answer
    assert gateway.gateway.counters["slow_body"] == 1
    assert gateway.gateway.counters["ingest_client_gone"] == 1


def test_slow_second_request(gateway: Running) -> None:
    first = head(content_length=13) + b'{"points":[]}'
    answers = raw(gateway, first, b"POST /ing")
    assert answers.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 408 " in answers


def test_refused_before_the_body_came(gateway: Running) -> None:
    """401 needs no body; a client that then never sends it is cut off."""
    request = b"POST /ingest HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n"
    answer = raw(gateway, request)
    assert answer.startswith(b"HTTP/1.1 401 ") and answer.count(b"HTTP/1.1") == 1


def test_client_leaves_in_the_middle(gateway: Running) -> None:
    with socket.create_connection(("127.0.0.1", gateway.server.port)) as link:
        link.sendall(head(content_length=100) + b"{")
    assert gateway.rows() == []


GARBAGE = {
    "binary": b"\x00\xff\x16\x03\x01" * 100 + b"\r\n\r\n",
    "long header": b"POST /ingest HTTP/1.1\r\nx: " + b"a" * 100_000,
    "two lengths": b"POST /ingest HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "negative length": b"POST /ingest HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n" * 9,
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_http(gateway: Running, text: bytes) -> None:
    answer = raw(gateway, text)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"date: " in answer
    assert gateway.gateway.counters["http_invalid"] == 1


def test_huge_content_length_is_not_awaited(gateway: Running) -> None:
    assert raw(gateway, head(content_length=10**15)).startswith(b"HTTP/1.1 413 ")


def test_too_many_connections(gateway: Running) -> None:
    links = [socket.create_connection(("127.0.0.1", gateway.server.port)) for _ in range(8)]
    try:
        assert gateway.get("/health").json == {"error": "too many connections (max 8)"}
    finally:
        for link in links:
            assert link.recv(100).startswith(b"HTTP/1.1 408 ")
            link.close()


def test_names_come_back_as_they_are(gateway: Running) -> None:
    name = "<img src=x onerror=alert(1)>\x00\u2028é"
    body = {
        "source_id": "a",
        "points": [{"metric": name, "value": 1, "timestamp": NOW_MS, "tags": {name: name}}],
    }
    assert gateway.post(body).status == 200
    row = gateway.rows()[0]
    assert (row.metric, row.tags) == (name, {name: name})
    assert gateway.get("/v1/sources/a/metrics").json == [name]


def test_keys_are_never_shown(gateway: Running) -> None:
    gateway.post(points(1))
    shown = [gateway.get("/health").body.decode(), repr(gateway.gateway.settings), gateway.server.page_url]
    assert all(KEY not in text for text in shown)


# the device's socket


def test_pings_whose_answers_nobody_reads(gateway: Running) -> None:
    link = RawDevice(gateway).link
    ping = b"\x89\xfd\0\0\0\0" + b"x" * 125
    with pytest.raises(GONE):
        for _ in range(1_000):
            link.sock.sendall(ping * 1_000)
    assert gateway.gateway.counters["pings_unread"] == 1


def test_a_device_that_reads_nothing_is_given_up(start: Start) -> None:
    gateway = start(device_ping_s=0.1, device_silence_s=0.3, control_burst=10**6)
    link = connect(gateway).link
    message = b'{"type":"nonsense"}'
    frame = bytes([0x81, 128 + len(message)]) + bytes(4) + message
    link.sock.settimeout(10)
    with pytest.raises(GONE):
        while True:
            link.sock.sendall(frame * 10_000)
    assert gateway.gateway.counters["devices_silent"] == 1
    assert connect(gateway).welcome["type"] == "authenticated"


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_on_the_socket(gateway: Running, seed: int) -> None:
    rng = random.Random(seed)
    device = connect(gateway)
    device.link.sock.settimeout(0.05)
    with suppress(*GONE, OSError):
        for _ in range(20):
            opcode, size = rng.choice((0, 1, 1, 2, 2, 8, 9, 10, 11)), rng.randrange(126)
            head = bytes([rng.choice((0x80, 0x80, 0)) + opcode, rng.choice((0x80, 0x80, 0x80, 0)) + size])
            device.link.sock.sendall(head + rng.randbytes(4 + rng.choice((size, size, size, 3))))
    device.link.shutdown()


def test_devices_count_as_connections(gateway: Running) -> None:
    devices = [connect(gateway, source_id=f"rig-{n}") for n in range(8)]
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        connect(gateway, source_id="rig-8")
    assert refused.value.status_code == 503
    for device in devices:
        device.link.shutdown()
    wait_for(lambda: gateway.server.connections == 0)
