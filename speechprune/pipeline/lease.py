"""Exclusive access to a directory: one launch at a time may write, and a dead one does not block the next.

A lease is a numbered file, created with "create if there is none", so that only one process can create it,
and renewed by its holder. A launch that finds the lease of a dead holder creates the next number.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from loguru import logger

from speechprune import storage

RENEWALS = 5  # within the time after which a lease expires
LOOKS = 12  # at another's lease, within that time
SAME_START_SECONDS = 2.0  # outside Linux a process's start moves with corrections of the clock
LONGEST_MINUTES = 60.0  # that a lease may ask to be watched for

_START_FIELD = 19  # of /proc/PID/stat, behind the name


class LeaseError(ValueError):
    """Another launch writes to the directory; the sentence says which."""


class Lease:
    """``with Lease(folder, minutes): ...`` around everything that writes to a folder.

    A holder that is a dead process of this machine is replaced at once. One on another machine is watched, by
    this process's own clock, for as long as its lease lasts: if it renews its lease it is alive, else it is
    replaced.

    Parameters
    ----------
    folder
        Local folder or any fsspec URL.
    minutes
        A lease that is not renewed for this long expires.
    wait
        Waits for a number of seconds.
    """

    def __init__(self, folder: str, minutes: float, wait: Callable[[float], None] = time.sleep) -> None:
        self._place = storage.output_folder(folder)
        self._folder = storage.join(self._place, "leases")
        self._minutes = minutes
        self._wait = wait
        self._number = 0
        self._id = uuid.uuid4().hex  # no other lease has this content
        self._since = ""
        self._renewals = 0
        self._ended = threading.Event()
        self._renewal = threading.Thread(target=self._renew, daemon=True)
        self._lost = False

    def __enter__(self) -> Lease:
        """Take the lease.

        Raises
        ------
        LeaseError
            Another launch holds it.
        StorageError
            The folder can't be written to.
        """
        dead = self._dead_leases()
        self._number = max(dead, default=0) + 1
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        content = self._content()
        try:
            storage.create_bytes(self._file(self._number), content)
        except FileExistsError:
            # the store's client may have tried again after an answer that was lost: then the file is ours
            if (found := self._read(self._number)) != content:
                raise self._refusal(found) from None
        # a launch that saw the folder at another moment may have taken another number
        now = self._read_all()
        rivals = [number for number in now if number != self._number and now[number] != dead.get(number)]
        if rivals:
            storage.remove(self._file(self._number))
            raise self._refusal(now[rivals[-1]])
        for number in dead:
            storage.remove(self._file(number))
        self._renewal.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._renewal.join()  # a renewal that is being written would stay behind
        if not self._lost:
            try:
                storage.remove(self._file(self._number))
            except storage.StorageError as failure:
                logger.warning("the lease stays until it expires in {:g} min: {}", self._minutes, failure)

    def look(self) -> None:
        """Raise ``LeaseError`` where another launch holds the lease; nothing is taken or written."""
        self._dead_leases()

    def check(self) -> None:
        """Stop a launch whose lease another has taken.

        Raises
        ------
        LeaseError
            This process did not renew its lease in time.
        """
        if self._lost or max(self._numbers(), default=0) != self._number:
            self._lost = True
            raise LeaseError(
                f"{self._place}: another run writes there now, as this one could not renew its lease for "
                f"{self._minutes:g} minutes: give the same command again when the other has ended"
            )

    def _renew(self) -> None:
        while not self._ended.wait(self._minutes * 60 / RENEWALS):
            try:
                self.check()
                self._renewals += 1  # a lease that changes has a living holder: no clock is compared
                storage.write_bytes(self._file(self._number), self._content())
            except LeaseError:
                return
            except (OSError, storage.StorageError) as error:  # the next try may succeed
                logger.debug("the lease could not be renewed: {}", error)

    def _dead_leases(self) -> dict[int, bytes]:
        """Leases that are there, if all of their holders are dead; else a refusal."""
        held = self._read_all()
        unknown = set()
        for number, content in held.items():
            if not _holder(content):
                logger.warning("{} is damaged: nothing in it says who holds it", self._file(number))
            is_alive = _is_alive_here(_holder(content))
            if is_alive:
                raise self._refusal(content)
            if is_alive is None:
                unknown.add(number)
        if unknown:
            self._watch(held, unknown)
        return held

    def _watch(self, held: dict[int, bytes], unknown: set[int]) -> None:
        """Refuse if a lease that is held is renewed before it expires, or another is created.

        ``unknown`` are the numbers of those whose holder may be alive.
        """
        last = _holder(held[max(unknown)])
        minutes = max(_holder(held[number]).get("minutes", self._minutes) for number in unknown)
        logger.info(
            "{} has a lease of process {} on {}: waiting up to {:g} min to see whether it is renewed",
            self._place,
            last.get("pid"),
            last.get("host"),
            minutes,
        )
        for _ in range(LOOKS):
            self._wait(minutes * 60 / LOOKS)
            now = self._read_all()
            for number, content in now.items():
                if content != held.get(number):
                    raise self._refusal(content)
            if unknown.isdisjoint(now):  # they ended
                return
        logger.warning(
            "process {} on {} did not renew its lease: taken over", last.get("pid"), last.get("host")
        )

    def _refusal(self, content: bytes | None) -> LeaseError:
        if content is None:
            return LeaseError(
                f"another run took {self._place} at the same moment: give the same command again"
            )
        holder = _holder(content)
        return LeaseError(
            f"another run writes to {self._place}: process {holder.get('pid')} on {holder.get('host')} since "
            f"{holder.get('since')}. Wait until it ends, or stop it, then give the same command again"
        )

    def _content(self) -> bytes:
        me = psutil.Process()
        return json.dumps(
            {
                "id": self._id,
                **_machine(),
                "pid": me.pid,
                "started": _started(me),
                "since": self._since,
                "minutes": self._minutes,
                "renewals": self._renewals,
            }
        ).encode()

    def _read_all(self) -> dict[int, bytes]:
        """What all leases hold, by number."""
        contents = {number: self._read(number) for number in self._numbers()}
        return {number: content for number, content in contents.items() if content is not None}

    def _read(self, number: int) -> bytes | None:
        try:
            return storage.read_bytes(self._file(number))
        except FileNotFoundError:
            return None

    def _file(self, number: int) -> str:
        return storage.join(self._folder, f"lease-{number:09}.json")

    def _numbers(self) -> list[int]:
        names = (os.path.basename(file) for file in storage.files_in(self._folder, ".json"))
        numbers = {name: name.removeprefix("lease-").removesuffix(".json") for name in names}
        for name, number in numbers.items():
            if not number.isdecimal():
                raise storage.StorageError(f"{storage.join(self._folder, name)} is no lease: remove it")
        return sorted(map(int, numbers.values()))


def _holder(content: bytes) -> dict[str, Any]:
    """The process that wrote a lease; empty where the lease is half-written or damaged."""
    try:
        holder = json.loads(content)
        is_whole = (
            isinstance(holder["pid"], int)
            and isinstance(holder["started"], int | float)
            and 0 < holder["minutes"] <= LONGEST_MINUTES
        )
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}
    return holder if is_whole else {}


def _is_alive_here(holder: dict[str, Any]) -> bool | None:
    """Whether the holder is a living process of this machine; None if this process can't see it."""
    machine = _machine()
    if {name: holder.get(name) for name in machine} != machine:
        return None
    try:
        process = psutil.Process(holder["pid"])
        return bool(
            process.status() != psutil.STATUS_ZOMBIE
            and abs(_started(process) - holder["started"]) < SAME_START_SECONDS
        )
    except (psutil.NoSuchProcess, OverflowError, ValueError):  # no process has such a number
        return False


def _machine() -> dict[str, str | None]:
    """What process numbers belong to.

    Machines may share a host name, all have the same first namespace of processes, and a container may have
    its machine's name and other processes.
    """
    machine: dict[str, str | None] = {"host": socket.gethostname(), "boot_id": None, "pid_namespace": None}
    with contextlib.suppress(OSError):  # not Linux
        machine["boot_id"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        machine["pid_namespace"] = os.readlink("/proc/self/ns/pid")
    return machine


def _started(process: psutil.Process) -> float:
    """When a process was started: in ticks since the boot, which no correction of the clock moves."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[_START_FIELD])
    except OSError:  # not Linux, or it has ended
        return process.create_time()
