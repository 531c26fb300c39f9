"""A full disk leaves no half file and is called full; JSON that is damaged is named."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from speechprune import storage
from speechprune.models.hub import fetch_folder

LIMITED = """
import resource, sys
from speechprune import storage
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for write in (storage.write_bytes, storage.create_bytes):
    try:
        write(sys.argv[1], bytes(5000))
    except storage.StorageError as error:
        print(error)
"""


@pytest.fixture(params=[errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def full_disk(request, monkeypatch) -> None:
    """Half of what is written fits."""
    write = Path.write_bytes

    def write_half(self: Path, data: bytes) -> int:
        write(self, data[: len(data) // 2])
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(Path, "write_bytes", write_half)


@pytest.mark.parametrize("write", [storage.write_bytes, storage.create_bytes])
def test_a_full_disk_is_called_full_and_nothing_half_stays(tmp_path, full_disk, write):
    file = tmp_path / "answers" / "a.parquet"
    with pytest.raises(storage.StorageError) as error:
        write(str(file), b"1234")
    assert str(error.value).startswith(f"{file} can't be written, the disk is full or a quota is used up (")
    assert str(error.value).endswith("): make room, then give the same command again")
    assert list(tmp_path.rglob("*")) == [file.parent]


def test_what_was_there_stays_when_the_disk_is_full(tmp_path, full_disk):
    (tmp_path / "a").touch()
    with open(tmp_path / "a", "wb") as file:
        file.write(b"before")
    with pytest.raises(storage.StorageError, match="full"):
        storage.write_bytes(str(tmp_path / "a"), b"behind")
    assert (tmp_path / "a").read_bytes() == b"before"
    assert len(os.listdir(tmp_path)) == 1


def test_a_real_limit_of_the_system_is_called_full_too(tmp_path):
    """Of the size of files, which any user can set."""
    file = tmp_path / "a.parquet"
    process = subprocess.run(
        [sys.executable, "-c", LIMITED, str(file)], capture_output=True, text=True, check=True
    )
    first, second = process.stdout.splitlines()
    assert first == second
    assert "a.parquet can't be written, the disk is full" in first
    assert os.listdir(tmp_path) == []


def test_a_drive_without_hard_links_that_is_full_keeps_no_half_file(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    def read(self: Path) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "read_bytes", read)  # between the creation of the file and its content
    with pytest.raises(storage.StorageError, match="full"):
        storage.create_bytes(str(tmp_path / "a"), b"1234")
    assert os.listdir(tmp_path) == []


def test_a_model_that_does_not_fit_is_not_kept_in_part(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = fsspec.filesystem("memory")
    store.pipe({"/full/model/config.json": b"{}", "/full/model/model.safetensors": b"12345678"})
    fetch = type(store).get_file

    def fetch_half(self, path, target, **options):
        fetch(self, path, target, **options)
        if path.endswith(".safetensors"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(type(store), "get_file", fetch_half)
    with pytest.raises(storage.StorageError, match="the disk is full"):
        fetch_folder("memory://full/model")
    assert [file.suffix for file in tmp_path.rglob("*") if file.is_file()] == [".lock"]
    store.rm("/full", recursive=True)


@pytest.mark.parametrize(
    "content", [b"", b'{"settings": {', b"\xff\x00", b"[]", b"null", b"3", b"[" * 100_000]
)
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(
        storage.StorageError, match=r"run\.json is damaged \(.*\): restore it from a copy"
    ) as error:
        storage.read_json(str(tmp_path / "run.json"))
    assert "\n" not in str(error.value)


def test_the_hub_is_no_place_for_a_run_and_its_client_is_a_store(monkeypatch):
    with pytest.raises(storage.StorageError, match="has no way to create a file if there is none"):
        storage.create_bytes("hf://datasets/you/answers/run.json", b"{}")
    from huggingface_hub import HfFileSystem

    [client] = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]

    def unreachable(*_: object, **__: object) -> None:
        raise client.ConnectError("no such host")

    monkeypatch.setattr(HfFileSystem, "cat_file", unreachable)
    with pytest.raises(storage.StorageError, match="no such host"):
        storage.read_bytes("hf://datasets/you/answers/run.json")
