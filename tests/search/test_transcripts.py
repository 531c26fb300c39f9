"""Search for words in the transcripts of a cascade, and its fusion with late interaction."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from speechprune.config import ConfigError
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.data.index_files import WindowsDirectory, stored_parts
from speechprune.search.config import SearchOptions
from speechprune.search.inputs import check_words
from speechprune.search.transcripts import bm25, fuse, search_transcripts


def test_bm25_is_that_of_a_loop():
    """Robertson's weights as Lucene has them, k1 = 1.5, b = 0.75."""
    pytest.importorskip("bm25s")
    texts = ["The budget review, the budget.", "A garden party on Monday", ""]
    split = [["the", "budget", "review", "the", "budget"], ["garden", "party", "on", "monday"], []]
    query = ["budget", "party", "nobody"]
    mean = np.mean([len(words) for words in split])
    expected = [
        sum(
            np.log(1 + (3 - df + 0.5) / (df + 0.5)) * tf / (tf + 1.5 * (0.25 + 0.75 * len(words) / mean))
            for df, tf in ((sum(word in one for one in split), words.count(word)) for word in query)
            if tf
        )
        for words in split
    ]
    [scores] = bm25(texts, ["Budget party, nobody?"])
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert not bm25(["", ""], ["budget"]).any()


def test_ranks_are_fused():
    first = np.array([[3.0, 2.0, -np.inf, -np.inf]])
    second = np.array([[1.0, 5.0, 4.0, -np.inf]])
    expected = [[1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 63 + 1 / 62, 1 / 63 + 1 / 64]]
    np.testing.assert_allclose(fuse(first, second), expected)


VOCABULARY = ["budget", "party", "review", "garden"]


def window(recording: str, number: int, words: str, start: float) -> dict:
    ids = [VOCABULARY.index(word) for word in words.split()]
    times = start + np.arange(len(ids) + 1.0)
    return {
        "recording": recording,
        "version": "1",
        "shard": 0,
        "num_shards": 1,
        "window": number,
        "num_tokens": len(ids),
        "start_seconds": start,
        "end_seconds": start + 30,
        "states": np.array(ids, "<i4").tobytes(),
        "dtype": "int32",
        "width": 1,
        "token_times": np.column_stack([times[:-1], times[1:]]).tobytes(),
    }


@pytest.mark.parametrize(("span", "expected"), [((0.0, np.inf), (30.0, 32.0)), ((31.0, 60.0), (31.0, 32.0))])
def test_a_recording_is_found_by_its_best_window(tmp_path, monkeypatch, span, expected):
    pytest.importorskip("bm25s")
    tokenizer = SimpleNamespace(decode=lambda ids: " ".join(VOCABULARY[i] for i in ids))
    monkeypatch.setattr("speechprune.search.transcripts.load_transcript_tokenizer", lambda model: tokenizer)
    directory = WindowsDirectory(str(tmp_path))
    rows = [
        window("a", 0, "party garden party", 0.0),
        window("a", 1, "budget review", 30.0),
        window("b", 0, "garden", 0.0),
        window("c", 0, "", 0.0),
    ]
    for name in "abc":
        own = [row for row in rows if row["recording"] == name]
        directory.write(pa.Table.from_pylist(own, WINDOWS_SCHEMA))
    executor = SimpleNamespace(
        submit=lambda call, *values: call(*values), get=lambda value: value, model=None
    )
    stored = stored_parts(directory.contents())
    scores, matches = search_transcripts(executor, stored, ["the review?"], span)
    assert [uri for uri in stored if matches[uri] != [()]] == ["a"]
    [[match]] = matches["a"]
    assert (match.start, match.end) == expected
    assert np.isneginf(scores).tolist() == [[uri != "a" for uri in stored]]


def test_only_a_cascade_has_transcripts(tiny_lm):
    check_words(SearchOptions(index="index"), tiny_lm.model.shape)
    with pytest.raises(ConfigError, match="writes no transcripts"):
        check_words(SearchOptions(index="index", words="only"), tiny_lm.model.shape)
