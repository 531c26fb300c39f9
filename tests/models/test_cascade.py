"""A cascade of Whisper and a language model: config.json, what is refused, text with times, the index."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Phi3Config, Phi3ForCausalLM

from speechprune.audio import AudioSilent, AudioWithoutSpeech, decode_audio
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.inference.encode import encode_recordings
from speechprune.inference.states import embed_stored
from speechprune.inference.types import AnsweringOptions
from speechprune.models.base import Window
from speechprune.models.fingerprint import fingerprint
from speechprune.models.loading import check_model, load_model
from speechprune.models.options import ModelOptions
from speechprune.models.text_cascade import text_tokens
from speechprune.models.whisper_text import Segment
from speechprune.search.words import encode_query_words
from tests.helpers.loaded import WEIGHTS, edit, error_of
from tests.helpers.stored_windows import stored_windows
from tests.helpers.tiny_cascade import save_tiny_cascade
from tests.helpers.tiny_models import byte_level_processor, load_tiny_model

FETCHED = Path(os.environ.get("SPEECHPRUNE_MODELS", Path.home() / ".cache/speechprune/models"))
REAL = FETCHED / "whisper-base-smollm2-135m"
OPTIONS = {"dtype": "float32", "device": "cpu"}
RATE = 16_000


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    return save_tiny_cascade(tmp_path_factory.mktemp("cascade"))


@pytest.fixture(scope="module")
def lm(saved):
    return load_tiny_model(saved)


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def save_phi3(folder: Path) -> None:
    """A language model with queries and keys in one matrix."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4}
    Phi3ForCausalLM(Phi3Config(**sizes, vocab_size=600, pad_token_id=0)).save_pretrained(folder)


# config.json


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"llm": None}, "llm in config.json"),
        ({"llm": "../llm"}, "give a folder beside it"),
        ({"llm": "/llm"}, "give a folder beside it"),
        ({"llm": ""}, "give a folder beside it"),
        ({"llm": "gone"}, "is 'gone', where no model is"),
        ({"llm": {"repository": "team/tiny", "revision": "main"}}, "commit of 40 digits"),
        ({"llm": {"repository": "../tiny", "revision": "0" * 40}}, "commit of 40 digits"),
        ({"llm": {"repository": "team/tiny"}}, "commit of 40 digits"),
        ({"whisper": "llm"}, "is a llama, no Whisper"),
        ({"llm": "whisper"}, "can't be right"),
        ({"checks": {"loudness": 1}}, "give numbers for ['certain_logprob', "),
        ({"checks": {"logprob_threshold": "low"}}, "logprob_threshold in config.json"),
        ({"checks": [1]}, "give numbers for"),
    ],
)
def test_a_wrong_entry_of_config_json_is_one_line(folder, values, sentence):
    edit(folder / "config.json", **values)
    assert sentence in error_of(check_model, ModelOptions(path=str(folder)))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "whisper" / WEIGHTS).unlink(), "can't be loaded"),
        (lambda folder: (folder / "whisper/generation_config.json").write_text("{}"), "has no ids of times"),
        (lambda folder: (folder / "llm/chat_template.jinja").unlink(), "has no chat template"),
        (lambda folder: (folder / "llm/tokenizer.json").write_text("{}"), "can't be loaded"),
        (lambda folder: edit(folder / "llm/config.json", model_type="vit"), "is no causal language model"),
        (lambda folder: save_phi3(folder / "llm"), "Phi3Model has no q_proj and k_proj in its first layer"),
        (
            lambda folder: edit(folder / "llm/config.json", model_type="granite", logits_scaling=3.0),
            "scales its embeddings or logits",
        ),
    ],
)
def test_a_model_that_no_cascade_is_made_of_is_one_line(folder, damage, sentence):
    damage(folder)
    assert sentence in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


def test_a_missing_weight_is_one_line(folder):
    file = folder / "llm" / WEIGHTS
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    assert "is incomplete: 1 weights" in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


def test_the_fingerprint_is_of_both_models(saved, folder):
    assert fingerprint(ModelOptions(path=str(folder))) == fingerprint(ModelOptions(path=saved))
    edit(folder / "config.json", checks={})
    prints = [fingerprint(ModelOptions(path=saved)), fingerprint(ModelOptions(path=str(folder)))]
    for part in ("whisper", "llm"):
        data = bytearray((folder / part / WEIGHTS).read_bytes())
        data[-1] ^= 1
        (folder / part / WEIGHTS).write_bytes(data)
        prints.append(fingerprint(ModelOptions(path=str(folder))))
    assert len(set(prints)) == 4


# Text and tokens

SEGMENTS = [Segment(1.0, 3.0, " In the garden,"), Segment(4.5, 5.5, " <|im_end|> at nine")]


def test_characters_are_spread_evenly_over_the_time_of_their_segment():
    tokenizer = byte_level_processor().tokenizer
    token_ids, times = text_tokens(tokenizer, SEGMENTS)
    text = SEGMENTS[0].text + SEGMENTS[1].text
    assert tokenizer.decode(token_ids) == text
    assert times[0, 0] == 1.0
    assert times[-1, 1] == pytest.approx(5.5)
    assert (times[:, 1] > times[:, 0]).all()
    assert (np.diff(times[:, 0]) > 0).all()
    offsets = tokenizer(text, return_offsets_mapping=True, split_special_tokens=True)["offset_mapping"]
    ends = dict(zip([end for _, end in offsets], times[:, 1], strict=True))
    assert ends[len(" In the garden,")] == pytest.approx(3.0)
    assert ends[len(" In the")] == pytest.approx(1.0 + 2.0 * len(" In the") / len(" In the garden,"))


def test_control_tokens_that_a_voice_spells_are_words():
    tokenizer = byte_level_processor().tokenizer
    token_ids, _ = text_tokens(tokenizer, SEGMENTS)
    assert not set(token_ids) & set(tokenizer.all_special_ids)


def test_a_tokens_time_is_there_for_every_part_of_a_letter():
    token_ids, times = text_tokens(byte_level_processor().tokenizer, [Segment(0.0, 1.0, " 你好")])
    assert len(token_ids) == len(times) == 7  # three bytes each, and the space
    assert (times[:, 1] > times[:, 0]).all()
    assert (np.diff(times[:, 0]) >= 0).all()


def test_a_transcript_is_what_was_tokenized(lm, speech):
    samples = speech(47.0)
    windows = [Window(samples[: 30 * RATE], 0.0), Window(samples[30 * RATE :], 30.0)]
    segments = [segment for own in lm.model.transcribe(windows) for segment in own]
    (audio,) = lm.encode_many([samples])
    token_ids = [token for own in lm.model.encode_windows(windows).states for token in own[:, 0].tolist()]
    embeds = lm.model.embed_tokens([token for token in token_ids if token])
    assert torch.equal(audio.embeds, embeds)
    assert audio.times[0, 0] == segments[0].start_seconds
    assert audio.times[-1, 1] == pytest.approx(segments[-1].end_seconds)


def test_evidence_is_given_as_text(lm, speech):
    (audio,) = lm.encode_many([speech(47.0)])
    answer = lm.answer(audio, "Which day?", ["Monday", "Friday"], method="late_interaction")
    assert len(answer.evidence_text) == len(answer.evidence) > 0
    for span, text in zip(answer.evidence, answer.evidence_text, strict=True):
        first = np.flatnonzero(audio.times[:, 0] == span.start)[0]
        last = np.flatnonzero(audio.times[:, 1] == span.end)[-1]
        assert text == lm.model.tokenizer.decode(audio.token_ids[first : last + 1]).strip()


# Without speech


def test_a_recording_without_speech_is_one_line(folder, speech):
    """With Whisper's own limits, which random weights don't pass."""
    edit(folder / "config.json", checks={})
    lm = load_tiny_model(str(folder))
    sentence = r"no speech was found in 4\.0 s of sound: listen to it"
    with pytest.raises(AudioWithoutSpeech, match=sentence):
        lm.encode_many([speech(4.0)])
    table = pa.Table.from_pylist(stored_windows(lm, speech(4.0)), WINDOWS_SCHEMA)
    assert table["num_tokens"].to_pylist() == [0]
    with pytest.raises(AudioWithoutSpeech, match=r"4\.0 s of sound of a.wav"):
        embed_stored(lm.model, [table])
    silent = pa.Table.from_pylist(stored_windows(lm, np.zeros(RATE, np.int16)), WINDOWS_SCHEMA)
    with pytest.raises(AudioSilent):
        embed_stored(lm.model, [silent])


# Index and search


def test_an_index_holds_token_ids(lm, speech):
    samples = speech(71.0)
    rows = stored_windows(lm, samples)
    (direct,) = encode_recordings(lm.model, [samples], [0.0])
    (stored,) = embed_stored(lm.model, [pa.Table.from_pylist(rows, WINDOWS_SCHEMA)])
    assert torch.equal(stored.embeds, direct.embeds)
    np.testing.assert_array_equal(stored.times, direct.times)
    assert stored.num_encoder_flops == 0 < direct.num_encoder_flops
    assert {row["dtype"] for row in rows} == {"int32"}
    assert sum(len(row["states"]) for row in rows) == 4 * len(direct.embeds)


def test_a_search_scores_token_ids_as_their_embeddings(lm, speech):
    (row, *_) = stored_windows(lm, speech(30.0))
    words = encode_query_words(lm.model, [("When is the review?", ["Monday"])], AnsweringOptions())
    states = np.frombuffer(row["states"], "<i4")[:, None]
    S = lm.model.project(torch.from_numpy(states.copy())).numpy()
    in_full = np.eye(len(words.directions[0]), dtype=np.float32)[states[:, 0]]
    norms = np.array(row["norms"], np.float32)
    np.testing.assert_allclose(norms, np.linalg.norm(S, axis=1), rtol=1e-6)
    np.testing.assert_allclose(words.cosines(states, norms), words.cosines(in_full, norms), atol=1e-5)


# The real models, where they have been fetched


@pytest.mark.skipif(not REAL.is_dir(), reason="fetched by jobs/fetch_models.py")
def test_whisper_writes_down_speech_and_neither_noise_nor_music():
    model = load_model(ModelOptions(path=str(REAL), **OPTIONS))
    seconds = np.arange(10 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * hertz * seconds) for hertz in (262, 330, 392)) * 3000
    noise = np.random.default_rng(0).normal(0, 3000, len(seconds))
    silence = np.zeros(len(seconds))
    for sound in (chord, noise, silence):
        assert model.transcribe([Window(sound.astype(np.int16), 0.0)]) == [[]]
    shared = Path(__file__).parents[3] / "shared/audio/jfk.flac"
    if shared.is_file():
        (segments,) = model.transcribe([Window(decode_audio(str(shared)), 0.0)])
        assert "ask what you can do for your country" in "".join(segment.text for segment in segments)
