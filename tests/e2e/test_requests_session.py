"""A board whose HTTP comes from a blocking module shaped like micropython-lib's `requests`."""

from host_sim.world import ROOT
from tests.e2e.simulation import outage, program, simulate

FLASH = ROOT / "boards" / "esp32_flash_ring.py"

# Of the shape of that module, as small as it can be; it leaves nothing open.
BLOCKING = """
import socket

class Response:
    def close(self):
        pass

def request(method, url, data=None, headers={}, timeout=10):
    _, _, host, path = url.split("/", 3)
    name, port = host.split(":")
    s = socket.socket()
    try:
        s.settimeout(timeout)
        s.connect(socket.getaddrinfo(name, int(port))[0][-1])
        lines = ["%s: %s" % pair for pair in headers.items()]
        head = [method + " /" + path + " HTTP/1.0", "Host: " + host, "Content-Length: %d" % len(data)] + lines
        s.sendall("\\r\\n".join(head).encode() + b"\\r\\n\\r\\n" + data)
        answer = b""
        while True:
            more = s.recv(500)
            if not more:
                break
            answer += more
    finally:
        s.close()
    if not answer:
        raise OSError(104)
    head, content = answer.split(b"\\r\\n\\r\\n", 1)
    lines = head.decode().split("\\r\\n")
    response = Response()
    response.status_code = int(lines[0].split()[1])
    response.headers = dict(line.split(": ", 1) for line in lines[1:])
    response.content = content
    return response

def post(url, **kw):
    return request("POST", url, **kw)

def patch(url, **kw):
    return request("PATCH", url, **kw)
"""
SENDER = """
import time, requests
from plexus_mp import Plexus
px = Plexus(source_id="through-requests", session=requests)
with px.run("blocking"):
    for n in range(30):
        px.send("n", n)
        time.sleep(1)
"""


def test_readings_and_runs_go_through_it(vm, tmp_path):
    (tmp_path / "requests.py").write_text(BLOCKING)
    outcome = simulate(program(tmp_path, SENDER), vm, 60, outage(8, 8), FLASH)
    assert outcome.console == "" and outcome.verdict.clean and outcome.verdict.pending == 0
    assert outcome.values("n") == list(range(30))
    [run] = outcome.world.store.windows.list_newest("run")
    assert (run.name, run.status) == ("blocking", "completed")
    assert outcome.world.answers.posts > 5 and outcome.world.gateway.counters["websockets_refused"] == 0
