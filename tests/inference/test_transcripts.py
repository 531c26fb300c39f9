"""The words beside the evidence: what the model generates from a span's tokens alone, in any company."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speechprune import NoPruning
from speechprune.cost import decode_flops, prefill_flops
from speechprune.inference.evidence import EvidenceSpan
from speechprune.inference.prompts import PromptFormat, prompt_of
from speechprune.inference.transcripts import CONTEXT_SECONDS, REQUEST, tokens_around
from speechprune.models.base import SplicedPrompt
from speechprune.models.generation import generate
from tests.helpers.asked import OPTIONS, answered
from tests.helpers.tiny_cascade import save_tiny_cascade
from tests.helpers.tiny_models import load_tiny_model

TRANSCRIBED = replace(OPTIONS, transcribe_evidence=True)


def test_a_transcript_is_generated_from_the_spans_own_tokens(tiny_lm, items):
    model = tiny_lm.model
    prompt = prompt_of(model, REQUEST, None, PromptFormat())
    prefix, suffix = (model.embed_tokens(ids) for ids in (prompt.prefix_ids, prompt.suffix_ids))
    written = set()
    for item, answer in zip(items, answered(tiny_lm, items, options=TRANSCRIBED), strict=True):
        assert len(answer.evidence_text) == len(answer.evidence) > 0
        for span, text in zip(answer.evidence, answer.evidence_text, strict=True):
            audio = item.audio.embeds[torch.from_numpy(tokens_around(span, item.audio.times))]
            ids = [model.language_model.audio_token_id] * len(audio)
            alone = SplicedPrompt(
                torch.cat([prefix, audio, suffix]), [*prompt.prefix_ids, *ids, *prompt.suffix_ids]
            )
            [token_ids], _ = generate(model, [alone], OPTIONS.max_new_tokens)
            assert text == model.tokenizer.decode(token_ids, skip_special_tokens=True).strip()
            written.add(text)
    assert len(written) > 2


def test_it_costs_a_prefill_and_its_tokens_and_changes_nothing_else(tiny_lm, items):
    shape = tiny_lm.model.shape.decoder
    plain = answered(tiny_lm, items)
    for item, without, answer in zip(
        items, plain, answered(tiny_lm, items, options=TRANSCRIBED), strict=True
    ):
        assert without.evidence_text is None
        assert answer.prediction == without.prediction
        assert answer.evidence == without.evidence
        extra = (answer.cost.tflops_total - without.cost.tflops_total) * 1e12
        num_tokens = [len(tokens_around(span, item.audio.times)) for span in answer.evidence]
        least = sum(prefill_flops(shape, n) for n in num_tokens)
        most = sum(
            prefill_flops(shape, n + 200) + decode_flops(shape, n + 200, OPTIONS.max_new_tokens)
            for n in num_tokens
        )
        assert least < extra < most
        assert answer.seconds_generate > without.seconds_generate


def test_without_evidence_there_is_nothing_to_write_down(tiny_lm, items):
    for answer in answered(tiny_lm, items, NoPruning(), options=TRANSCRIBED):
        assert answer.evidence == []
        assert not answer.evidence_text


@pytest.mark.parametrize(
    ("start", "end", "first", "last"), [(10.0, 11.0, 200, 324), (0.0, 0.5, 0, 62), (59.0, 60.0, 1425, 1499)]
)
def test_a_span_is_read_with_the_seconds_around_it(start, end, first, last):
    edges = np.arange(1501) * 0.04
    tokens = tokens_around(EvidenceSpan(start, end, 1.0), np.stack([edges[:-1], edges[1:]], axis=1))
    assert (tokens[0], tokens[-1]) == (first, last)
    assert CONTEXT_SECONDS == 2
    np.testing.assert_array_equal(tokens, np.arange(first, last + 1))


def test_a_cascade_has_its_text_already(tmp_path, speech):
    lm = load_tiny_model(save_tiny_cascade(tmp_path / "cascade"))
    audio = lm.encode_many([speech(20.0)])[0]
    plain, transcribed = (
        lm.answer(audio, "Which day?", ["Monday", "Friday"], options=options)
        for options in (OPTIONS, TRANSCRIBED)
    )
    assert transcribed.evidence_text == plain.evidence_text
    assert transcribed.cost == plain.cost
