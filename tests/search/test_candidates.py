"""Candidates of a search against a loop over decoded tokens."""

import numpy as np
import pyarrow as pa
import pytest

from speechprune.data.inverted_lists import SHARDS_SCHEMA, merge_segments, write_segment
from speechprune.data.token_codec import (
    centroids_of,
    choose_lists,
    empty_index,
    encode_tokens,
    learn_codec,
    token_vectors,
)
from speechprune.data.word_statistics import WordStatistics
from speechprune.search.approximate import questions_of_shards
from speechprune.search.candidates import CodedBlocks, find_candidates, find_matches
from speechprune.search.words import QueryWords

pytest.importorskip("faiss")

BLOCK = 7
LENGTHS = (40, 3, 0, 21, 22)  # tokens of each shard; the first two are of one recording
SHARDS = [("a", "1", 0), ("a", "1", 1), ("b", "1", 0), ("c", "1", 0), ("d", "1", 0)]
RNG = np.random.default_rng(3)


def window(num_tokens: int) -> dict:
    return {
        "num_tokens": num_tokens,
        "states": RNG.normal(size=(num_tokens, 10)).astype("<f2").tobytes(),
        "dtype": "float16",
        "width": 10,
        "scales": None,
        "norms": RNG.uniform(1, 2, num_tokens).tolist(),
    }


WINDOWS = [window(num_tokens) for num_tokens in LENGTHS]
WORDS = QueryWords(
    token_ids=np.arange(5),
    directions=RNG.normal(size=(5, 10)).astype(np.float32),
    offsets=RNG.normal(size=5).astype(np.float32),
    of_query=[np.array([0, 1, 3]), np.array([2, 3, 4])],
)
VECTORS = np.column_stack([WORDS.directions, WORDS.offsets])
STATISTICS = WordStatistics(10, np.full(5, 2.0), np.full(5, 20.0))


@pytest.fixture(scope="module")
def codec():
    return learn_codec(token_vectors(window(600)), 200)


def test_the_product_of_two_vectors_is_the_cosine():
    states = np.frombuffer(WINDOWS[0]["states"], "<f2").reshape(-1, 10).astype(np.float32)
    expected = WORDS.cosines(states, np.array(WINDOWS[0]["norms"], np.float32))
    vectors = token_vectors(WINDOWS[0])
    np.testing.assert_allclose(vectors[:, :11] @ VECTORS.T, expected, atol=1e-5)
    assert not vectors[:, 11:].any()


@pytest.fixture
def _all_lists(monkeypatch):
    monkeypatch.setattr("speechprune.data.token_codec.NUM_PROBES", 1000)


def segment(folder, codec, places):
    """Code some shards, as one segment."""
    centroids = centroids_of(empty_index(codec))
    rows, every, first = [], [], 0
    for shard, own in ((SHARDS[i], WINDOWS[i]) for i in places):
        lists, codes = encode_tokens(empty_index(codec), centroids, [own])
        num_blocks = max(1, -(-len(lists) // BLOCK))
        rows.append(dict(zip(SHARDS_SCHEMA.names, (*shard, len(lists), num_blocks), strict=True)))
        every.append((lists, first + np.arange(len(lists)) // BLOCK, codes))
        first += num_blocks
    table = pa.Table.from_pylist(rows, SHARDS_SCHEMA)
    return write_segment(str(folder), table, *map(np.concatenate, zip(*every, strict=True)), len(centroids))


def candidates(codec, segments, searched, num_recordings):
    coded = CodedBlocks.of(segments, searched)
    matches = [find_matches(coded, codec, some) for some in (VECTORS[:2], VECTORS[2:])]
    return find_candidates(coded, matches, WORDS, STATISTICS, num_recordings)


@pytest.mark.usefixtures("_all_lists")
@pytest.mark.parametrize("num_recordings", [1, 3])
def test_candidates_are_those_of_a_loop_over_decoded_tokens(tmp_path, codec, num_recordings):
    index = empty_index(codec)
    centroids = centroids_of(index)
    parts = [segment(tmp_path, codec, [0, 1, 2]), segment(tmp_path, codec, [3, 4])]
    found = candidates(codec, parts, SHARDS, num_recordings)
    for query, hits in zip(WORDS.of_query, found, strict=True):
        expected = {}
        for shard, own in zip(SHARDS, WINDOWS, strict=True):
            if own["num_tokens"]:
                lists, codes = encode_tokens(index, centroids, [own])
                decoded = (centroids[lists] + index.pq.decode(codes))[:, :11]
                z = (decoded @ VECTORS.T - STATISTICS.mean) / STATISTICS.deviation
                blocks = [z[i : i + BLOCK].max(axis=0) for i in range(0, len(z), BLOCK)]
                pairs = [(i, min(i + 1, len(blocks) - 1)) for i in range(max(1, len(blocks) - 1))]
                expected[shard] = max(
                    (np.maximum(blocks[i], blocks[j])[query].clip(min=0) ** 2).sum() for i, j in pairs
                )
        ranked = sorted(expected, key=expected.__getitem__, reverse=True)
        recordings = list(dict.fromkeys(shard[0] for shard in ranked))[:num_recordings]
        assert {shard[0] for _, shard in hits} == set(recordings)
        assert [shard for _, shard in hits] == ranked[: len(hits)]
        assert all(shard[0] not in recordings for shard in ranked[len(hits) : len(hits) + 1])
        assert [score for score, _ in hits] == pytest.approx([expected[shard] for _, shard in hits], rel=1e-4)


def test_a_merged_segment_finds_the_same_without_what_is_gone(tmp_path, codec):
    parts = [segment(tmp_path, codec, [0, 1, 2]), segment(tmp_path, codec, [3, 4])]
    merged = merge_segments(parts, SHARDS)
    assert merged.shards == SHARDS
    assert candidates(codec, [merged], SHARDS, 3) == candidates(codec, parts, SHARDS, 3)
    left = [SHARDS[1], SHARDS[4]]
    merged = merge_segments(parts, left)
    assert (merged.shards, merged.num_tokens) == (left, 25)
    assert candidates(codec, [merged], SHARDS, 3) == candidates(codec, parts, left, 3)


def test_a_word_that_has_enough_tokens_gets_no_more_lists(codec, monkeypatch):
    centroids = centroids_of(empty_index(codec))
    lengths = np.full(len(centroids), 10)
    lists, products = choose_lists(centroids, VECTORS, lengths)
    best = np.sort(-(np.pad(VECTORS, ((0, 0), (0, centroids.shape[1] - 11))) @ centroids.T), axis=1)
    np.testing.assert_allclose(-products, best[:, : lists.shape[1]], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("speechprune.data.token_codec.TOKENS_PER_WORD", 25)
    fewer, _ = choose_lists(centroids, VECTORS, lengths)
    np.testing.assert_array_equal(fewer[:, :3], lists[:, :3])
    assert (fewer[:, 3:] == -1).all()
    two, _ = choose_lists(centroids, VECTORS, 100 * lengths)
    np.testing.assert_array_equal(two[:, :2], lists[:, :2])
    assert (two[:, 2:] == -1).all()


def test_shards_are_scanned_for_the_questions_that_they_may_answer():
    a, b, c, new = (("abcn"[i], "1", 0) for i in range(4))
    found = [[(4.0, b), (3.0, a)], [(5.0, c), (4.0, b)]]
    asked = questions_of_shards(found, {a, b, c}, {a, b, c, new})
    assert asked == {new: [0, 1], b: [0, 1], a: [0], c: [1]}
