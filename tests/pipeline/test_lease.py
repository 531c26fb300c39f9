"""One run at a time may write to an index, and a dead one doesn't stop the next."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from speechprune import storage
from speechprune.pipeline.lease import Lease, LeaseError

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


def files(folder: str) -> list[str]:
    return storage.files_in(storage.join(folder, "leases"), ".json")


def write_lease(folder: str, number: int, **changes) -> None:
    me = psutil.Process()
    holder = {
        "host": "elsewhere",
        "pid": 7,
        "started": me.create_time(),
        "since": "2026",
        "renewed": time.time(),
    }
    uri = storage.join(folder, "leases", f"lease-{number:09}.json")
    storage.write_bytes(uri, json.dumps(holder | changes).encode())


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
    with Lease(folder, minutes=0.1):
        assert renewing.wait(60)
    assert renewed.wait(60)
    assert files(folder) == []


def test_an_expired_claim_is_taken_over_and_a_living_one_is_not(folder):
    write_lease(folder, 3, renewed=time.time() - 61)
    with pytest.raises(LeaseError, match=r"process 7 on elsewhere, since 2026.*expires in 1 min"):
        Lease(folder, 2).__enter__()
    with Lease(folder, 1):
        assert [os.path.basename(file) for file in files(folder)] == ["lease-000000004.json"]


def test_of_two_that_find_it_expired_one_gets_it(folder, monkeypatch):
    write_lease(folder, 1, renewed=0)
    slow = Lease(folder, 5)
    monkeypatch.setattr(slow, "_highest", lambda: 1)  # it looked before the other came
    with Lease(folder, 5), pytest.raises(LeaseError, match="another run"):
        slow.__enter__()


def test_a_run_that_was_taken_over_stops_and_leaves_the_others_claim(folder):
    with Lease(folder, 5) as lease:
        write_lease(folder, 2)
        with pytest.raises(LeaseError, match="no sign of life for 5 minutes"):
            lease.check()
    assert [os.path.basename(file) for file in files(folder)][-1] == "lease-000000002.json"


def test_a_killed_process_of_this_machine_is_known_to_be_dead(folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LeaseError, match=f"process {holder.pid}"):
        Lease(folder, 5).__enter__()
    holder.kill()
    holder.wait()
    with Lease(folder, 5):
        pass


def test_a_holder_renews(folder):
    with Lease(folder, 5 * 0.05 / 60):  # every 50 ms
        [file] = files(folder)
        first = json.loads(storage.read_text(file))["renewed"]
        give_up = time.monotonic() + 60
        while json.loads(storage.read_text(file))["renewed"] == first:
            assert time.monotonic() < give_up
