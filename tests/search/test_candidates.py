"""Candidates of a search against a loop over decoded tokens."""

import numpy as np
import pyarrow as pa
import pytest

from speechprune.data.search_codes import CODES_SCHEMA, SearchCodes
from speechprune.data.token_codec import empty_index, encode_tokens, learn_codec, token_vectors
from speechprune.search.approximate import questions_of_shards
from speechprune.search.candidates import Candidates, find_candidates
from speechprune.search.scan import WordStatistics
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
    directions=RNG.normal(size=(5, 10)).astype(np.float32),
    offsets=RNG.normal(size=5).astype(np.float32),
    of_query=[np.array([0, 1, 3]), np.array([2, 3, 4])],
)
STATISTICS = WordStatistics(10, np.full(5, 2.0), np.full(5, 20.0))


@pytest.fixture(scope="module")
def codec():
    return learn_codec(token_vectors(window(600)), 200)


def test_the_product_of_two_vectors_is_the_cosine():
    states = np.frombuffer(WINDOWS[0]["states"], "<f2").reshape(-1, 10).astype(np.float32)
    expected = WORDS.cosines(states, np.array(WINDOWS[0]["norms"], np.float32))
    vectors = token_vectors(WINDOWS[0])
    words = np.column_stack([WORDS.directions, WORDS.offsets])
    np.testing.assert_allclose(vectors[:, :11] @ words.T, expected, atol=1e-5)
    assert not vectors[:, 11:].any()


def write(codes, codec):
    index = empty_index(codec)
    rows = [
        dict(zip(CODES_SCHEMA.names, (*shard, encode_tokens(index, [own])), strict=True))
        for shard, own in zip(SHARDS, WINDOWS, strict=True)
    ]
    codes.write(codec, pa.Table.from_pylist(rows, CODES_SCHEMA))
    return index


@pytest.mark.parametrize("num_recordings", [1, 3])
def test_candidates_are_those_of_a_loop_over_decoded_tokens(tmp_path, codec, num_recordings):
    codes = SearchCodes(str(tmp_path))
    index = write(codes, codec)
    found = find_candidates(codes.files(codec), SHARDS, codec, WORDS, STATISTICS, BLOCK, num_recordings)
    assert found.coded == SHARDS
    words = np.column_stack([WORDS.directions, WORDS.offsets])
    for query, hits in zip(WORDS.of_query, found.of_query, strict=True):
        expected = {}
        for shard, own in zip(SHARDS, WINDOWS, strict=True):
            if own["num_tokens"]:
                decoded = index.sa_decode(index.sa_encode(token_vectors(own)))[:, :11]
                z = (decoded @ words.T - STATISTICS.mean) / STATISTICS.deviation
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


def test_candidates_are_taken_from_the_searched_shards_alone(tmp_path, codec):
    codes = SearchCodes(str(tmp_path))
    write(codes, codec)
    found = find_candidates(codes.files(codec), SHARDS[3:], codec, WORDS, STATISTICS, BLOCK, 1)
    assert found.coded == SHARDS[3:]
    assert all(shard in SHARDS[3:] for [(_, shard)] in found.of_query)


def test_shards_are_scanned_for_the_questions_that_they_may_answer():
    a, b, c, gone, new = (("abcgn"[i], "1", 0) for i in range(5))
    found = [
        Candidates([a, gone], [[(9.0, gone), (3.0, a)], [(1.0, a)]]),
        Candidates([b, c], [[(4.0, b), (2.0, c)], [(5.0, c), (4.0, b)]]),
    ]
    asked = questions_of_shards(found, {a, b, c, new}, num_questions=2, num_candidates=2)
    assert asked == {new: [0, 1], b: [0, 1], a: [0], c: [1]}
