"""Word errors by their definition; recognisers of real architectures, with random weights."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from tokenizers import AddedToken
from transformers import (
    GenerationConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from speechprune.benchmarks.builder.recognition import (
    Recogniser,
    check_recogniser,
    normalise_words,
    word_error_rate,
)


def test_word_error_rate_is_over_all_words_whatever_their_spelling():
    said = [
        (np.zeros(1), "Uh, the meeting's at twenty-five past three."),  # seven words without the filler
        (np.ones(1), "On Monday."),
    ]
    heard = {0: "The meeting is at 25 past three", 1: "On a Sunday"}
    assert normalise_words(said[0][1]) == ["the", "meeting", "is", "at", "25", "past", "3"]
    assert word_error_rate(lambda samples: heard[int(samples[0])], said) == 2 / 9


def save_wav2vec2(folder: Path) -> None:
    """A recogniser that can't go through a long recording by itself."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefgh"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json")
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)


def save_whisper(folder: Path) -> None:
    """Whisper, whose vocabulary is here the 256 bytes, its own marks and its moments."""
    characters = list(bytes_to_unicode().values())
    tokenizer = WhisperTokenizer(
        vocab={token: i for i, token in enumerate([*characters, "<|endoftext|>"])}, merges=[]
    )
    marks = ["<|startoftranscript|>", "<|startofprev|>", "<|notimestamps|>"]
    tokenizer.add_tokens(marks, special_tokens=True)
    tokenizer.add_tokens([AddedToken(f"<|{0.02 * i:.2f}|>") for i in range(1501)])
    begin, before, no_timestamps = tokenizer.convert_tokens_to_ids(marks)
    end = {"pad_token_id": 256, "bos_token_id": 256, "eos_token_id": 256, "decoder_start_token_id": begin}
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_target_positions=64,
        **end,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        no_timestamps_token_id=no_timestamps,
        prev_sot_token_id=before,
        max_initial_timestamp_index=50,
        is_multilingual=False,
        return_timestamps=False,
        max_length=30,
        **end,
    )
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)


@pytest.mark.parametrize("save", [save_wav2vec2, save_whisper])
def test_a_recogniser_hears_a_long_recording_to_its_end(tmp_path, speech, save):
    """Random weights hear the same nonsense in every part: more parts, more of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save(tmp_path)
    check_recogniser(str(tmp_path))
    recognise = Recogniser(str(tmp_path))
    short, long = recognise(speech(20.0)), recognise(speech(70.0))
    assert short
    assert len(long) > len(short)


@pytest.mark.parametrize("is_multilingual", [True, False])
def test_whisper_is_asked_for_one_english_transcript(monkeypatch, is_multilingual):
    """Greedily: five beams, the default of the pipeline, take five times as long."""
    calls = []

    def transcribe(inputs, **options):
        calls.append(options)
        return {"text": "fine"}

    transcribe.model = SimpleNamespace(
        config=SimpleNamespace(model_type="whisper"),
        generation_config=SimpleNamespace(is_multilingual=is_multilingual),
    )
    monkeypatch.setattr(transformers, "pipeline", lambda *arguments, **options: transcribe)
    assert Recogniser("some/whisper")(np.zeros(160, np.int16)) == "fine"
    language = {"language": "en", "task": "transcribe"} if is_multilingual else {}
    assert calls == [{"return_timestamps": True, "generate_kwargs": {"num_beams": 1} | language}]


def test_a_recogniser_that_is_none_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"^quality\.asr_model .*nowhere can't be loaded"):
        check_recogniser(str(tmp_path / "nowhere"))
