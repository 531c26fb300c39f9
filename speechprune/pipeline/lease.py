"""Who may write to an index: one run at a time, and not for ever if it dies.

A lease is a file that only one process can create, as every store promises for "create if there is none".
Leases are numbered: whoever finds the highest one expired creates the next, and only one can.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import psutil
from loguru import logger

from speechprune import storage

RENEWALS = 5  # within the time after which a lease expires


class LeaseError(ValueError):
    """Another run holds the index; the sentence says who, since when and until when."""


class Lease:
    """``with Lease(folder, minutes): ...`` around all that writes to an index.

    Parameters
    ----------
    folder
        Of the index, local or any fsspec URL.
    minutes
        After so long without a sign of life a holder counts as dead.
    """

    def __init__(self, folder: str, minutes: float) -> None:
        self._folder = storage.join(storage.absolute(folder), "leases")
        self._minutes = minutes
        self._number = 0
        self._since = ""
        self._ended = threading.Event()
        self._renewal = threading.Thread(target=self._renew, daemon=True)
        self._lost = False

    def __enter__(self) -> Lease:
        """Take the index.

        Raises
        ------
        LeaseError
            Another run holds it.
        """
        held = self._highest()
        if held is not None:
            self._refuse_if_alive(held)
        self._number = 1 if held is None else held + 1
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            storage.create_bytes(self._file(self._number), self._content())
        except FileExistsError:
            self._refuse_if_alive(self._number)
            raise LeaseError(f"{self._folder}: another run was faster just now: start again") from None
        for number in self._numbers():
            if number < self._number:
                storage.remove(self._file(number))
        self._renewal.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._renewal.join()  # or what it is just writing would stay behind
        if not self._lost:
            storage.remove(self._file(self._number))

    def check(self) -> None:
        """Stop what is about to write if another run has taken the index meanwhile.

        Raises
        ------
        LeaseError
            This process was out of reach for longer than a lease lasts.
        """
        if self._lost or self._highest() != self._number:
            self._lost = True
            raise LeaseError(
                f"{self._folder}: another run has taken the index, as this one gave no sign of life for "
                f"{self._minutes:g} minutes: start again when it is done"
            )

    def _renew(self) -> None:
        while not self._ended.wait(self._minutes * 60 / RENEWALS):
            try:
                self.check()
                storage.write_bytes(self._file(self._number), self._content())
            except LeaseError:
                return
            except (OSError, storage.StorageError) as error:  # the next try may get through
                logger.debug("the lease could not be renewed: {}", error)

    def _refuse_if_alive(self, number: int) -> None:
        holder = self._read(number)
        if holder is None or _is_dead_here(holder):  # gone, or its process is: no need to wait
            return
        left = self._minutes * 60 - (time.time() - holder["renewed"])
        if left > 0:
            raise LeaseError(
                f"another run writes to this index: process {holder['pid']} on {holder['host']}, since "
                f"{holder['since']}. Wait for its end; if it is dead, its claim expires in "
                f"{max(1, round(left / 60))} min"
            )
        logger.warning(
            "process {} on {} holds the index but gives no sign of life: taken over",
            holder["pid"],
            holder["host"],
        )

    def _content(self) -> bytes:
        me = psutil.Process()
        return json.dumps(
            {
                "host": socket.gethostname(),
                "pid": me.pid,
                "started": me.create_time(),
                "since": self._since,
                "renewed": time.time(),
            }
        ).encode()

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            holder: dict[str, Any] = json.loads(storage.read_text(self._file(number)))
        except FileNotFoundError:
            return None
        return holder

    def _file(self, number: int) -> str:
        return storage.join(self._folder, f"lease-{number:09}.json")

    def _numbers(self) -> list[int]:
        names = (os.path.basename(file) for file in storage.files_in(self._folder, ".json"))
        return sorted(int(name.removeprefix("lease-").removesuffix(".json")) for name in names)

    def _highest(self) -> int | None:
        numbers = self._numbers()
        return numbers[-1] if numbers else None


def _is_dead_here(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine and is no more."""
    if holder["host"] != socket.gethostname():
        return False
    try:
        return bool(psutil.Process(holder["pid"]).create_time() != holder["started"])
    except psutil.NoSuchProcess:
        return True
