"""Models from a hub and from an object store: fetched once, kept, one clear line where they fail."""

import contextlib
import http.server
import json
import shutil
import threading
import time
from pathlib import Path

import fsspec
import pytest
import transformers
from huggingface_hub import constants as hub

from speechprune.models.config_files import read_config
from speechprune.models.fingerprint import fingerprint
from speechprune.models.loading import load_model, model_shape
from speechprune.models.options import ModelOptions
from tests.helpers.loaded import WEIGHTS, error_of, same_weights
from tests.helpers.tiny_cascade import save_tiny_cascade
from tests.helpers.tiny_models import load_tiny_model

PULL_REQUEST = "refs%2Fpr%2F70"  # a revision, as addresses have it

# The hub, with and without a network


class Hub(http.server.SimpleHTTPRequestHandler):
    """As much of a model hub as its client needs: one model, a gated one, and no other."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        if file := self.answer():
            self.wfile.write(file.read_bytes())

    def answer(self) -> Path | None:
        if self.path.startswith("/api/models/team/tiny/tree/"):
            return self.answer_tree()
        if self.path == f"/api/models/team/tiny/revision/{PULL_REQUEST}":
            names = [{"rfilename": file.name} for file in Path(self.directory).iterdir()]
            return self.answer_json({"id": "team/tiny", "sha": "0" * 40, "siblings": names})
        owner_and_name, _, place = self.path.strip("/").partition("/resolve/")
        revision, _, name = place.partition("/")
        refusal = {"team/tiny": None, "team/gated": (403, "GatedRepo")}.get(
            owner_and_name, (401, "RepoNotFound")
        )
        if refusal is None and revision not in ("main", PULL_REQUEST, "0" * 40):
            refusal = (404, "RevisionNotFound")
        file = Path(self.directory) / (name or "none")
        if refusal is None and not file.is_file():
            refusal = (404, "EntryNotFound")
        self.send_response(200 if refusal is None else refusal[0])
        self.send_header("X-Repo-Commit", "0" * 40)
        if refusal is not None:
            self.send_header("X-Error-Code", refusal[1])
            self.send_header("Content-Length", "0")
        else:
            self.send_header("ETag", f'"{name}"')
            self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()
        return file if refusal is None else None

    def answer_tree(self) -> None:
        home = Path(self.directory)
        is_whole = self.path.partition("/tree/")[2].count("/") == 0
        files = [file for file in sorted(home.rglob("*")) if file.is_file() and is_whole]
        entries = [
            {"type": "file", "path": str(file.relative_to(home)), "oid": "0", "size": file.stat().st_size}
            for file in files
        ]
        self.answer_json(entries)

    def answer_json(self, values: list | dict) -> None:
        body = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def set_endpoint(monkeypatch, tmp_path: Path, endpoint: str) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", endpoint)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)  # one made earlier asks elsewhere
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextlib.contextmanager
def hub_of(folder, tmp_path, monkeypatch):
    """A hub that has the folder as team/tiny."""

    def handler(*args):
        return Hub(*args, directory=folder)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    set_endpoint(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hub_here(tiny_model_folder, tmp_path, monkeypatch):
    with hub_of(tiny_model_folder, tmp_path, monkeypatch):
        yield


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The seconds that anyone wanted to sleep, without sleeping."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def test_a_model_comes_from_the_hub_and_then_from_its_cache(
    hub_here, tiny_lm, tmp_path, monkeypatch, pauses, caplog, capfd
):
    downloaded = load_tiny_model("team/tiny")
    assert same_weights(downloaded.model.model, tiny_lm.model.model)
    assert read_config("team/tiny")["_commit_hash"] == "0" * 40  # names the model in its fingerprint
    assert fingerprint(ModelOptions(path="team/tiny")) == fingerprint(ModelOptions(path="team/tiny"))

    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")  # nobody is there
    assert same_weights(load_tiny_model("team/tiny").model.model, tiny_lm.model.model)
    assert pauses == [1.0, 1.0]  # asked again once for the configuration, once for the rest
    assert capfd.readouterr().out == ""
    assert "Retrying" not in caplog.text


def test_a_cascade_and_its_parts_come_from_the_hub(tmp_path, monkeypatch):
    """Whole, with both models in folders of its repository; and a folder with one of them on the hub."""
    whole = save_tiny_cascade(tmp_path / "whole")
    weights = load_tiny_model(whole).model.model
    with hub_of(whole, tmp_path, monkeypatch):
        assert model_shape("team/tiny") == model_shape(whole)
        assert not list((tmp_path / "hub").rglob(WEIGHTS))
        assert same_weights(load_tiny_model("team/tiny").model.model, weights)
    shutil.copytree(Path(whole) / "whisper", tmp_path / "half/whisper")
    llm = {"repository": "team/tiny", "revision": "0" * 40}
    config = json.loads((Path(whole) / "config.json").read_text())
    (tmp_path / "half/config.json").write_text(json.dumps(config | {"llm": llm}))
    with hub_of(f"{whole}/llm", tmp_path / "other", monkeypatch):
        assert same_weights(load_tiny_model(str(tmp_path / "half")).model.model, weights)


@pytest.mark.parametrize(
    ("path", "revision", "sentence"),
    [
        ("team/gated", None, "is gated: accept its licence on its hub page and set HF_TOKEN"),
        ("team/missing", None, "is not on the hub (or private: set HF_TOKEN): check the name and revision"),
        ("team/tiny", "v9", "is not on the hub (or private: set HF_TOKEN): check the name and revision"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub_here, pauses, path, revision, sentence):
    assert error_of(load_model, ModelOptions(path=path, revision=revision)) == f"model {path} {sentence}"
    assert pauses == []


def test_an_unreachable_hub_is_one_line_in_a_moment(tmp_path, monkeypatch, pauses, caplog, capfd):
    """Left to itself, the hub's client would print a dozen retries over half a minute."""
    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")
    assert error_of(read_config, "team/tiny") == (
        "model team/tiny is neither a folder here nor in the hub cache, and the hub can't be reached: "
        "download it first and give its folder"
    )
    assert pauses == [1.0]
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_a_hub_that_is_back_after_a_moment_is_no_error(hub_here, tmp_path, monkeypatch):
    here = hub.ENDPOINT
    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")
    monkeypatch.setattr(time, "sleep", lambda seconds: set_endpoint(monkeypatch, tmp_path, here))
    assert read_config("team/tiny")["model_type"] == "qwen2_audio"


def test_offline_mode_is_one_line(tmp_path, monkeypatch, pauses):
    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    assert "neither a folder here nor in the hub cache" in error_of(read_config, "team/tiny")
    assert pauses == []


# Object stores


def test_a_model_comes_from_an_object_store_once(remote_model, tiny_lm, tmp_path, monkeypatch):
    assert model_shape(remote_model) == tiny_lm.model.shape
    assert not list((tmp_path / "cache").rglob(WEIGHTS))  # a configuration costs no download of weights
    assert same_weights(load_tiny_model(remote_model).model.model, tiny_lm.model.model)

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", None)
    assert same_weights(load_tiny_model(remote_model).model.model, tiny_lm.model.model)


def test_a_folder_of_nothing_in_an_object_store_is_named(remote_model):
    message = "model.path memory://models/none holds no config.json: give the folder of a saved model"
    for call in (read_config, lambda path: load_model(ModelOptions(path=path))):
        assert error_of(call, "memory://models/none") == message
    assert error_of(fingerprint, ModelOptions(path="memory://models/none")) == message
    assert "no way to open nowhere://" in error_of(read_config, "nowhere://models/tiny")
