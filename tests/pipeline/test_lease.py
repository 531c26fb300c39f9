"""One launch at a time may write to a directory, and a dead one does not block the next."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from speechprune import storage
from speechprune.pipeline.lease import Lease, LeaseError
from tests.helpers.leases import Watch, files, names, write_lease

HOLD = """
import sys
from speechprune.pipeline.lease import Lease
Lease(sys.argv[1], 5).__enter__()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def store(request):
    """A bucket of a real S3 API."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("leases")
        yield "s3://leases"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path) -> str:
    if request.param == "local":
        return str(tmp_path / "index")
    return f"{request.getfixturevalue('store')}/{tmp_path.name}"


def test_the_second_is_told_who_holds_it(folder):
    with (
        Lease(folder, 5),
        pytest.raises(LeaseError, match=rf"process {os.getpid()} on {socket.gethostname()}"),
    ):
        Lease(folder, 5).__enter__()
    assert files(folder) == []
    with Lease(folder, 5):
        assert len(files(folder)) == 1


def test_a_claim_that_ends_while_it_is_renewed_leaves_nothing(folder, monkeypatch):
    write, remove = storage.write_bytes, storage.remove
    renewing, removed, renewed = threading.Event(), threading.Event(), threading.Event()

    def write_late(uri, data):
        renewing.set()
        removed.wait(0.3)  # for a removal that comes too early
        write(uri, data)
        renewed.set()

    def note_removal(uri):
        remove(uri)
        removed.set()

    monkeypatch.setattr(storage, "write_bytes", write_late)
    monkeypatch.setattr(storage, "remove", note_removal)
    with Lease(folder, minutes=0.01):
        assert renewing.wait(60)
    assert renewed.wait(60)
    assert files(folder) == []


@pytest.mark.parametrize("since", ["1970", "2026", "2999"])
def test_a_lease_of_another_machine_that_is_not_renewed_is_taken_over(folder, since):
    """Whatever its clock says."""
    write_lease(folder, 3, since=since)
    watch = Watch()
    with Lease(folder, 1, watch):
        assert names(folder) == ["lease-000000004.json"]
    assert watch.seconds == pytest.approx(60)


def test_a_lease_is_watched_for_as_long_as_its_holder_may_take_to_renew_it(folder):
    write_lease(folder, 3, minutes=5)
    watch = Watch()
    with Lease(folder, 1, watch):
        assert watch.seconds == pytest.approx(300)


def test_a_lease_of_another_machine_that_is_renewed_is_respected(folder):
    write_lease(folder, 3)
    watch = Watch(lambda: write_lease(folder, 3, renewals=1))
    sentence = f"another run writes to {folder}: process 7 on elsewhere since 2026. Wait until it ends"
    with pytest.raises(LeaseError, match=sentence):
        Lease(folder, 1, watch).__enter__()
    assert watch.seconds == pytest.approx(30)
    assert names(folder) == ["lease-000000003.json"]


def test_a_lease_that_is_released_while_it_is_watched_is_free(folder):
    write_lease(folder, 3)
    watch = Watch(lambda: storage.remove(files(folder)[0]))
    with Lease(folder, 1, watch):
        assert watch.seconds == pytest.approx(30)


def test_a_third_launch_that_comes_while_a_lease_is_watched_wins(folder):
    write_lease(folder, 3)
    watch = Watch(lambda: write_lease(folder, 4, pid=8))
    with pytest.raises(LeaseError, match="process 8 on elsewhere"):
        Lease(folder, 1, watch).__enter__()


def test_of_two_that_find_it_expired_one_gets_it(folder):
    write_lease(folder, 1)
    taken = []

    def take() -> None:
        taken.append(Lease(folder, 1, Watch()))
        taken[0].__enter__()

    watch = Watch(take, after_seconds=60)  # at the last look
    with pytest.raises(LeaseError, match=f"process {os.getpid()}"):
        Lease(folder, 1, watch).__enter__()
    taken[0].check()
    taken[0].__exit__(None, None, None)
    assert files(folder) == []


@pytest.mark.parametrize("seen", [{}, {1: b"dead"}, {1: b"dead", 2: b"dead"}])
def test_of_two_that_looked_at_different_moments_one_gets_it(folder, monkeypatch, seen):
    """The slower one saw leases that have ended since, so that the faster one begins to count anew."""
    slow = Lease(folder, 5)
    monkeypatch.setattr(slow, "_dead_leases", lambda: seen)
    with Lease(folder, 5) as fast:
        with pytest.raises(LeaseError, match=f"process {os.getpid()}"):
            slow.__enter__()
        fast.check()
        assert names(folder) == ["lease-000000001.json"]


def test_an_answer_of_the_store_that_is_lost_does_not_lose_the_lease(folder, monkeypatch):
    create = storage.create_bytes

    def create_twice(uri: str, data: bytes) -> None:
        create(uri, data)
        create(uri, data)  # as a client does that got no answer

    monkeypatch.setattr(storage, "create_bytes", create_twice)
    with Lease(folder, 5):
        assert len(files(folder)) == 1


def test_a_drive_without_hard_links_has_leases_too(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Lease(str(tmp_path), 5), pytest.raises(LeaseError, match="another run"):
        Lease(str(tmp_path), 5).__enter__()


def test_a_run_that_was_taken_over_stops_and_leaves_the_others_claim(folder):
    with Lease(folder, 5) as lease:
        write_lease(folder, 2)
        with pytest.raises(LeaseError, match="could not renew its lease for 5 minutes"):
            lease.check()
    assert names(folder)[-1] == "lease-000000002.json"


def test_a_killed_process_of_this_machine_is_known_to_be_dead(folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LeaseError, match=f"process {holder.pid}"):
        Lease(folder, 5).__enter__()
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # until it is a zombie, as below an init that
    with Lease(folder, 5):  # does not wait for its children
        pass
    holder.wait()


def test_a_holder_renews(folder):
    with Lease(folder, 5 * 0.05 / 60):  # every 50 ms
        [file] = files(folder)
        first = json.loads(storage.read_text(file))["renewals"]
        give_up = time.monotonic() + 60
        while json.loads(storage.read_text(file))["renewals"] == first:
            assert time.monotonic() < give_up
