"""What counts as a recording of an archive, and as its version."""

import json
import os

import pytest

from speechprune.index import listing
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


@pytest.mark.parametrize(
    "name",
    [
        "._talk.wav",
        ".trash/old.wav",
        "@eaDir/talk.wav/SYNO@.wav",
        "#recycle/a.wav",
        "$RECYCLE.BIN/S-1-5/a.wav",
        "2026/__MACOSX/a.wav",
        "2026/.snapshot/hourly/a.wav",
    ],
)
def test_what_file_systems_hide_is_left_out_and_counted(archive, name, log_lines):
    path = archive / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x00\x05\x16\x07")
    for where in (archive, f"{archive}/**"):
        assert names(where) == ["c [1].mp3", "a.wav", "b.FLAC"]
    counted = log_lines[0].removeprefix(f"left out of {archive}: ")
    assert set(counted.split(", ")) == {"1 hidden", "1 .txt", "1 .json"}


def test_a_hidden_folder_that_is_named_is_listed(archive):
    (archive / ".trash").mkdir()
    (archive / ".trash/old.wav").touch()
    assert names(archive / ".trash") == names(f"{archive}/.trash/*") == ["old.wav"]


def test_endings_of_recordings(archive):
    endings = "weba 3gpp 3g2 ts mts m2ts flv asf awb vob qt g722 rf64 bwf mpga WEBA"
    for ending in endings.split():
        (archive / f"x.{ending}").touch()
    assert {name.partition(".")[2] for name in names(archive) if name[0] == "x"} == set(endings.split())


def test_links_and_pipes_are_left_out_and_counted(archive, log_lines):
    (archive / "link.wav").symlink_to(archive / "2026/a.wav")
    os.mkfifo(archive / "pipe.wav")
    assert names(archive) == ["c [1].mp3", "a.wav", "b.FLAC"]
    assert {"1 symbolic links", "1 no regular files"} < set(log_lines[0].partition(": ")[2].split(", "))


@pytest.mark.parametrize("name", ["plan [2024]", "all*", "why?"])
def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(archive, name):
    path = archive / name / "a [x].wav"
    path.parent.mkdir()
    path.touch()
    for where in (path.parent, path.parent / "*.wav", path, archive / name / "**"):
        assert names(where) == ["a [x].wav"]


def test_outside_of_the_roots_nothing_is_listed(archive, tmp_path, log_lines, monkeypatch):
    (archive / "2026/away").symlink_to(archive / "2025")
    found = list_archive(str(archive), (f"{archive}/../archive/2026", "s3://bucket"))
    assert [os.path.basename(recording.uri) for recording in found] == ["a.wav", "b.FLAC"]
    assert "refused: 1 addresses outside of archive.audio_roots, such as " in log_lines[-1]
    # those of a manifest are not even looked up
    manifest = tmp_path / "manifest.jsonl"
    rows = [
        {"audio": "archive/2026/a.wav"},
        {"audio": "http://169.254.169.254/x.wav"},
        {"audio": "/etc/hosts"},
    ]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    looked_up = []
    monkeypatch.setattr(listing, "_look_up", looked_up.append)
    list_archive(str(manifest), (str(archive),))
    assert "refused: 2 addresses outside" in log_lines[-1]
    assert looked_up == [str(archive / "2026/a.wav")]
    list_archive(str(manifest), ())
    assert len(looked_up) == 1


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
        ("2026/*.txt", r"holds no recordings \(left out: 1 \.txt\)"),
        ("none.jsonl", "none.jsonl does not exist"),
        ("2026/a.json", "can't be read|not JSON"),
        ("s3://no-such-bucket-anywhere/x", "can't be listed"),
    ],
)
def test_an_archive_that_cannot_be_listed_is_one_sentence(archive, path, sentence, s3_environment):
    where = path if "://" in path else f"{archive}/{path}"
    with pytest.raises(ArchiveError, match=sentence) as caught:
        list_archive(where)
    assert "\n" not in str(caught.value)
