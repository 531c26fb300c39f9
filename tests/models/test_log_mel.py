"""Features on the device are the feature extractor's own, and no window's end leaks into the encoder."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.masking_utils import create_bidirectional_mask

from speechprune.audio import SAMPLE_RATE
from speechprune.models.log_mel import LogMel
from speechprune.models.qwen2_audio import WINDOW_SAMPLES, encoder_mask
from speechprune.models.whisper_family import num_positions

LOUDNESS = (0, 1, 300, 32_767)  # silence, one step, speech, clipped


def window(length: int, loudness: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(length) * loudness
    return np.clip(noise.round(), -32_768, 32_767).astype(np.int16)


WINDOWS = st.builds(
    window,
    st.integers(1, WINDOW_SAMPLES) | st.sampled_from([1, 159, 160, 161, 200, 400, WINDOW_SAMPLES]),
    st.sampled_from(LOUDNESS),
    st.integers(0, 99),
)


def extracted(extractor, windows: list[np.ndarray]) -> dict[str, torch.Tensor]:
    return extractor(
        [samples.astype(np.float32) / 32768.0 for samples in windows],
        sampling_rate=SAMPLE_RATE,
        padding="max_length",
        return_attention_mask=True,
        return_tensors="pt",
    )


@settings(max_examples=25)
@given(st.lists(WINDOWS, min_size=1, max_size=4))
@example([window(WINDOW_SAMPLES, loudness, 0) for loudness in LOUDNESS])
@example([np.full(WINDOW_SAMPLES, -32_768, np.int16)])
def test_features_are_the_extractors_own_to_the_bit(tiny_lm, windows):
    extractor = tiny_lm.model.processor.feature_extractor
    expected = extracted(extractor, windows)
    features = LogMel(extractor, torch.device("cpu"))(windows)
    assert torch.equal(features, expected["input_features"])
    num_frames = expected["attention_mask"].sum(-1)
    lengths, _ = tiny_lm.model.model.model.audio_tower._get_feat_extract_output_lengths(num_frames)
    assert [num_positions(len(samples)) for samples in windows] == lengths.tolist()


@pytest.mark.parametrize("lengths", [[1500, 1500], [1, 1500], [750, 20, 1499]])
def test_the_mask_is_the_one_of_hugging_faces_forward(tiny_lm, lengths):
    tower = tiny_lm.model.model.model.audio_tower
    valid = torch.arange(1500) < torch.tensor(lengths)[:, None]
    expected = create_bidirectional_mask(
        config=tower.config, inputs_embeds=torch.zeros(len(lengths), 1500, 1), attention_mask=valid
    )
    mask = encoder_mask(tower, lengths)
    assert (mask is None) == (expected is None) == (min(lengths) == 1500)
    assert mask is None or torch.equal(mask, expected)
