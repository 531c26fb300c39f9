"""What counts as a recording of an archive, and as its version."""

import json
import os

import pytest

from speechprune.index.listing import ArchiveError, _recording, list_archive


@pytest.fixture
def archive(tmp_path):
    for name in ("2026/a.wav", "2026/b.FLAC", "2025/c [1].mp3", "2026/notes.txt", "2026/a.json"):
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "archive"


def names(path) -> list[str]:
    return [os.path.basename(recording.uri) for recording in list_archive(str(path))]


def test_a_folder_means_all_recordings_below_it(archive):
    assert names(archive) == ["c [1].mp3", "a.wav", "b.FLAC"]
    assert all(os.path.isabs(recording.uri) for recording in list_archive(str(archive)))


def test_globs(archive):
    assert names(archive / "2026" / "*") == ["a.wav", "b.FLAC"]
    assert names(f"{archive}/**") == ["c [1].mp3", "a.wav", "b.FLAC"]
    assert names(f"{archive}/**/*.wav") == ["a.wav"]


def test_a_manifest_lists_each_recording_once(archive, tmp_path):
    manifest = tmp_path / "manifest.jsonl"
    rows = [{"audio": "archive/2026/a.wav"}, {"audio": "archive/2026/a.wav"}, {"audio": "archive/no.wav"}]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    first, missing = list_archive(str(manifest))
    assert first.uri == str(archive / "2026/a.wav")
    assert missing.version == "missing"


def test_a_version_changes_with_the_content(archive):
    before = {recording.uri: recording.version for recording in list_archive(str(archive))}
    file = archive / "2026/a.wav"
    file.write_bytes(b"longer than before")
    after = {recording.uri: recording.version for recording in list_archive(str(archive))}
    assert {uri for uri in before if before[uri] != after[uri]} == {str(file)}
    assert all(
        recording.num_bytes == os.path.getsize(recording.uri) for recording in list_archive(str(archive))
    )


@pytest.mark.parametrize(
    ("info", "is_hashed"),
    [
        ({"ETag": '"9e107d9d372bb6826bd81d3542a419d6"'}, True),
        ({"ETag": '"9e107d9d372bb6826bd81d3542a419d6-12"'}, True),  # uploaded in parts
        ({"ETag": '"5f3c0b2e-1a2b"'}, False),  # a web server's, of time and size
        ({"etag": "CKih16GjycICEAE=", "md5Hash": "nhB9nTcrtoJr2B01QqQZ1g=="}, True),
        ({"mtime": 1.5}, False),
    ],
)
def test_only_a_hash_of_the_content_makes_two_recordings_copies(info, is_hashed):
    recording = _recording("s3://bucket/a.wav", {"size": 7} | info)
    assert recording.is_hashed == is_hashed
    assert recording.version.endswith(":7") or recording.version == "7:1.5"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("nowhere", "holds no recordings"),
        ("nowhere/*.wav", "holds no recordings"),
        ("2026/*.txt", r"holds no recordings \(1 other files\)"),
        ("none.jsonl", "none.jsonl does not exist"),
        ("2026/a.json", "can't be read|not JSON"),
        ("s3://no-such-bucket-anywhere/x", "can't be listed"),
    ],
)
def test_an_archive_that_cannot_be_listed_is_one_sentence(archive, path, sentence, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    where = path if "://" in path else f"{archive}/{path}"
    with pytest.raises(ArchiveError, match=sentence) as caught:
        list_archive(where)
    assert "\n" not in str(caught.value)
