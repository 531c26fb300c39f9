"""Leases as others wrote them, and a stand-in for the time in which they are watched."""

import json
import os
from collections.abc import Callable

from speechprune import storage


def files(folder: str) -> list[str]:
    return storage.files_in(storage.join(folder, "leases"), ".json")


def write_lease(folder: str, number: int, **changes) -> None:
    holder = {
        "host": "elsewhere",
        "pid": 7,
        "started": 1,
        "since": "2026",
        "minutes": 1,
        "renewals": 0,
    }
    uri = storage.join(folder, "leases", f"lease-{number:09}.json")
    storage.write_bytes(uri, json.dumps(holder | changes).encode())


class Watch:
    """Stands in for the time that a launch watches another's lease; ``then`` happens after some of it."""

    def __init__(self, then: Callable[[], None] = lambda: None, after_seconds: float = 30) -> None:
        self.seconds = 0.0
        self._then = then
        self._after_seconds = after_seconds

    def __call__(self, seconds: float) -> None:
        before = self.seconds
        self.seconds += seconds
        if before < self._after_seconds <= self.seconds:
            self._then()


def names(folder: str) -> list[str]:
    return [os.path.basename(file) for file in files(folder)]
