"""What the LLM reads: pieces of recordings keep their labels, simulated ones follow their script."""

import difflib
import random
import re
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.benchmarks.builder.grammar import plain_word
from speechprune.benchmarks.builder.grammar_writer import GrammarWriter
from speechprune.lab.training import contexts as module
from speechprune.lab.training.contexts import (
    Context,
    ContextQuestion,
    Recordings,
    Simulator,
    evidence_tokens,
    thin,
)
from speechprune.lab.training.corpus import TOKENS_PER_WINDOW, plan_recording
from speechprune.lab.training.word_table import NORM


@st.composite
def numbered(draw) -> Context:
    """A context whose embeddings are the numbers of its tokens, so that every token can be found again."""
    length = draw(st.integers(1, 60))
    asked = []
    for number in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, length - 1))
        end = draw(st.integers(begin + 1, length))
        asked.append(
            ContextQuestion(
                f"question {number}", ("x", "y"), "A", (begin, end), (draw(st.integers(begin, end - 1)), end)
            )
        )
    blank = np.array(draw(st.lists(st.booleans(), min_size=length, max_size=length)))
    return Context(np.arange(length, dtype=np.float32)[:, None], blank, tuple(asked))


def tokens(context: Context, span: tuple[int, int]) -> list[int]:
    return context.embeds[slice(*span), 0].astype(int).tolist()


def check_piece(whole: Context, piece: Context) -> None:
    """Tokens in order with their blanks; the spans of each question hold those of its own that are left."""
    kept = piece.embeds[:, 0].astype(int)
    assert sorted(kept) == list(kept)
    assert np.array_equal(piece.is_blank, whole.is_blank[kept])
    by_question = {asked.question: asked for asked in whole.asked}
    for asked in piece.asked:
        before = by_question[asked.question]
        for span, own in (
            (asked.fact_tokens, before.fact_tokens),
            (asked.evidence_tokens, before.evidence_tokens),
        ):
            assert tokens(piece, span) == [token for token in kept if own[0] <= token < own[1]]


@given(context=numbered(), data=st.data())
def test_spans_move_with_the_tokens_that_are_kept(context, data):
    length = len(context.embeds)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=length, max_size=length)))
    piece = context.keep(kept)
    assert np.array_equal(piece.embeds[:, 0], np.flatnonzero(kept))
    check_piece(context, piece)
    answerable = [asked.question for asked in context.asked if kept[slice(*asked.evidence_tokens)].any()]
    assert [asked.question for asked in piece.asked] == answerable


@given(context=numbered(), data=st.data())
def test_a_window_keeps_the_questions_whose_fact_it_holds_whole(context, data):
    first = data.draw(st.integers(0, len(context.embeds) - 1))
    last = data.draw(st.integers(first + 1, len(context.embeds)))
    piece = context.window(first, last)
    assert piece.embeds[:, 0].tolist() == list(range(first, last))
    check_piece(context, piece)
    inside = [
        asked.question for asked in context.asked if set(range(*asked.fact_tokens)) <= set(range(first, last))
    ]
    assert [asked.question for asked in piece.asked] == inside


@given(context=numbered(), share=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 99))
def test_thinning_drops_blanks_alone_unless_told_otherwise(context, share, seed):
    piece = thin(context, np.random.default_rng(seed), share, 0.0)
    check_piece(context, piece)
    words = np.flatnonzero(~context.is_blank)
    assert np.isin(words, piece.embeds[:, 0]).all()
    if share == 1:
        assert np.array_equal(piece.embeds[:, 0], words)
    if share == 0:
        assert np.array_equal(piece.embeds, context.embeds)


def test_thinning_drops_the_shares_asked_for():
    blank = np.arange(20_000) % 4 != 0
    context = Context(np.arange(20_000, dtype=np.float32)[:, None], blank, ())
    for blank_share, any_share in ((0.3, 0.0), (0.3, 0.5), (0.0, 0.4)):
        piece = thin(context, np.random.default_rng(0), blank_share, any_share)
        words = (~piece.is_blank).sum() / (~blank).sum()
        assert words == pytest.approx(1 - any_share, abs=0.02)
        assert piece.is_blank.sum() / blank.sum() == pytest.approx(
            (1 - blank_share) * (1 - any_share), abs=0.02
        )


@given(
    choices=st.permutations(["red", "blue", "green", "black"]),
    letter=st.sampled_from("ABCD"),
    seed=st.integers(0, 99),
)
def test_shuffled_choices_keep_the_right_answer(choices, letter, seed):
    asked = ContextQuestion("What colour?", tuple(choices), letter, (3, 9), (7, 9))
    shuffled = asked.shuffled(random.Random(seed))
    assert sorted(shuffled.choices) == sorted(choices)
    assert shuffled.choices["ABCD".index(shuffled.answer)] == choices["ABCD".index(letter)]
    assert (shuffled.fact_tokens, shuffled.evidence_tokens) == ((3, 9), (7, 9))


def test_shuffling_spreads_the_right_letter_evenly():
    asked = ContextQuestion("What colour?", ("red", "blue", "green", "black"), "B", (3, 9), (7, 9))
    letters = [asked.shuffled(random.Random(seed)).answer for seed in range(2000)]
    assert all(letters.count(letter) == pytest.approx(500, abs=80) for letter in "ABCD")


def decoded_words(simulator: Simulator, context: Context, span: tuple[int, int] | None = None) -> list[str]:
    """Nearest direction at every token, repeats joined, blanks left out."""
    embeds = context.embeds[slice(*span)] if span else context.embeds
    words = {token_id: word for word, token_id in simulator.ids.items()}
    nearest = (embeds @ simulator.table.T).argmax(1)
    return [words[token_id] for token_id, _ in groupby(nearest) if token_id != simulator.blank_id]


@pytest.fixture
def clear(monkeypatch):
    """An encoder without errors."""
    monkeypatch.setattr(module, "LOST_SHARE", 0.0)
    monkeypatch.setattr(module, "CONFUSED_SHARE", 0.0)
    monkeypatch.setattr(module, "NOISE", (0.01, 0.02))


def scripts(num: int):
    writer, rng = GrammarWriter(), random.Random(5)
    return [writer.write(plan_recording(rng, rng.choice(writer.topics()), 30.0, "test")) for _ in range(num)]


def test_a_simulated_recording_says_its_script(simulator, clear):
    for script in scripts(4):
        context = simulator.simulate(script, np.random.default_rng(0))
        texts = [sentence for turn in script.turns for sentence in turn.sentences]
        reference = [plain_word(word) for text in texts for word in re.findall(r"[\w']+", text)]
        assert decoded_words(simulator, context) == [word for word, _ in groupby(reference)]
        np.testing.assert_allclose(np.linalg.norm(context.embeds, axis=1), NORM, rtol=1e-4)
        nearest = (context.embeds @ simulator.table.T).argmax(1)
        assert np.array_equal(context.is_blank, nearest == simulator.blank_id)
        assert 0.4 < context.is_blank.mean() < 0.9


def test_spans_of_a_simulated_recording_hold_the_fact_and_the_word_that_tells_it(simulator, clear):
    for script in scripts(6):
        context = simulator.simulate(script, np.random.default_rng(1))
        for question, asked in zip(script.questions, context.asked, strict=True):
            sentence = [plain_word(word) for word in re.findall(r"[\w']+", script.key_sentence(question))]
            assert decoded_words(simulator, context, asked.fact_tokens) == sentence
            [evidence] = decoded_words(simulator, context, asked.evidence_tokens)
            value = question.choices["ABCD".index(question.answer)].lower()
            subject = next(
                a for a, b in pairwise(sentence) if f"{a} {b}" in question.question.lower() and a != "the"
            )
            behind = sentence[len(sentence) - sentence[::-1].index(evidence) :]
            assert evidence in {value, sentence[sentence.index(subject) + 1]}
            assert not {subject, value} & set(behind)
            assert (asked.question, asked.choices, asked.answer) == (
                question.question,
                question.choices,
                question.answer,
            )


@given(
    words=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8),
    wanted=st.sets(st.sampled_from("abcdef")),
)
def test_the_telling_word_is_the_last_that_is_wanted(words, wanted):
    reference = [(word, (3 * number, 3 * number + 2)) for number, word in enumerate(words)]
    places = [number for number, word in enumerate(words) if word in wanted]
    last = places[-1] if places else len(words) - 1
    assert evidence_tokens(reference, sorted(wanted)) == (3 * last, 3 * last + 2)


def test_lost_and_confused_words_are_as_many_as_meant(simulator, monkeypatch):
    monkeypatch.setattr(module, "NOISE", (0.01, 0.02))
    num_reference = num_decoded = num_right = 0
    for number, script in enumerate(scripts(10)):
        texts = [sentence for turn in script.turns for sentence in turn.sentences]
        reference = [plain_word(word) for text in texts for word in re.findall(r"[\w']+", text)]
        hypothesis = decoded_words(simulator, simulator.simulate(script, np.random.default_rng(number)))
        num_reference, num_decoded = num_reference + len(reference), num_decoded + len(hypothesis)
        matching = difflib.SequenceMatcher(None, reference, hypothesis, autojunk=False).get_matching_blocks()
        num_right += sum(block.size for block in matching)
    assert 1 - num_decoded / num_reference == pytest.approx(module.LOST_SHARE, abs=0.015)
    assert 1 - num_right / num_reference == pytest.approx(module.LOST_SHARE + module.CONFUSED_SHARE, abs=0.02)


def test_simulated_contexts_grow_from_short_and_dense_to_recordings(simulator):
    def drawn(share):
        rng, generator = random.Random(1), np.random.default_rng(1)
        return [simulator.draw(share, rng, generator) for _ in range(12)]

    early, late = drawn(0.0), drawn(1.0)
    assert np.mean([context.is_blank.mean() for context in early]) < 0.1
    assert np.mean([context.is_blank.mean() for context in late]) > 0.4
    assert np.mean([len(c.embeds) for c in late]) > 3 * np.mean([len(c.embeds) for c in early])


def test_drawn_pieces_of_recordings_are_windows_thinned_or_whole():
    rng, generator = random.Random(0), np.random.default_rng(0)
    length = 2200
    asked = ContextQuestion("question", ("x", "y"), "A", (1000, 1040), (1030, 1040))
    whole = Context(np.arange(length, dtype=np.float32)[:, None], np.arange(length) % 5 != 0, (asked,))
    recordings = Recordings([whole])
    kinds = {"window": 0, "thinned": 0, "whole": 0}
    for _ in range(400):
        draw = recordings.choose(rng)
        piece = draw(rng, generator)
        check_piece(whole, piece)
        places = piece.embeds[:, 0]
        if len(piece.embeds) == length:
            kinds["whole"] += 1
        elif (np.diff(places) == 1).all():
            assert TOKENS_PER_WINDOW // 3 <= len(piece.embeds) <= TOKENS_PER_WINDOW
            kinds["window"] += 1
        else:
            kinds["thinned"] += 1
    shares = {name: number / 400 for name, number in kinds.items()}
    assert shares == pytest.approx(
        {
            "window": module.WINDOW_SHARE,
            "thinned": module.THINNED_SHARE,
            "whole": 1 - module.WINDOW_SHARE - module.THINNED_SHARE,
        },
        abs=0.08,
    )
