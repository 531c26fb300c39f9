"""An S3 server with fault injection."""

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


class StoreFault(Enum):
    """Fault that a request gets in place of its answer."""

    SLOW_DOWN = "503 Slow Down"
    RESET = "connection reset"
    STALL = "no answer"
    EXPIRED = "403 Expired Token"


class FaultyStore:
    """moto's S3 on a port of this machine, with faults injected into some requests.

    Parameters
    ----------
    seed
        Seed of the choice of requests.
    """

    def __init__(self, seed: int = 0) -> None:
        self.requests: Counter[str] = Counter()  # number by method
        self.injected = 0
        self._random = random.Random(seed)
        self._kind: StoreFault | None = None
        self._share = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_QuietHandler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that point boto to this server; the credentials are made up."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": "AKIDFAULTS",
            "AWS_SECRET_ACCESS_KEY": "faults",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def inject(self, kind: StoreFault, share: float = 1.0) -> None:
        """Inject a fault into a share of all requests from now on."""
        with self._lock:
            self._kind, self._share = kind, share

    def stop_injecting(self) -> None:
        """Answer all requests from now on."""
        with self._lock:
            self._kind = None

    def reset_counts(self) -> None:
        """Set the counts to zero."""
        with self._lock:
            self.requests.clear()
            self.injected = 0

    def close(self) -> None:
        """Stop the server, and every request that waits."""
        self._closed.set()
        self._server.shutdown()

    def _answer(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        with self._lock:
            self.requests[environ["REQUEST_METHOD"]] += 1
            kind = self._kind if self._random.random() < self._share else None
            self.injected += kind is not None
        if kind is None:
            answer: Iterable[bytes] = self._app(environ, respond)
            return answer
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if kind in (StoreFault.SLOW_DOWN, StoreFault.EXPIRED):
            status, code, message = {
                StoreFault.SLOW_DOWN: ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
                StoreFault.EXPIRED: ("403 Forbidden", "ExpiredToken", "The provided token has expired."),
            }[kind]
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            respond(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            # the answer to HEAD has no body: on a connection that is kept it would pass for the next answer
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
        if kind is StoreFault.STALL:
            self._closed.wait(STALL_SECONDS)
        environ["werkzeug.socket"].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionResetError


class _QuietHandler(WSGIRequestHandler):
    """Request handler that logs nothing and closes a connection that was reset."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Log nothing."""

    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        """Close the connection rather than wait for another request on it."""
        self.close_connection = True
