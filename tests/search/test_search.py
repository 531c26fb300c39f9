"""Search against plain loops over projected embeddings: words, scan, scores, recall."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from speechprune.data.word_statistics import WordStatistics
from speechprune.index.vocabulary import measure_vocabulary
from speechprune.inference.encode import encode_recordings
from speechprune.inference.types import AnsweringOptions
from speechprune.pruning.late_interaction import block_tokens, match_words
from speechprune.search.recall import (
    TranscriptsError,
    bag_of_words_scores,
    ranks_of,
    read_transcripts,
    recall,
    recall_of_chance,
)
from speechprune.search.scan import NOT_SCORED, Scan, scan, score
from speechprune.search.words import encode_query_words
from tests.helpers.stored_windows import stored_windows

QUESTIONS = [("When is the budget review?", ["Monday", "Friday"]), ("Who leads the review?", None)]
OPTIONS = AnsweringOptions()


@pytest.fixture(scope="module")
def words(tiny_lm):
    return encode_query_words(tiny_lm.model, QUESTIONS, OPTIONS)


def test_cosines_in_the_space_of_states_are_those_of_projected_embeddings(tiny_lm, speech, words):
    """cos(P x + b, T_v), one pair at a time in float64."""
    samples = speech(7.0)
    [row] = stored_windows(tiny_lm, samples)
    [audio] = encode_recordings(tiny_lm.model, [samples], [0.0])
    S = audio.embeds.double()
    ids = sorted({i for q, c in QUESTIONS for i in query_ids(tiny_lm, q, c)})
    assert len(words.offsets) == len(ids)
    T = tiny_lm.model.embed_tokens(ids).double()
    expected = torch.nn.functional.cosine_similarity(S[:, None], T[None], dim=-1).numpy()
    states = np.frombuffer(row["states"], "<f2").reshape(row["num_tokens"], -1).astype(np.float32)
    np.testing.assert_allclose(words.cosines(states, np.array(row["norms"], np.float32)), expected, atol=2e-3)


def query_ids(lm, question, choices):
    from speechprune.inference.prompts import prompt_of

    prompt = prompt_of(lm.model, question, choices, OPTIONS)
    return prompt.query_ids(OPTIONS.query_text)


@pytest.mark.parametrize("seconds", [3.0, 64.0])
def test_a_scan_finds_what_late_interaction_finds_in_the_whole_recording(tiny_lm, speech, words, seconds):
    samples = speech(seconds)
    size = block_tokens(tiny_lm.model.shape.token_rate)
    found = scan(stored_windows(tiny_lm, samples), words, size)
    [audio] = encode_recordings(tiny_lm.model, [samples], [0.0])
    times = [audio.times[i : i + size] for i in range(0, len(audio.times), size)]
    np.testing.assert_array_equal(found.times, [[block[0, 0], block[-1, 1]] for block in times])
    for (question, choices), own in zip(QUESTIONS, words.of_query, strict=True):
        ids = query_ids(tiny_lm, question, choices)
        T = tiny_lm.model.embed_tokens(ids)
        [matches] = match_words(audio.embeds, [T], [ids], tiny_lm.model.shape.token_rate)
        # its words come in another order
        expected = np.sort(matches.best_cosines, axis=1)
        np.testing.assert_allclose(np.sort(found.maxima[:, own], axis=1), expected, atol=3e-3)


COSINES = st.integers(1, 30).flatmap(
    lambda n: st.lists(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2), min_size=n, max_size=n)
)


@given(st.lists(COSINES, min_size=1, max_size=4), st.integers(1, 8), st.sampled_from([12.5, 25]))
def test_scores_are_those_of_a_loop_over_the_whole_archive(archive, size, token_rate):
    """z over all windows of all recordings, then the best window of each."""
    scans, windows = [], []
    for cosines in archive:
        blocks = [np.array(cosines[i : i + size]) for i in range(0, len(cosines), size)]
        maxima = np.array([block.max(axis=0) for block in blocks], np.float32)
        means = np.array([block.mean(axis=0) for block in blocks], np.float32)
        ends = [min(begin + size, len(cosines)) for begin in range(0, len(cosines), size)]
        times = np.array([(number * size, end) for number, end in enumerate(ends)]) / token_rate
        scans.append(Scan(maxima, means, times))
        pairs = [(i, min(i + 1, len(blocks) - 1)) for i in range(max(1, len(blocks) - 1))]
        windows.append(np.array([np.maximum(maxima[i], maxima[j]) for i, j in pairs], np.float64))
    every = np.concatenate(windows)
    parts = [WordStatistics.of(one.maxima) for one in scans]
    statistics = sum(parts[1:], start=parts[0])
    np.testing.assert_allclose(statistics.deviation, every.std(axis=0), atol=1e-6)
    words = np.array([0, 1])
    for one, own in zip(scans, windows, strict=True):
        expected = [
            sum(
                max(0.0, (m[v] - statistics.mean[v]) / max(statistics.deviation[v], 1e-12)) ** 2
                for v in words
            )
            for m in own
        ]
        result = score(one, words, statistics)
        assert result.late_interaction == pytest.approx(max(expected), rel=1e-6, abs=1e-9)
        best = int(np.argmax(expected))
        assert result.matches[0].start == best * size / token_rate
        assert result.matches[0].end == one.times[min(best + 1, len(one.times) - 1), 1]


def test_statistics_of_the_vocabulary_are_those_of_its_words_in_scans(tiny_lm, speech, words, monkeypatch):
    monkeypatch.setattr("speechprune.index.vocabulary._WORDS_PER_PRODUCT", 50)
    windows = stored_windows(tiny_lm, speech(64.0))
    size = block_tokens(tiny_lm.model.shape.token_rate)
    parts = [WordStatistics.of(scan([window], words, size).maxima) for window in windows]
    expected = sum(parts[1:], start=parts[0])
    found = measure_vocabulary(tiny_lm.model, windows, size)
    assert len(found.sums) == len(tiny_lm.model.language_model.embedding.weight)
    assert found.num_windows == expected.num_windows
    np.testing.assert_allclose(found[words.token_ids].mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(found[words.token_ids].deviation, expected.deviation, atol=1e-5)


def test_a_recording_without_sound_is_last():
    empty = Scan(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), np.zeros((0, 2)))
    one = WordStatistics(1, np.zeros(2), np.zeros(2))
    assert score(empty, np.array([0, 1]), one) is NOT_SCORED


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_ranks_are_places_in_a_stable_sort(num_questions, num_recordings, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (num_questions, num_recordings)).astype(float)  # many ties
    gold = rng.integers(0, num_recordings, num_questions)
    expected = [
        list(np.argsort(-row, kind="stable")).index(g) + 1 for row, g in zip(scores, gold, strict=True)
    ]
    assert ranks_of(scores, gold).tolist() == expected


def test_recall_and_chance():
    assert recall(np.array([1, 2, 5, 21])) == {"recall_at_1": 0.25, "recall_at_5": 0.75, "recall_at_20": 0.75}
    assert recall_of_chance(10) == {"recall_at_1": 0.1, "recall_at_5": 0.5, "recall_at_20": 1.0}


def test_words_of_transcripts_find_their_own():
    said = ["the budget review is on monday", "the garden party is on friday", "nothing of interest"]
    scores = bag_of_words_scores(["When is the budget review?", "When is the garden party?"], said)
    assert ranks_of(scores, np.array([0, 1])).tolist() == [1, 1]


def test_tf_idf_is_that_of_scikit_learn():
    said = [
        "the Budget, the review is on Monday",
        "don't: über naïve 42, a b",
        "the garden party",
        "42 42 party",
    ]
    queries = ["the über party", "budget budget review 42", "unknown words alone", ""]
    vectorizer = TfidfVectorizer()
    transcripts = vectorizer.fit_transform(said)
    expected = (vectorizer.transform(queries) @ transcripts.T).toarray()
    assert bag_of_words_scores(queries, said) == pytest.approx(expected, abs=1e-12)


def test_transcripts_that_are_missing_are_named(tmp_path):
    path = tmp_path / "transcripts.jsonl"
    with pytest.raises(TranscriptsError, match="can't be read"):
        read_transcripts(str(path), ["a.wav"])
    path.write_text('{"recording_id": "a", "turns": [{"sentences": [{"text": "Hello."}, {"text": "You."}]}]}')
    assert read_transcripts(str(path), ["s3://x/a.wav"]) == {"s3://x/a.wav": "Hello. You."}
    with pytest.raises(TranscriptsError, match="no transcript of b"):
        read_transcripts(str(path), ["a.wav", "b.wav"])
