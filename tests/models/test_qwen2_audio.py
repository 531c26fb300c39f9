"""What is Qwen2-Audio's own and not in the conformance suite."""

import numpy as np

from speechprune.audio import SAMPLE_RATE
from speechprune.models.qwen2_audio import WINDOW_SAMPLES, Qwen2Audio, num_audio_tokens
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
