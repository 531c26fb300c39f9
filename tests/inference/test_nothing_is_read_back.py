"""Encoding and pruning never read a value from the device: on a GPU each read would wait for all queued work.

On torch's meta device there are shapes and no values, so whatever reads one raises.
"""

import pyarrow as pa
import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration

from speechprune import FirstPhase, SpeechPrune
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.inference.encode import encode_recordings
from speechprune.inference.prepare import prepare_queries
from speechprune.inference.prompt_batches import PendingPrompt, splice
from speechprune.inference.prune import Pending, prune_queries
from speechprune.inference.states import embed_stored
from speechprune.models.qwen2_audio import Qwen2Audio
from tests.helpers.asked import OPTIONS, ask
from tests.helpers.stored_windows import stored_windows


@pytest.fixture(scope="module")
def without_values(tiny_lm) -> Qwen2Audio:
    with torch.device("meta"):
        model = Qwen2AudioForConditionalGeneration(tiny_lm.model.model.config).eval()
    return Qwen2Audio(
        model, tiny_lm.model.processor, name="meta", encoder_batch_size=2, prefill_batch_tokens=16_384
    )


def test_values_of_the_meta_device_cannot_be_read():
    with pytest.raises(RuntimeError):
        torch.ones(2, device="meta").all().item()


def test_encoding_reads_nothing_back(tiny_lm, without_values, speech):
    """Of full windows, which need no mask, and of short ones."""
    recordings = [speech(4.0), speech(60.0), speech(71.3)]
    encoded = encode_recordings(without_values, recordings, [0.0] * 3)
    expected = encode_recordings(tiny_lm.model, recordings, [0.0] * 3)
    for audio, other in zip(encoded, expected, strict=True):
        assert audio.embeds.is_meta
        assert audio.embeds.shape == other.embeds.shape


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_stored_states_are_sent_and_nothing_is_read_back(tiny_lm, without_values, speech, dtype):
    table = pa.Table.from_pylist(stored_windows(tiny_lm, speech(71.3), dtype), WINDOWS_SCHEMA)
    [audio] = embed_stored(without_values, [table])
    assert audio.embeds.is_meta
    assert audio.embeds.shape == (round(71.3 * 25), without_values.shape.decoder.hidden_size)


@pytest.mark.parametrize("method", [FirstPhase(), SpeechPrune()], ids=repr)
def test_questions_are_prepared_pruned_for_and_spliced_without_a_read(without_values, speech, method):
    audios = encode_recordings(without_values, [speech(40.0), speech(71.3)], [0.0] * 2)
    queries = prepare_queries(without_values, ask(audios), [method], OPTIONS)
    pending = prune_queries(without_values, queries, method)
    assert all(isinstance(one, Pending) for one in pending)
    prompts = splice(without_values, [PendingPrompt.of_question(i, one) for i, one in enumerate(pending)])
    for one, prompt in zip(pending, prompts, strict=True):
        assert len(one.kept) == 600
        assert len(prompt.embeds) == len(prompt.token_ids) == one.num_prompt_tokens(0)
