"""The store injects faults at the given rate, and our storage survives them."""

import pytest
import s3fs
from botocore.exceptions import ClientError

from speechprune import storage
from speechprune.lab.faults.store import FaultyStore, StoreFault

SHARE = 0.2
NUM_FILES = 12


@pytest.fixture
def store(monkeypatch):
    store = FaultyStore()
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("faults", exist_ok=True)  # servers of one process share buckets
    yield store
    store.close()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("kind", [StoreFault.SLOW_DOWN, StoreFault.RESET])
def test_what_is_written_is_read_although_a_fifth_of_all_requests_fails(store, kind):
    store.inject(kind, SHARE)
    data = {f"s3://faults/{kind.name}/{i}": bytes([i]) * 1000 for i in range(NUM_FILES)}
    for uri, content in data.items():
        storage.write_bytes(uri, content)
    assert {uri: storage.read_bytes(uri) for uri in data} == data
    assert len(storage.files_in(f"s3://faults/{kind.name}", "")) == NUM_FILES
    assert 0 < store.injected / sum(store.requests.values()) < 0.5


def test_expired_credentials_become_one_line_and_then_all_is_well_again(store):
    storage.write_bytes("s3://faults/one", b"1")
    store.inject(StoreFault.EXPIRED)
    with pytest.raises(
        storage.StorageError, match=r"s3://faults/one: The provided token has expired.*your credentials"
    ):
        storage.read_bytes("s3://faults/one")
    store.stop_injecting()
    assert storage.read_bytes("s3://faults/one") == b"1"


def test_other_clients_see_the_errors_that_s3_sends(store):
    import botocore.session

    client = botocore.session.get_session().create_client("s3")
    store.inject(StoreFault.EXPIRED)
    with pytest.raises(ClientError, match="ExpiredToken"):
        client.list_buckets()
