"""Addresses: what is local, what is one place, what a sentence may repeat, what lies below a prefix."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune import storage

SECRET = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, blacklist_characters="&"), min_size=4, max_size=40
).map(lambda text: f"S3CR3T{text}")


@pytest.mark.parametrize(
    "write",
    [
        Path.as_uri,  # file:///a%20b: browsers too
        lambda path: f"file:{path.as_uri().removeprefix('file://')}",  # Spark
        lambda path: f"file://localhost{path.as_uri().removeprefix('file://')}",
        lambda path: f"FILE://{path}",  # fsspec: without escapes
        str,
    ],
)
@pytest.mark.parametrize(
    "name", ["my call #1.wav", "100%.wav", "10::30.wav", "why?.wav", "a%20b.wav", "é.wav"]
)
def test_a_file_is_found_however_its_address_is_written(tmp_path, name, write):
    path = tmp_path / name
    path.write_bytes(b"sound")
    uri = write(path)
    assert not storage.is_remote(uri)
    assert storage.resolve(uri, "s3://elsewhere") == uri
    assert storage.read_bytes(uri) == b"sound"
    assert storage.absolute(uri) == str(path)
    with storage.open_binary(uri, block_bytes=1) as file:
        assert file.read() == b"sound"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("s3://bucket//run", "s3://bucket/run"),
        ("s3://bucket/a//run/", "s3://bucket/a/run"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket/"),
        ("memory:///run", "memory:///run"),
        ("/tmp//run", "/tmp/run"),
    ],
)
def test_a_folder_to_write_to_is_one_place(path, place):
    assert storage.output_folder(path) == place


def test_an_address_without_a_bucket_is_no_place():
    with pytest.raises(ValueError, match="names no bucket"):
        storage.output_folder("s3:///run")


@pytest.mark.parametrize("key", ["m/10::30.wav", "m//a.wav", "what?.wav", "a#b.wav", "a b%20c.wav"])
def test_keys_of_a_store_are_taken_as_they_are(s3_bucket, key):
    s3_bucket.put_object(Key=key, Body=b"sound")
    uri = f"s3://{s3_bucket.name}/{key}"
    assert storage.read_bytes(uri) == b"sound"
    with storage.open_binary(uri, block_bytes=1 << 20) as file:
        assert file.read() == b"sound"


def test_a_version_of_an_object_is_that_version(s3_bucket):
    s3_bucket.Versioning().enable()
    first, last = (s3_bucket.put_object(Key="a.wav", Body=body).version_id for body in (b"first", b"last!"))
    uri = f"s3://{s3_bucket.name}/a.wav"
    for version, body in ((first, b"first"), (last, b"last!")):
        assert storage.read_bytes(f"{uri}?versionId={version}") == body
        with storage.open_binary(f"{uri}?versionId={version}", block_bytes=1 << 20) as file:
            assert file.read() == body


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (
            "https://h/a.wav?X-Amz-Signature=ab%2Fc&x=1 does not exist: x",
            "https://h/a.wav?... does not exist: x",
        ),
        ("https://h/a.wav?sv=2026&se=2026-01-01T00:00:00Z&sig=a/b+c=", "https://h/a.wav?..."),
        ("https://anna:pass@h/a.wav can't be read", "https://***@h/a.wav can't be read"),
        ("s3://AKIA:ab/c+d@bucket/key", "s3://***@bucket/key"),
        ("ftp://anna@h/a", "ftp://***@h/a"),
        ("zip://a.wav::https://u:p@h/b.zip?k=v", "zip://a.wav::https://***@h/b.zip?..."),
        ("(https://h/a b.wav?k=v)", "(https://h/a b.wav?...)"),
        ("https://h/a?0123456789abcdef0", "https://h/a?..."),
        ("https://h:8080/p/a@b.wav", "https://h:8080/p/a@b.wav"),
        ("s3://b/k?versionId=3HL4.kq-", "s3://b/k?versionId=3HL4.kq-"),
        ("s3://b/k?versionId=3HL4&sig=x", "s3://b/k?..."),
        ("what? x=1 or what?.wav", "what? x=1 or what?.wav"),
    ],
)
def test_a_sentence_repeats_no_secret(text, short):
    assert storage.shortened(text) == short
    assert storage.shortened(short) == short


@given(SECRET, st.sampled_from(["", " does not exist: check it", ", and more", ")."]))
def test_no_secret_is_left_in_any_query(secret, rest):
    text = f"https://host/a.wav?id=1&signature={secret}"
    assert "S3CR3T" not in storage.shortened(text + rest)


@pytest.mark.parametrize(
    "uri",
    [
        "{root}/a.wav",
        "{root}",
        "{root}/x/../a.wav",
        "file://{root}/a%20b.wav",
        "FILE:{root}/a.wav",
        "S3://bucket/team/a.wav",
        "s3://bucket/team//a.wav",
        "HTTPS://Host.example:443/in/a.wav?sig=x",
        "https://host.example/in/a%20b.wav",
    ],
)
def test_what_lies_within_the_roots(tmp_path, uri):
    roots = (str(tmp_path), "s3://bucket/team/", "https://host.example/in")
    assert storage.is_within(uri.format(root=tmp_path), roots)


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/passwd",
        "{root}-other/a.wav",
        "{root}/../a.wav",
        "{root}/link/a.wav",
        "file://{root}/%2e%2e/a.wav",
        "file://relative.wav",
        "local://{root}/a.wav",
        "s3://bucket/team2/a.wav",
        "s3://bucket/team/../other/a.wav",
        "s3://bucket/other/../team/a.wav",
        "s3://other/team/a.wav",
        "s3://bucket",
        "https://host.example/in/%2e%2e/a.wav",
        "https://host.example/in/%2E./a.wav",
        "https://host.example/in/\t../a.wav",
        "https://host.example/in\\..\\a.wav",
        "https://host.example@evil.example/in/a.wav",
        "https://host.example:8443/in/a.wav",
        "https://host.example:x/in/a.wav",
        "http://host.example/in/a.wav",
        "http://169.254.169.254/latest/meta-data",
        "simplecache::https://host.example/in/a.wav",
        "zip://a.wav::https://evil.example/in/a.zip",
        "https://host.example/in/a::https://evil.example/a",
        "",
    ],
)
def test_what_does_not(tmp_path, uri):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    roots = (str(root), "s3://bucket/team/", "https://host.example/in")
    assert not storage.is_within(uri.format(root=root), roots)
