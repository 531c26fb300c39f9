"""What is Qwen2-Audio's own and not in the conformance suite."""

from types import SimpleNamespace

import numpy as np
import pytest

from speechprune import AnsweringOptions, NoPruning, SpeechLM
from speechprune.audio import SAMPLE_RATE
from speechprune.models.qwen2_audio import WINDOW_SAMPLES, Qwen2Audio
from speechprune.models.source import end_token_ids
from speechprune.models.whisper_family import num_audio_tokens
from tests.helpers.families import Qwen2AudioOracle


def test_the_oracles_prompt_is_the_processors_own(tiny_lm, speech):
    """Against the processor itself, which takes a single window and expands the placeholder."""
    samples, question = speech(7.3), "Where do they meet?"
    prompt = tiny_lm.model.render_chat(question)
    audio = samples.astype(np.float32) / 32768
    processor = tiny_lm.model.processor
    inputs = processor(text=prompt, audio=[audio], sampling_rate=SAMPLE_RATE, return_tensors="pt")
    assert Qwen2AudioOracle(tiny_lm.model).prompt_ids(samples, question) == inputs["input_ids"][0].tolist()


def test_the_borders_of_short_and_full_windows_are_the_token_counts():
    shortest, full = Qwen2Audio.min_window_samples, Qwen2Audio.full_window_samples
    assert (num_audio_tokens(shortest - 1), num_audio_tokens(shortest)) == (0, 1)
    assert num_audio_tokens(full) == num_audio_tokens(WINDOW_SAMPLES) == 750
    assert -(-full // 160) == 2999  # 1,500 positions: no mask


def test_generation_ends_where_hugging_faces_does(tiny_lm, speech, monkeypatch):
    """At any of the end tokens of the generation config, which are read when the model is loaded."""
    loaded, questions = tiny_lm.model, ["Where do they meet?", "Why?"]
    recordings = [speech(7.3), speech(33.0, start=60)]
    oracle, options = Qwen2AudioOracle(loaded), AnsweringOptions(max_new_tokens=8)
    whole = [oracle.generate(*pair, 8) for pair in zip(recordings, questions, strict=True)]
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [whole[0][2], whole[1][4]])
    expected = [oracle.generate(*pair, 8) for pair in zip(recordings, questions, strict=True)]
    assert any(len(tokens) < 8 for tokens in expected)
    ending = SpeechLM(
        Qwen2Audio(
            loaded.model, loaded.processor, name="ending", encoder_batch_size=2, prefill_batch_tokens=16_384
        )
    )
    asked = [
        (audio, question, None)
        for audio, question in zip(ending.encode_many(recordings), questions, strict=True)
    ]
    answers = ending.answer_many(asked, method=NoPruning(), options=options)
    decode = loaded.tokenizer.decode
    assert [answer.num_generated_tokens for answer in answers] == [len(tokens) for tokens in expected]
    assert [answer.prediction for answer in answers] == [
        decode(tokens, skip_special_tokens=True).strip() for tokens in expected
    ]


@pytest.mark.parametrize(
    ("configured", "of_tokenizer", "expected"),
    [(7, 1, {7}), ([7, 8], 1, {7, 8}), (None, 1, {1}), (None, None, set())],
)
def test_end_tokens_are_the_generation_configs_or_else_the_tokenizers(configured, of_tokenizer, expected):
    config, tokenizer = SimpleNamespace(eos_token_id=configured), SimpleNamespace(eos_token_id=of_tokenizer)
    assert end_token_ids(config, tokenizer) == expected
