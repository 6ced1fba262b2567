"""HTTP through somebody else's `requests`, for boards whose sockets come from elsewhere. Loaded when one is given.

`Plexus(session=…)` takes what has `post(url, data=, headers=)` and gives answers with `status_code`, `content`,
`headers` and `close()`: micropython-lib's module `requests`, an `adafruit_requests.Session`, or `requests.Session()` on
CPython. The answers' headers are needed: without the gateway's Date no reading can be dated.

Every request blocks until its answer is there, up to the session's own timeout (10 s where it takes one): with it,
`tick()` waits for the network, and so does whatever a timer interrupts. `tick_ms=0` and `px.tick()` at quiet moments
spare a program that. There is no WebSocket this way, and so no commands.
"""

from .ports import const, ticks_ms

_TIMEOUT_S = const(10)
_KEPT_MAX = const(512)


class RequestsHttp:
    """As `http.Http`, over `session`: `post(body)`, then `poll()` for the status."""

    def __init__(self, session, url, api_key, agent, method="post", path="/ingest"):
        self._session = session
        self._base = url.rstrip("/")
        self._url = self._base + path
        self._method = method
        self._headers = {"x-api-key": api_key, "Content-Type": "application/json", "User-Agent": agent}
        self._takes_timeout = True
        self._body = self.date = None
        self.kept = b""
        self.status = self.connections = self.asked = 0

    def twin(self, method, path, api):
        """For a request of another kind, to `api` or the same host."""
        other = RequestsHttp(self._session, api or self._base, "", "", method.lower(), path)
        other._headers = self._headers
        return other

    @property
    def busy(self):
        return self._body is not None

    @property
    def connected(self):
        """Nobody here knows: what carries the requests may see to a network of its own."""
        return True

    def find(self, text):
        return self.kept.find(text)

    def post(self, body):
        self._body = bytes(body)
        self.date = None
        self.kept = b""

    def poll(self):
        """Make the request: blocks. The status; `OSError` for whatever went wrong."""
        body = self._body
        self._body = None
        self.asked = ticks_ms()
        self.connections += 1
        try:
            return self._take(self._ask(body))
        except (OSError, MemoryError):
            raise
        except Exception as e:  # each of them has errors of its own
            raise OSError(5, "%s: %s" % (type(e).__name__, e))

    def _ask(self, body):
        ask = getattr(self._session, self._method)
        if self._takes_timeout:
            try:
                return ask(self._url, data=body, headers=self._headers, timeout=_TIMEOUT_S)
            except TypeError:  # an old urequests: nothing was sent
                self._takes_timeout = False
        return ask(self._url, data=body, headers=self._headers)

    def _take(self, answer):
        try:
            for name, value in answer.headers.items():
                if name.lower() == "date":
                    self.date = value.encode() if isinstance(value, str) else value
            self.kept = answer.content[:_KEPT_MAX]
            self.status = answer.status_code
        finally:
            answer.close()
        return self.status

    def close(self):
        """Drop what was to be sent: the connection is the session's."""
        self._body = None
