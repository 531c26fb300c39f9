"""A real HTTP server that speaks as much of OpenAI's protocol as the builder uses, with faults on demand."""

import contextlib
import io
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import numpy as np
import soundfile

Fault = Literal["hang", "reset", "cut"]


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What it gets: a response, or the fault instead of one."""

    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: Fault | None = None


class ProtocolServer:
    """Answers each request with what ``reply_to`` makes of it; ``requests`` holds all that came in."""

    def __init__(self, reply_to: Callable[[Request], Reply]) -> None:
        self.reply_to = reply_to
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                request = Request(self.path, dict(self.headers), body)
                with server.lock:
                    server.requests.append(request)
                    reply = server.reply_to(request)
                _send(self, reply, server.stopping)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    @contextlib.contextmanager
    def running(self) -> Iterator["ProtocolServer"]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        try:
            yield self
        finally:
            self.stopping.set()  # releases those that hang
            self._http.shutdown()
            thread.join()
            self._http.server_close()


def _send(handler: BaseHTTPRequestHandler, reply: Reply, stopping: threading.Event) -> None:
    if reply.fault == "hang":
        stopping.wait(timeout=30)
    if reply.fault in ("hang", "reset"):
        if reply.fault == "reset":  # no linger: closing sends RST
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
        handler.connection.close()
        return
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(reply.content)))
    handler.end_headers()
    if reply.fault == "cut":
        handler.wfile.write(reply.content[: len(reply.content) // 2])
        handler.close_connection = True
    else:
        handler.wfile.write(reply.content)


def in_turn(*replies: Reply) -> Callable[[Request], Reply]:
    """One reply a request; a request too many is refused, which no client tries again."""
    left = iter(replies)
    return lambda request: next(left, Reply(b"one request too many", status=418))


def rate_limit() -> Reply:
    return error(429, "slow down", {"Retry-After": "0"})


def error(status: int, message: str, headers: dict[str, str] | None = None) -> Reply:
    return Reply(json.dumps({"error": {"message": message}}).encode(), status=status, headers=headers or {})


def completion(text: str | None, *, finish_reason: str = "stop", refusal: str | None = None) -> Reply:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return Reply(json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def sound(samples: np.ndarray, rate: int) -> Reply:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return Reply(file.getvalue(), headers={"Content-Type": "audio/wav"})
