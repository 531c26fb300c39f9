"""Who holds a lease: a process of this machine that lives or not, one of another, or nobody knows."""

import os
import socket

import psutil
import pytest
from loguru import logger

from speechprune import storage
from speechprune.pipeline import lease as lease_module
from speechprune.pipeline.lease import Lease, LeaseError, _machine
from tests.helpers.leases import Watch, write_lease


@pytest.fixture
def folder(tmp_path) -> str:
    return str(tmp_path)


def test_a_process_in_another_container_of_this_machine_is_not_taken_for_dead(folder):
    write_lease(folder, 3, **_machine() | {"pid_namespace": "pid:[1]"}, pid=1 << 22)
    watch = Watch(lambda: write_lease(folder, 3, renewals=1))
    with pytest.raises(LeaseError, match="another run writes to"):
        Lease(folder, 1, watch).__enter__()
    assert watch.seconds > 0


@pytest.mark.parametrize(
    "other",
    [
        {"boot_id": "another machine of the same name, or this one before it was started again"},
        {"boot_id": None},
        {"host": "elsewhere"},
    ],
)
def test_a_process_of_another_machine_is_not_looked_for_among_those_of_this_one(folder, other):
    """The first namespace of processes has the same number on every machine."""
    write_lease(folder, 3, **_machine() | other, pid=1 << 22)
    watch = Watch()
    with Lease(folder, 1, watch):
        assert watch.seconds == pytest.approx(60)


@pytest.mark.parametrize("number", [1 << 22, 10**30, -1])
def test_a_dead_process_of_this_machine_is_replaced_at_once(folder, number):
    write_lease(folder, 3, **_machine(), pid=number)
    with Lease(folder, 1, lambda _: pytest.fail("it waits")):
        pass


def test_a_machine_without_these_names_goes_by_the_host_alone(folder, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError("not Linux")

    monkeypatch.setattr(os, "readlink", refuse)
    monkeypatch.setattr(lease_module.Path, "read_text", refuse)
    assert _machine() == {"host": socket.gethostname(), "boot_id": None, "pid_namespace": None}
    with Lease(folder, 5), pytest.raises(LeaseError, match=f"process {os.getpid()}"):
        Lease(folder, 5).__enter__()


def test_a_holder_lives_on_when_the_clock_is_corrected(folder, monkeypatch):
    with Lease(folder, 5):
        boot_time = psutil.boot_time()
        monkeypatch.setattr(psutil, "boot_time", lambda: boot_time + 3600)
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: boot_time + 3600)
        with pytest.raises(LeaseError, match=f"process {os.getpid()}"):
            Lease(folder, 5).__enter__()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"host": "elsewh',
        b"\xff\x00\x80",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"pid": "7", "started": 1, "minutes": 1}',
        b'{"pid": 7, "started": "noon", "minutes": 1}',
        b'{"pid": 7, "started": 1, "minutes": "1"}',
        b'{"pid": 7, "started": 1, "minutes": 1e30}',
        b'{"pid": 7, "started": 1, "minutes": -5}',
        b'{"pid": 7, "started": 1, "minutes": NaN}',
    ],
)
def test_a_damaged_lease_is_named_and_watched(folder, content):
    file = storage.join(folder, "leases", "lease-000000001.json")
    storage.write_bytes(file, content)
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    watch = Watch()
    with Lease(folder, 1, watch):
        assert watch.seconds == pytest.approx(60)
    logger.remove(sink)
    assert lines[0] == f"{file} is damaged: nothing in it says who holds it"


def test_a_file_that_is_no_lease_is_named(folder):
    storage.write_bytes(storage.join(folder, "leases", "lease-1 (copy).json"), b"{}")
    with pytest.raises(storage.StorageError, match=r"lease-1 \(copy\).json is no lease: remove it"):
        Lease(folder, 1).__enter__()
