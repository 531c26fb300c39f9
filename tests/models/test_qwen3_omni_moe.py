"""What is Qwen3-Omni's own and not in the conformance suite: unequal tokens, experts, short windows."""

import numpy as np
import pytest
import torch

from speechprune.models.base import Window
from speechprune.models.loading import model_shape
from speechprune.models.qwen3_omni_moe import Qwen3Omni
from tests.helpers.tiny_models import load_tiny_model
from tests.helpers.tiny_qwen3_omni import save_tiny_qwen3_omni

RATE = 16_000


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return load_tiny_model(save_tiny_qwen3_omni(tmp_path_factory.mktemp("omni")))


def test_the_last_token_of_a_second_is_half_as_long(lm, speech):
    (audio,) = lm.encode_many([speech(2.5)], [100.0])
    starts, ends = (audio.times - 100).T
    assert starts[:15] == pytest.approx([*np.arange(13) * 0.08, 1.0, 1.08])
    assert (ends[12], ends[13]) == pytest.approx((1.0, 1.08))
    assert len(starts) == 13 + 13 + 7
    assert ends[-1] == pytest.approx(2.5)
    assert np.diff(audio.frame_starts).tolist() == [13, 13, 7]


def test_the_borders_of_short_and_full_windows_are_the_token_counts():
    assert Qwen3Omni.num_tokens(Qwen3Omni.min_window_samples) == 1
    assert Qwen3Omni.num_tokens(Qwen3Omni.full_window_samples) == Qwen3Omni.num_tokens(32 * RATE) == 416


def test_a_window_shorter_than_a_chunk_is_encoded_alone(lm, speech):
    """In company the convolutions would see what fills it up, as in its own forward of several rows."""
    samples = [speech(0.33), speech(5.0)]
    windows = [Window(own, 0.0) for own in samples]
    (alone,) = lm.model.embed_windows(windows[:1])
    assert not torch.allclose(lm.model.embed_windows(windows)[0].embeds, alone.embeds, atol=1e-5)
    for audio in (lm.encode_many(samples)[0], lm.encode_many(samples[:1])[0]):
        assert torch.equal(audio.embeds, alone.embeds)


def test_the_published_sizes():
    shape = model_shape("qwen3-omni-30b-a3b")
    decoder = shape.decoder
    assert 2 * decoder.num_hidden_layers * decoder.num_layer_weights == pytest.approx(5.46e9, rel=1e-3)
    assert decoder.num_hidden_layers * decoder.num_layer_weights_held == pytest.approx(29.9e9, rel=1e-2)
    assert shape.encoder.flops(1) == pytest.approx(0.631e12 * 32 / 30, rel=1e-2)
    assert shape.token_rate == 13
