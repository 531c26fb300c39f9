"""The speech to train on: labels against plain loops over time, and one recording rendered for real."""

import itertools
import math
import random
import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from speechprune.benchmarks.builder.espeak import Espeak, load_voices
from speechprune.benchmarks.builder.grammar import subject_words, vocabulary
from speechprune.benchmarks.builder.grammar_writer import GrammarWriter
from speechprune.benchmarks.builder.speech import Word
from speechprune.lab.training import corpus as module
from speechprune.lab.training import recorded_contexts
from speechprune.lab.training.blank_model import make_tokenizer
from speechprune.lab.training.config import CorpusOptions
from speechprune.lab.training.corpus import (
    BLANK,
    TOKEN_SECONDS,
    WORD_TOKENS,
    load_corpus,
    phone_labels,
    render_corpus,
    training_plans,
    word_labels,
)
from speechprune.lab.training.phones import NUM_PHONES, OTHER, PAUSE, PHONES, phone_class

TOKENIZER = make_tokenizer()


@st.composite
def spoken(draw, texts) -> tuple[Word, ...]:
    """Words one after another, some with a pause between them; in odd milliseconds: no ties."""
    moment, words = 0, []
    for text in draw(st.lists(texts, max_size=40)):
        begin = moment + 2 * draw(st.sampled_from([0, 0, 0, 50, 400])) + (1 - moment % 2)
        moment = begin + 2 * draw(st.integers(10, 400))
        words.append(Word(text=text, start=begin / 1000, end=moment / 1000))
    return tuple(words)


@given(words=spoken(st.sampled_from(vocabulary())))
def test_the_last_tokens_of_a_word_carry_its_label(words):
    num_windows = 2
    expected = []
    for token in range(750 * num_windows):
        begin, end = token * 0.04, (token + 1) * 0.04
        label = BLANK
        for word in words:  # the first that claims a token has it
            later_tokens = math.ceil(round(word.end / 0.04 - end / 0.04, 6))
            if word.start < end and word.end > begin and later_tokens < WORD_TOKENS:
                [label] = TOKENIZER.encode(word.text, add_special_tokens=False)
                break
        expected.append(label)
    labels = word_labels(words, num_windows, TOKENIZER)
    assert labels.shape == (num_windows, 750)
    assert labels.ravel().tolist() == expected


@given(phonemes=spoken(st.sampled_from([*PHONES, "_:", "'I", "??"])))
def test_every_position_has_the_phoneme_heard_in_its_middle(phonemes):
    labels = phone_labels(phonemes, 2)
    assert labels.shape == (2, 1500)
    for position, label in enumerate(labels.ravel()):
        middle = (position + 0.5) * 0.02
        hypothesis = [phoneme.text for phoneme in phonemes if phoneme.start <= middle < phoneme.end]
        assert label == (phone_class(hypothesis[0]) if hypothesis else PAUSE)


def test_phonemes_are_told_apart_and_stress_is_not():
    numbers = [phone_class(name) for name in PHONES]
    assert numbers == list(range(1, len(PHONES) + 1))
    assert phone_class("'eI") == phone_class(",eI") == phone_class("eI")
    assert phone_class("_:") == phone_class("") == phone_class("'") == PAUSE
    assert phone_class("no such sound") == OTHER == NUM_PHONES - 1


def test_plans_are_of_training_facts_and_voices_and_ask_about_every_fact():
    plans = training_plans(CorpusOptions(num_recordings=200), seed=3)
    assert training_plans(CorpusOptions(num_recordings=200), seed=3) == plans
    assert training_plans(CorpusOptions(num_recordings=200), seed=4) != plans
    assert len({plan.recording_id for plan in plans}) == len({plan.seed for plan in plans}) == 200
    assert {(plan.fact_group, plan.voice_group) for plan in plans} == {("training", "training")}
    places = Counter((plan.scenario, plan.topic, plan.subtopic) for plan in plans)
    assert set(places) == set(GrammarWriter().topics())
    assert max(places.values()) - min(places.values()) <= 1
    assert all(60 <= plan.seconds <= 95 for plan in plans)
    letters = Counter(itertools.chain.from_iterable(plan.letters for plan in plans))
    assert max(letters.values()) < 1.2 * min(letters.values())
    for plan in random.Random(0).sample(plans, 10):
        script = GrammarWriter().write(plan)
        assert len({(q.turn, q.sentence) for q in script.questions}) == len(plan.letters) in (8, 12)


@pytest.fixture(scope="module")
def rendered(one_process, tmp_path_factory):
    """Three recordings of half a minute in two parts."""
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("speech")
    options = CorpusOptions(num_recordings=3, min_seconds=25, max_seconds=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ProcessPoolExecutor", one_process)
        patch.setattr(module, "RECORDINGS_PER_PART", 2)
        parts = render_corpus(folder, options, 80, seed=1)
        assert [part.name for part in parts] == ["part-00000.npz", "part-00001.npz"]
        # what is there is not made again; what is missing is, and comes out the same
        before, stamp = dict(np.load(parts[1])), parts[0].stat().st_mtime_ns
        parts[1].unlink()
        assert render_corpus(folder, options, 80, seed=1) == parts
    assert parts[0].stat().st_mtime_ns == stamp
    assert all(np.array_equal(before[name], array) for name, array in np.load(parts[1]).items())
    assert sorted(folder.iterdir()) == parts
    return options, load_corpus(parts)


def test_a_rendered_corpus_fits_together(rendered):
    options, corpus = rendered
    plans = training_plans(options, seed=1)
    assert len(corpus.questions) == len(plans) == 3
    num_windows = np.diff(corpus.first_window)
    assert len(corpus.features) == len(corpus.word_labels) == len(corpus.phone_labels) == num_windows.sum()
    assert corpus.features.shape[1:] == (80, 3000)
    for number, plan in enumerate(plans):
        seconds = corpus.num_tokens[number] * TOKEN_SECONDS
        assert seconds == pytest.approx(plan.seconds, rel=0.1)
        assert num_windows[number] == math.ceil(seconds / 30)
        windows = slice(corpus.first_window[number], corpus.first_window[number + 1])
        silent = corpus.word_labels[windows].ravel()[corpus.num_tokens[number] + 1 :]
        assert (silent == BLANK).all()


def test_labels_of_a_rendered_recording_say_its_script(rendered):
    options, corpus = rendered
    for number, plan in enumerate(training_plans(options, seed=1)):
        windows = slice(corpus.first_window[number], corpus.first_window[number + 1])
        labels = corpus.word_labels[windows].ravel()
        hypothesis = [label for label, _ in itertools.groupby(labels.tolist()) if label != BLANK]
        sentences = [s for turn in GrammarWriter().write(plan).turns for s in turn.sentences]
        reference = [
            token_id
            for sentence in sentences
            for token_id in TOKENIZER.encode(
                "".join(c for c in sentence if c not in ",.?!"), add_special_tokens=False
            )
        ]
        # very short words may share their only token with a neighbour
        assert len(reference) - 3 <= len(hypothesis) <= len(reference)
        assert sum(label in reference for label in hypothesis) == len(hypothesis)


def test_sound_lies_where_the_labels_say(rendered):
    """Phonemes are louder than pauses, in the mel features of the same moment."""
    _, corpus = rendered
    loudness = corpus.features.astype(np.float32).mean(1).reshape(len(corpus.features), 1500, 2).mean(2)
    sounding = corpus.phone_labels != PAUSE
    for window in range(len(corpus.features)):
        if 0.2 < sounding[window].mean() < 0.95:
            assert (
                loudness[window][sounding[window]].mean() > loudness[window][~sounding[window]].mean() + 0.1
            )
    assert 0.4 < sounding.mean() < 0.9


def test_the_llm_reads_a_rendered_recording_with_its_questions(rendered, processor, table, monkeypatch):
    """An encoder without a fault: at every token the direction that its label wants."""
    options, corpus = rendered
    blank = processor.tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    wanted = np.where(corpus.word_labels == BLANK, blank, corpus.word_labels).astype(np.int64)
    by_features = {features.tobytes(): number for number, features in enumerate(corpus.features)}

    def embed_windows(_, features):
        return table[torch.from_numpy(wanted[[by_features[window.tobytes()] for window in features]])]

    monkeypatch.setattr(recorded_contexts, "embed_windows", embed_windows)
    directions = functional.normalize(table, dim=1)
    perfect = SimpleNamespace(directions=directions, blank_id=blank)
    contexts = recorded_contexts.RecordedContexts(perfect, corpus, lambda word: TOKENIZER.encode(word)[0])
    assert len(contexts) == 3
    for number, (context, plan) in enumerate(zip(contexts, training_plans(options, seed=1), strict=True)):
        script = GrammarWriter().write(plan)
        windows = slice(corpus.first_window[number], corpus.first_window[number + 1])
        labels = corpus.word_labels[windows].ravel()[: corpus.num_tokens[number]]
        assert np.array_equal(context.is_blank, labels == BLANK)
        assert np.abs(context.embeds - table[wanted[windows].ravel()[: len(labels)]].numpy()).max() < 0.01
        for question, asked in zip(script.questions, context.asked, strict=True):
            assert (asked.question, asked.choices, asked.answer) == (
                question.question,
                question.choices,
                question.answer,
            )
            reference = TOKENIZER.convert_ids_to_tokens(
                [x for x in labels[slice(*asked.fact_tokens)] if x != BLANK]
            )
            spoken = {word.lower() for word in re.findall(r"[A-Za-z']+", script.key_sentence(question))}
            assert len(spoken - set(reference)) <= 1  # a short word may share its only token with another
            assert len(set(reference) - {*spoken, "I"}) <= 1  # and so may the last of the sentence before
            [evidence] = {*TOKENIZER.convert_ids_to_tokens(labels[slice(*asked.evidence_tokens)])}
            value = question.choices["ABCD".index(question.answer)].lower()
            subject = " ".join(subject_words(question.question))
            assert evidence in {value, subject.split()[1]}
            behind = labels[asked.evidence_tokens[1] : asked.fact_tokens[1]]
            behind = TOKENIZER.convert_ids_to_tokens([label for label in behind if label != BLANK])
            assert not {value, *subject.split()} & set(behind)


def test_every_sound_of_the_training_voices_is_known():
    """Some phoneme outside the list is no harm; many would be."""
    pytest.importorskip("espeakng_loader")
    espeak = Espeak()
    text = " ".join(vocabulary()[::4])
    for accent in ("en-us", "en-gb-x-rp"):
        voice = next(v for v in load_voices() if v.name.startswith(f"{accent}+"))
        classes = [phone_class(sound.text) for sound in espeak.speak(text, voice).phonemes]
        assert classes.count(OTHER) < 0.01 * len(classes)
