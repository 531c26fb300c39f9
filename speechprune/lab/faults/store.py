"""An S3 server that misbehaves when it is told to."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

STALL_SECONDS = 600.0  # longer than any client waits
Respond = Callable[[str, list[tuple[str, str]]], Any]


class Misbehaviour(Enum):
    """What is done to a request in place of answering it."""

    SLOW_DOWN = "503 Slow Down"
    RESET = "connection reset"
    STALL = "no answer"
    EXPIRED = "403 Expired Token"


class FaultyStore:
    """moto's S3 on a port of this machine, with some requests served badly.

    Parameters
    ----------
    seed
        Of the choice of requests.
    """

    def __init__(self, seed: int = 0) -> None:
        self.requests: Counter[str] = Counter()  # by method
        self.misbehaved = 0
        self._random = random.Random(seed)
        self._kind: Misbehaviour | None = None
        self._share = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_QuietHandler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead to it, as boto reads them; the credentials are made up."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": "AKIDREHEARSAL",
            "AWS_SECRET_ACCESS_KEY": "rehearsal",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def misbehave(self, kind: Misbehaviour, share: float = 1.0) -> None:
        """From now on, to a share of all requests."""
        with self._lock:
            self._kind, self._share = kind, share

    def behave(self) -> None:
        """From now on, to all."""
        with self._lock:
            self._kind = None

    def forget_counts(self) -> None:
        """Count anew."""
        with self._lock:
            self.requests.clear()
            self.misbehaved = 0

    def close(self) -> None:
        """End it, and every request that it lets wait."""
        self._closed.set()
        self._server.shutdown()

    def _answer(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        with self._lock:
            self.requests[environ["REQUEST_METHOD"]] += 1
            kind = self._kind if self._random.random() < self._share else None
            self.misbehaved += kind is not None
        if kind is None:
            answer: Iterable[bytes] = self._app(environ, respond)
            return answer
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if kind in (Misbehaviour.SLOW_DOWN, Misbehaviour.EXPIRED):
            status, code, message = {
                Misbehaviour.SLOW_DOWN: ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
                Misbehaviour.EXPIRED: ("403 Forbidden", "ExpiredToken", "The provided token has expired."),
            }[kind]
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            respond(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]
        if kind is Misbehaviour.STALL:
            self._closed.wait(STALL_SECONDS)
        environ["werkzeug.socket"].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionResetError


class _QuietHandler(WSGIRequestHandler):
    """Without a line a request; a connection that was reset is closed."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""

    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        """Don't wait for another request on it."""
        self.close_connection = True
