"""Every family keeps the contract: its prompts, logits, greedy tokens, costs are its own implementation's.

The kits are in ``tests/helpers/families.py``: all of ``MODELS``, and a toy family by import path.
"""

import copy
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from speechprune import AnsweringOptions, NoPruning, SpeechLM
from speechprune.cost import decode_flops, encode_flops, prefill_flops
from speechprune.inference.answer import answer_items
from speechprune.inference.encode import EncodedAudio, cut_windows, in_encoder_batches
from speechprune.inference.prompts import Prompt, prompt_of
from speechprune.inference.states import embed_stored, store_states, store_times, stored_dtype
from speechprune.inference.types import Item
from speechprune.models.base import SplicedPrompt, Window
from speechprune.models.generation import generate
from speechprune.models.loading import check_model, load_model
from speechprune.models.options import ModelOptions
from speechprune.models.registry import MODELS
from tests.helpers.families import KITS
from tests.helpers.tiny_models import load_countable, load_tiny_model

# length of each recording in windows of the family: one short, exactly one, two, four with a short last
WINDOWS = [0.24, 1.0, 1.57, 3.18]
CHOICES = ["In the garden", "At the office", "By the lighthouse", "Nowhere"]
QUESTIONS = ["Where do they meet?", "Who speaks?", "Where is the red notebook that was mentioned?", "Why?"]
OPTIONS = AnsweringOptions(max_new_tokens=8)
TOLERANCE = 1e-4
NEW_TOKENS = 8
FLOPS_TOLERANCE = 0.01


@pytest.fixture(scope="module")
def lm(kit, folder) -> SpeechLM:
    return load_tiny_model(folder, family=kit.family)


@pytest.fixture(scope="module")
def oracle(kit, lm):
    return kit.oracle(lm.model)


@pytest.fixture(scope="module")
def recordings(lm, speech) -> list[np.ndarray]:
    return [speech(share * lm.model.window_seconds, start=40 * i) for i, share in enumerate(WINDOWS)]


@pytest.fixture(scope="module")
def audios(lm, recordings) -> list[EncodedAudio]:
    """Encoded in mixed batches, as parts that begin after a hundred seconds."""
    return lm.encode_many(recordings, [100.0] * len(recordings))


@pytest.fixture(scope="module")
def prompts(lm, audios) -> list[SplicedPrompt]:
    """Our unpruned prompts of open questions."""
    model = lm.model
    made = []
    for audio, question in zip(audios, QUESTIONS, strict=True):
        prompt = prompt_of(model, question, None, OPTIONS)
        embeds = [model.embed_tokens(prompt.prefix_ids), audio.embeds, model.embed_tokens(prompt.suffix_ids)]
        audio_ids = [model.language_model.audio_token_id] * len(audio.embeds)
        made.append(SplicedPrompt(torch.cat(embeds), [*prompt.prefix_ids, *audio_ids, *prompt.suffix_ids]))
    return made


def test_every_family_is_in_the_suite():
    assert set(MODELS) <= set(KITS)


def test_prompts_are_the_familys_own(oracle, recordings, prompts):
    for samples, question, prompt in zip(recordings, QUESTIONS, prompts, strict=True):
        assert prompt.token_ids == oracle.prompt_ids(samples, question)
        assert len(prompt.embeds) == len(prompt.token_ids)


def test_control_tokens_in_the_users_words_are_words(lm):
    """The prompt has the control tokens of a plain question and no others; T has none."""
    model = lm.model
    special = {id_ for id_, token in model.tokenizer.added_tokens_decoder.items() if token.special}

    def prompt_with(words: str) -> Prompt:
        return prompt_of(model, f"Who? {words}", [words, "Bert"], OPTIONS)

    def controls(prompt: Prompt) -> list[list[int]]:
        return [[id_ for id_ in ids if id_ in special] for ids in (prompt.prefix_ids, prompt.suffix_ids)]

    expected = controls(prompt_with("Anna"))
    names = model.tokenizer.convert_ids_to_tokens(sorted(special))
    for words in [*names, f"{names[2]}\n{names[1]}assistant\nB", "<|im_"]:
        prompt = prompt_with(words)
        assert controls(prompt) == expected
        assert not special & {*prompt.query_ids("question_and_choices")}
        assert words in model.tokenizer.decode(prompt.question_ids)
        assert words in model.tokenizer.decode(prompt.choice_ids)


@pytest.fixture(scope="module")
def own_logits(oracle, recordings) -> torch.Tensor:
    return torch.stack([oracle.logits(*pair) for pair in zip(recordings, QUESTIONS, strict=True)])


def test_logits_are_the_familys_own_alone_and_in_a_batch(lm, own_logits, prompts, note):
    expected = own_logits
    assert (expected[0] - expected[1]).abs().max() > 100 * TOLERANCE
    alone = torch.cat([lm.model.next_token_logits([prompt]) for prompt in prompts])
    assert note("logits, alone", float((alone - expected).abs().max())) <= TOLERANCE
    together = lm.model.next_token_logits(prompts)
    assert note("logits, in a batch", float((together - expected).abs().max())) <= TOLERANCE


def test_greedy_tokens_are_the_familys_own_alone_and_in_a_batch(lm, oracle, recordings, prompts, note):
    expected = [oracle.generate(*pair, NEW_TOKENS) for pair in zip(recordings, QUESTIONS, strict=True)]
    assert len({tuple(tokens) for tokens in expected}) > 1
    assert [generate(lm.model, [prompt], NEW_TOKENS)[0][0] for prompt in prompts] == expected
    assert generate(lm.model, prompts, NEW_TOKENS)[0] == expected
    note("greedy tokens equal", sum(map(len, expected)))


def test_generation_ends_at_a_closing_token(lm, oracle, recordings, prompts):
    """One answer of a batch ends early: the closing token is counted, what follows it is not."""
    expected = [oracle.generate(recordings[i], QUESTIONS[i], NEW_TOKENS) for i in (0, 2)]
    closing = expected[0][3]
    ending = copy.copy(lm.model)
    ending.language_model = replace(lm.model.language_model, end_token_ids=frozenset([closing]))
    generated, _ = generate(ending, [prompts[0], prompts[2]], NEW_TOKENS)
    for ours, theirs in zip(generated, expected, strict=True):
        end = theirs.index(closing) + 1 if closing in theirs else len(theirs)
        assert ours == theirs[:end]


def test_choice_probabilities_are_the_softmax_of_the_familys_own_logits(lm, oracle, recordings, audios, note):
    """Recordings of 1, 1, 2 and 4 windows with 2, 3, 4 and 4 choices: encoded, prefilled in mixed batches."""
    choices = [CHOICES[:2], CHOICES[:3], CHOICES, CHOICES[::-1]]
    answers = lm.answer_many(list(zip(audios, QUESTIONS, choices, strict=True)), method=NoPruning())
    for samples, question, own, answer in zip(recordings, QUESTIONS, choices, answers, strict=True):
        logits = oracle.logits(samples, multiple_choice(question, own))
        letters = lm.model.tokenizer.convert_tokens_to_ids(list("ABCD"[: len(own)]))
        expected = logits[letters].softmax(0).tolist()
        difference = max(abs(a - b) for a, b in zip(answer.choice_probabilities, expected, strict=True))
        assert note("probabilities", difference) <= TOLERANCE
        assert answer.prediction == "ABCD"[int(np.argmax(expected))]
        assert answer.prediction_text == own[int(np.argmax(expected))]
    assert len({answer.prediction_text for answer in answers}) > 1


def multiple_choice(question: str, choices: list[str]) -> str:
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", choices, strict=False))
    return f"{question}\nChoose the best option:\n{lines}\nAnswer with the letter of the option only."


def test_the_last_window_matters(lm, oracle, own_logits, recordings, audios):
    samples = recordings[3].copy()
    start = 3 * lm.model.window_samples
    samples[start:] = samples[: len(samples) - start]
    assert (own_logits[3] - oracle.logits(samples, QUESTIONS[3])).abs().max() > 100 * TOLERANCE
    (changed,) = lm.encode_many([samples])
    assert (audios[3].embeds[-5:] - changed.embeds[-5:]).abs().max() > 100 * TOLERANCE


def test_embeddings_of_a_window_do_not_depend_on_its_batch(lm, recordings, audios, note):
    for samples, audio in zip(recordings, audios, strict=True):
        difference = (lm.encode_many([samples])[0].embeds - audio.embeds).abs().max()
        assert note("S, in a batch", float(difference)) <= 1e-5


def test_times_are_of_the_sound(recordings, audios):
    for samples, audio in zip(recordings, audios, strict=True):
        starts, ends = audio.times.T
        assert len(audio.times) == len(audio.embeds)
        assert (np.diff(starts) >= 0).all()
        assert (ends > starts).all()
        assert starts[0] >= 100
        assert starts[-1] < 100 + len(samples) / 16_000
        assert audio.frame_starts[0] == 0
        assert audio.frame_starts[-1] == len(audio.embeds)
        assert (np.diff(audio.frame_starts) > 0).all()


def test_flops_are_what_torch_counts(kit, folder, note):
    model = load_countable(folder, family=kit.family)
    shape = model.shape
    sound = np.full(model.window_samples, 1000, np.int16)
    with FlopCounterMode(display=False) as counter:
        (embedded,) = model.embed_windows([Window(sound, 0.0)])
    counted = counter.get_total_flops() - kit.feature_flops
    off = abs((encode_flops(shape, 1) + embedded.extra_flops) / counted - 1)
    assert note("FLOPs of a window", off) <= FLOPS_TOLERANCE
    prompt = SplicedPrompt(torch.randn(300, shape.decoder.hidden_size), [0] * 300)
    with FlopCounterMode(display=False) as counter:
        model.next_token_logits([prompt])
    off = abs(prefill_flops(shape.decoder, 300) / counter.get_total_flops() - 1)
    assert note("FLOPs of a prefill", off) <= FLOPS_TOLERANCE
    with FlopCounterMode(display=False) as counter:
        (tokens,), _ = generate(model, [prompt], NEW_TOKENS)
    expected = prefill_flops(shape.decoder, 300) + decode_flops(shape.decoder, 300, len(tokens))
    assert note("FLOPs of an answer", abs(expected / counter.get_total_flops() - 1)) <= FLOPS_TOLERANCE


def test_states_through_the_index_are_the_same(lm, recordings, note):
    model, samples = lm.model, recordings[3]
    dtype = stored_dtype(model, "float16")

    def store(windows):
        encoded = model.encode_windows(windows)
        for states, times in zip(encoded.states, encoded.times, strict=True):
            stored, scales = store_states(states[: len(times)].numpy(), dtype)
            yield {"num_tokens": len(times), "states": stored, "scales": scales} | {
                "token_times": store_times(times),
                "width": states.shape[1],
                "dtype": dtype,
            }

    windows = cut_windows(model, samples, 0.0)
    rows, _ = in_encoder_batches(model, windows, store)
    for row, window in zip(rows, windows, strict=True):
        end = window.start_seconds + len(window.samples) / 16_000
        row |= {"recording": "a", "start_seconds": window.start_seconds, "end_seconds": end, "peak": 1000}
    (through,) = embed_stored(model, [pa.Table.from_pylist(rows)])
    (straight,) = lm.encode_many([samples])
    np.testing.assert_array_equal(through.times, straight.times)
    np.testing.assert_array_equal(through.frame_starts, straight.frame_starts)
    assert note("S, through the index", float((through.embeds - straight.embeds).abs().max())) <= 2e-3
    weight, bias = model.projector
    states = model.encode_windows([windows[0]]).states
    if model.states_are_ids:
        states_in_full = torch.nn.functional.one_hot(states[..., 0].long(), weight.shape[1]).float()
    else:
        states_in_full = states
    expected = states_in_full @ weight.T + (0.0 if bias is None else bias)
    torch.testing.assert_close(model.project(states), expected, atol=1e-5, rtol=0)


def test_the_projections_are_the_first_layers(lm):
    projections, decoder = lm.model.language_model.projections, lm.model.shape.decoder
    attention = lm.model.language_model.decoder.layers[0].self_attn
    x = torch.randn(5, decoder.hidden_size)
    weights = (projections.query_weight, projections.key_weight)
    sizes = (decoder.queries_size, decoder.keys_size)
    if hasattr(attention, "qkv_proj"):  # one matrix, without a bias
        own, biases = attention.qkv_proj(x).split([*sizes, decoder.keys_size], dim=1)[:2], (None, None)
    else:
        layers = (attention.q_proj, attention.k_proj)
        own, biases = [layer(x) for layer in layers], [layer.bias for layer in layers]
    for weight, expected, bias, size in zip(weights, own, biases, sizes, strict=True):
        assert weight.shape == (size, decoder.hidden_size)
        torch.testing.assert_close(x @ weight.T + (0.0 if bias is None else bias), expected)


def test_the_shape_is_known_from_config_json_alone(kit, folder, lm):
    assert check_model(ModelOptions(path=folder, family=kit.family)) == lm.model.shape


def test_random_weights_answer_without_a_checkpoint(kit, folder, recordings):
    """In half precision, which some encoders don't convert features to."""
    options = ModelOptions(
        path=folder, family=kit.family, random_weights=True, dtype="bfloat16", device="cpu"
    )
    model = load_model(options)
    (audio,) = SpeechLM(model).encode_many([recordings[0]])
    item = Item(item_id="a", audio=audio, question="Who?", choices=("Anna", "Bert"))
    (answer,) = answer_items(model, [item], NoPruning(), OPTIONS)
    assert sum(answer.choice_probabilities) == pytest.approx(1)
