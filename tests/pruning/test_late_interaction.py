"""Late interaction against plain loops, in any batch and any chunks; and a needle that phase 1 loses."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.pruning import FirstPhase, LateInteraction, PruningInputs, late_interaction
from speechprune.pruning.late_interaction import (
    choose_windows,
    distance_to_chosen,
    keep_nearest,
    window_scores,
)
from speechprune.pruning.similarity import token_scores
from speechprune.pruning.word_cosines import directions
from tests.helpers.frames import equal_frames

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def recordings_and_queries(draw):
    """Small S, f and up to four T, with repeated tokens; whole numbers bring ties and rows of zeros."""
    generator = np.random.default_rng(draw(SEEDS))
    num_dimensions = draw(st.integers(1, 40))
    whole = draw(st.booleans())

    def rows(num_rows):
        shape = (num_rows, num_dimensions)
        values = generator.integers(-1, 2, shape) if whole else generator.normal(size=shape)
        return torch.from_numpy(values.astype(np.float32))

    vocabulary = rows(8)
    queries = [
        vocabulary[torch.from_numpy(generator.integers(8, size=draw(st.integers(1, 8))))]
        for _ in range(draw(st.integers(1, 4)))
    ]
    return rows(draw(st.integers(1, 90))), queries, draw(st.sampled_from([0.3, 1, 2.5, 4, 6.25, 9]))


@st.composite
def scored_windows(draw):
    """M, tokens in a block, s of every token, k; few values bring ties."""
    generator = np.random.default_rng(draw(SEEDS))
    size, num_tokens = draw(st.integers(1, 7)), draw(st.integers(1, 60))
    num_windows = max(1, -(-num_tokens // size) - 1)
    if draw(st.booleans()):
        scores = generator.integers(0, 11, num_windows).astype(float)
    else:
        scores = generator.exponential(size=num_windows)
    token_scores = (generator.integers(-2, 3, num_tokens) / 4).astype(np.float32)
    scores, token_scores = torch.from_numpy(scores), torch.from_numpy(token_scores)
    return scores, size, token_scores, draw(st.integers(1, num_tokens))


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b) / lengths if lengths else 0.0


def matches_of(audio_embeds, queries, token_rate):
    """Equal rows are one token."""
    ids = torch.unique(torch.cat(queries), dim=0, return_inverse=True)[1] if queries else torch.zeros(0)
    own = ids.split([len(query) for query in queries])
    return late_interaction.match_words(audio_embeds, queries, [part.tolist() for part in own], token_rate)


def different_rows(query_embeds):
    return np.array(sorted({tuple(row) for row in query_embeds.double().tolist()}))


# ------------------------------------------------------------------------------------------------------------
# Against plain loops


@given(recordings_and_queries())
def test_matches_are_the_best_cosine_of_each_word_in_each_block(recording):
    audio_embeds, queries, token_rate = recording
    size = max(1, int(2.5 * token_rate))
    S = audio_embeds.double().numpy()
    for query_embeds, matches in zip(queries, matches_of(audio_embeds, queries, token_rate), strict=True):
        words = different_rows(query_embeds)
        expected = [
            [max(cosine(token, word) for token in S[begin : begin + size]) for word in words]
            for begin in range(0, len(S), size)
        ]
        assert matches.block_tokens == size
        assert matches.best_cosines.dtype == torch.float32
        assert matches.best_cosines.shape == (len(expected), len(words))
        # the order of the words is the function's own
        found, expected = (np.sort(values, axis=1) for values in (matches.best_cosines, expected))
        most_off = 1e-6 + S.shape[1] ** 0.5 / 2**11  # two directions, each off by half a step a coordinate
        np.testing.assert_allclose(found, expected, atol=most_off)


@given(recordings_and_queries())
def test_window_scores_are_squares_of_what_is_above_the_recordings_mean(recording):
    audio_embeds, queries, token_rate = recording
    blocks = matches_of(audio_embeds, queries, token_rate)[0].best_cosines
    num_windows = max(1, len(blocks) - 1)
    expected = [0.0] * num_windows
    for word in range(blocks.shape[1]):
        matched = [float(max(blocks[w : w + 2, word])) for w in range(num_windows)]
        mean = sum(matched) / num_windows
        deviation = (sum((m - mean) ** 2 for m in matched) / num_windows) ** 0.5
        for w, m in enumerate(matched):
            if m > mean and deviation > 1e-9:
                expected[w] += ((m - mean) / deviation) ** 2
    np.testing.assert_allclose(window_scores(blocks), expected, rtol=1e-6, atol=1e-6)


@given(scored_windows())
def test_windows_are_chosen_best_first_while_nearly_as_good_and_needed(drawn):
    scores, size, token_scores, num_kept = drawn
    num_tokens = len(token_scores)
    expected = set()
    for score, window in sorted((-score, window) for window, score in enumerate(scores.tolist())):
        if -score >= 0.8 * max(scores) and len(expected) < num_kept:
            expected |= set(range(window * size, min((window + 2) * size, num_tokens)))
    chosen = choose_windows(scores, size, num_tokens, num_kept).repeat_interleave(size)[:num_tokens]
    assert set(np.flatnonzero(chosen)) == expected


@given(scored_windows())
def test_the_nearest_tokens_are_kept_and_the_higher_scores_of_equally_near_ones(drawn):
    scores, size, token_scores, num_kept = drawn
    num_tokens = len(token_scores)
    chosen = choose_windows(scores, size, num_tokens, num_kept)
    tokens = np.flatnonzero(chosen.repeat_interleave(size)[:num_tokens])
    distances = [min(abs(i - j) for j in tokens) for i in range(num_tokens)]
    assert distance_to_chosen(chosen, size, num_tokens).tolist() == distances
    ranked = sorted(range(num_tokens), key=lambda i: (distances[i], -token_scores[i].item(), i))
    for is_queued in (False, True):  # a CPU's way, a GPU's
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(late_interaction, "is_queued", lambda tensor, answer=is_queued: answer)
            kept = keep_nearest(torch.tensor(distances), token_scores, num_kept)
        assert kept.dtype == torch.int64
        assert kept.tolist() == sorted(ranked[:num_kept])


def test_a_words_weight_is_its_rarity():
    """Matched in one window of a hundred it counts 99, in one of four it counts 3: (1 - p) / p."""
    blocks = torch.zeros(201, 2)
    blocks[0:2, 0] = 0.7  # windows 0 and 1
    blocks[100:149, 1] = 0.9  # windows 99 to 148
    scores = window_scores(blocks)
    assert scores[0] == pytest.approx(99)
    assert scores[120] == pytest.approx(3)
    assert scores[180] == 0


# ------------------------------------------------------------------------------------------------------------
# The same in any company


@given(recordings_and_queries(), st.randoms(use_true_random=False))
def test_neither_the_batch_nor_the_order_of_the_words_changes_a_bit(recording, random):
    audio_embeds, queries, token_rate = recording
    together = matches_of(audio_embeds, queries, token_rate)
    for query_embeds, matches in zip(queries, together, strict=True):
        order = random.sample(range(len(query_embeds)), len(query_embeds))
        alone = matches_of(audio_embeds, [query_embeds[order]], token_rate)[0]
        np.testing.assert_array_equal(matches.best_cosines, alone.best_cosines)


@settings(max_examples=30)
@given(recordings_and_queries(), st.integers(1, 100))
def test_streaming_equals_the_whole(recording, rows_per_chunk):
    audio_embeds, queries, token_rate = recording
    whole = matches_of(audio_embeds, queries, token_rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(late_interaction, "_ROWS_PER_CHUNK", rows_per_chunk)
        streamed = matches_of(audio_embeds, queries, token_rate)
    for a, b in zip(whole, streamed, strict=True):
        np.testing.assert_array_equal(a.best_cosines, b.best_cosines)


@pytest.mark.parametrize("num_dimensions", [1, 192, 4096, 8192])
def test_products_of_directions_are_exact(num_dimensions):
    """Of parallel vectors they are largest; any partial sum has to stay a whole number of float32."""
    generator = torch.Generator().manual_seed(num_dimensions)
    x = torch.randn(8, num_dimensions, generator=generator).bfloat16()
    d = directions(torch.cat([x, x.abs(), torch.ones(1, num_dimensions)]))
    assert (d.square().sum(dim=1) < 2**24).all()
    exact = [
        [sum(Fraction(a) * Fraction(b) for a, b in zip(u, v, strict=True)) for v in d[:4].tolist()]
        for u in d[:4].tolist()
    ]
    assert (d[:4] @ d[:4].T).tolist() == [[float(value) for value in row] for row in exact]
    assert (d.half().float() == d).all()  # as a GPU multiplies them


def test_no_query_no_matches():
    assert matches_of(torch.ones(4, 2), [], 5) == []


def test_the_embeddings_are_left_as_they_are():
    audio_embeds, query_embeds = torch.full((9, 4), 3.0), torch.full((2, 4), 5.0)
    matches_of(audio_embeds, [query_embeds], 2)
    assert (audio_embeds == 3).all()
    assert (query_embeds == 5).all()


# ------------------------------------------------------------------------------------------------------------
# A needle in an hour


NUM_TOKENS, TOKEN_RATE, NUM_DIMENSIONS, NUM_WORDS = 90_000, 25, 64, 12
WORD_TOKENS = 5  # that a word lasts


def make_hour(seed):
    """The query's words all over an hour, each alone; in one sentence, of 3 s, half of them together.

    Four of the words are said every few seconds and match well; the rare ones match less well. Returns
    what a method sees, and the sentence's tokens in which a word is said.
    """
    generator = torch.Generator().manual_seed(seed)
    query_embeds = torch.nn.functional.normalize(torch.randn(NUM_WORDS, NUM_DIMENSIONS, generator=generator))
    audio_embeds = torch.randn(NUM_TOKENS, NUM_DIMENSIONS, generator=generator)

    def say(word, begin, loudness):
        audio_embeds[begin : begin + WORD_TOKENS] += loudness * query_embeds[word]

    num_said = [1200] * 4 + [20] * (NUM_WORDS - 4)
    for word, times in enumerate(num_said):
        for begin in torch.randint(NUM_TOKENS - WORD_TOKENS, (times,), generator=generator).tolist():
            say(word, begin, 24.0 if word < 4 else 12.0)
    begin = int(torch.randint(NUM_TOKENS - 100, (1,), generator=generator))
    needle = (begin + 12 * np.arange(6)[:, None] + np.arange(WORD_TOKENS)).ravel()
    for place in range(6):
        say(NUM_WORDS - 6 + place, begin + 12 * place, 12.0)
    inputs = PruningInputs(
        audio_embeds=audio_embeds,
        query_embeds=query_embeds,
        projections=None,
        frame_starts=torch.from_numpy(equal_frames(NUM_TOKENS, TOKEN_RATE)),
        item_id="hour",
        features={
            "token_scores": token_scores(audio_embeds, [query_embeds])[0],
            "word_matches": matches_of(audio_embeds, [query_embeds], TOKEN_RATE)[0],
        },
    )
    return inputs, needle


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_sentence_that_phase_1_loses(seed):
    inputs, needle = make_hour(seed)
    for pruning_rate in (0.2, 0.8):
        found = LateInteraction(pruning_rate=pruning_rate).prune(inputs).kept_indices
        assert np.isin(needle, found).all()
        lost = FirstPhase(pruning_rate=pruning_rate).prune(inputs).kept_indices
        assert np.isin(needle, lost).mean() < 0.2


def test_what_is_kept_is_the_sentence_and_what_surrounds_it():
    inputs, needle = make_hour(0)
    kept = LateInteraction(pruning_rate=0.2).prune(inputs).kept_indices
    assert kept[0] < needle[0] - 100
    assert kept[-1] > needle[-1] + 100
    assert len(kept) == kept[-1] - kept[0] + 1 == 600
    np.testing.assert_array_equal(LateInteraction(pruning_rate=0.2).prune(make_hour(0)[0]).kept_indices, kept)
