"""Measuring a model: every item on every arm once, continued where it was stopped, errors plainly counted."""

import copy
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechprune import SpeechLM
from speechprune.audio import SAMPLE_RATE
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.no_audio import answer_without_audio
from speechprune.lab.training import measure as module
from speechprune.lab.training.measure import RATED_METHODS, make_arms, measure, read_aloud, word_errors
from speechprune.lab.training.train import save_checkpoint
from speechprune.pruning import METHODS

SECONDS = {"one": 3.0, "two": 31.0, "three": 4.0}
SAID = ["the", "security", "review", "is", "on", "Monday"]
QUESTION = "When is the {} review?"
CHOICES = ["Monday", "Friday", "Sunday", "Tuesday"]


@pytest.fixture(scope="module")
def lm(untouched_model, processor, tmp_path_factory) -> SpeechLM:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(copy.deepcopy(untouched_model), processor, folder)
    options = {"dtype": "float32", "device": "cpu", "encoder_batch_size": 2, "prefill_batch_tokens": 8000}
    return SpeechLM.from_pretrained(str(folder), **options)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory) -> Path:
    """Three recordings of noise, the second with two questions; the last by voices unseen in training."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "audio").mkdir(parents=True)
    rng = np.random.default_rng(0)
    items, transcripts = [], []
    for number, (name, seconds) in enumerate(SECONDS.items()):
        samples = rng.integers(-5000, 5000, round(seconds * SAMPLE_RATE), dtype=np.int16)
        soundfile.write(folder / "audio" / f"{name}.flac", samples, SAMPLE_RATE)
        transcripts.append({"recording_id": name, "words": [{"text": word} for word in SAID]})
        for question in range(2 if name == "two" else 1):
            items.append(
                {
                    "item_id": f"{name}-{question}",
                    "audio": f"audio/{name}.flac",
                    "question": QUESTION.format(
                        ("security", "mobile", "design", "customer")[number + question]
                    ),
                    "choices": CHOICES,
                    "answer": "ABCD"[len(items)],
                    "voice_group": "held_out" if name == "three" else "training",
                }
            )
    for name, rows in (("manifest", items), ("transcripts", transcripts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def items_of(benchmark: Path) -> list[dict]:
    return [json.loads(line) for line in (benchmark / "manifest.jsonl").read_text().splitlines()]


def test_the_arms_are_those_of_the_paper_and_the_two_baselines():
    arms = [(arm.name, arm.pruning_rate) for arm in make_arms()]
    rated = [
        (name, rate)
        for name in ("random", "random_crop", "first_phase", "second_phase", "speechprune")
        for rate in (0.2, 0.4, 0.6, 0.8)
    ]
    assert sorted(arms, key=str) == sorted(
        [("no_audio", None), ("truncate", None), ("none", None), *rated], key=str
    )
    for arm in make_arms():
        assert arm.method.name == arm.name
        if arm.pruning_rate is not None:
            assert arm.method.pruning_rate == arm.pruning_rate
            assert arm.method.num_kept(2250) == round((1 - arm.pruning_rate) * 750)


@pytest.fixture(scope="module")
def rows(lm, benchmark, tmp_path_factory) -> list[dict]:
    return measure(lm, benchmark, tmp_path_factory.mktemp("work"))


def test_every_item_is_answered_once_on_every_arm(rows, benchmark):
    answered = Counter((row["item_id"], row["arm"], row["pruning_rate"]) for row in rows if "arm" in row)
    arms = [(arm.name, arm.pruning_rate) for arm in make_arms()] + [("transcript", None)]
    items = items_of(benchmark)
    assert answered == Counter((item["item_id"], *arm) for item in items for arm in arms)
    groups = {item["item_id"]: item["voice_group"] for item in items}
    assert all(row["voice_group"] == groups[row["item_id"]] for row in rows if "arm" in row)
    counted = [row for row in rows if "num_words" in row]
    assert [(row["voice_group"], row["num_words"]) for row in counted] == [
        ("training", 6),
        ("training", 6),
        ("held_out", 6),
    ]
    assert len(rows) == len(items) * len(arms) + 3


def test_right_and_wrong_are_those_of_the_answers_themselves(rows, lm, benchmark):
    correct = {
        (row["item_id"], row["arm"], row["pruning_rate"]): row["correct"] for row in rows if "arm" in row
    }
    items = items_of(benchmark)
    encoded = {item["audio"]: lm.encode(str(benchmark / item["audio"])) for item in items}
    methods = {("none", None): METHODS["none"](), ("truncate", None): METHODS["truncate"]()} | {
        (name, rate): METHODS[name](pruning_rate=rate)
        for name in RATED_METHODS
        for rate in (0.2, 0.8)
        if not name.startswith("random")
    }

    def check(arm, answers):
        for item, answer in zip(items, answers, strict=True):
            assert correct[item["item_id"], *arm] == (answer.prediction == item["answer"])

    for arm, method in methods.items():
        asked = [(encoded[item["audio"]], item["question"], item["choices"]) for item in items]
        check(arm, lm.answer_many(asked, method=method))
    evidence = [(read_aloud(lm, SAID), item["question"], item["choices"]) for item in items]
    check(("transcript", None), lm.answer_many(evidence, method=METHODS["none"]()))
    questions = [(item["question"], item["choices"]) for item in items]
    check(("no_audio", None), answer_without_audio(lm.model, questions))
    assert 0 < sum(correct.values()) < len(correct)  # rows that are all alike would pass


def test_a_stopped_measurement_continues_and_another_model_begins_anew(lm, benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RECORDINGS_PER_PART", 1)
    monkeypatch.setattr(module, "make_arms", lambda: make_arms()[:1])
    measured = []
    measure_part = module._measure_part
    stop_after = 2

    def counted(lm, benchmark, items, transcripts):
        if len(measured) == stop_after:
            raise KeyboardInterrupt
        measured.append(list(items))
        return measure_part(lm, benchmark, items, transcripts)

    monkeypatch.setattr(module, "_measure_part", counted)
    work = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        measure(lm, benchmark, work)
    stop_after = 99
    rows = measure(lm, benchmark, work)
    assert measured == [[f"audio/{name}.flac"] for name in SECONDS]
    assert measure(lm, benchmark, work) == rows
    assert len(measured) == 3
    assert rows == measure(lm, benchmark, tmp_path / "at once")
    assert len(measured) == 6
    assert not list(work.rglob("*.tmp"))
    with torch.no_grad():
        lm.model.model.lm_head.weight.mul_(-1)
        others = measure(lm, benchmark, work)
        lm.model.model.lm_head.weight.mul_(-1)
    assert len(measured) == 9
    assert others != rows


def test_words_are_read_aloud_as_their_own_embeddings(lm):
    audio = read_aloud(lm, ["the", "Review", "I"])
    table, tokenizer = lm.model.model.get_input_embeddings().weight, lm.model.tokenizer
    ids = tokenizer.convert_tokens_to_ids(["the", "review", "I"])
    assert torch.equal(audio.embeds, table[[ids[0], ids[0], ids[1], ids[1], ids[2], ids[2]]])
    np.testing.assert_allclose(audio.times, [[0.04 * i, 0.04 * (i + 1)] for i in range(6)])
    assert audio.seconds == pytest.approx(0.24)


def test_word_errors_are_substitutions_insertions_and_deletions(lm, table):
    tokenizer, blank = lm.model.tokenizer, lm.model.language_model.audio_token_id
    noise = np.random.default_rng(1)

    def errors(hypothesis: str, reference: str) -> tuple[int, int]:
        """What is hypothesis, token by token: a word, or "-" for the blank; words last two tokens."""
        ids = []
        for word in hypothesis.split():
            ids += [blank] if word == "-" else [tokenizer.convert_tokens_to_ids(word)] * 2
        embeds = 3 * table[ids] + torch.from_numpy(noise.normal(0, 0.1, (len(ids), 64))).float()
        times = np.zeros((len(ids), 2))
        audio = EncodedAudio(
            embeds,
            times,
            lm.model.frame_starts(times),
            seconds=1.0,
            num_encoder_flops=0.0,
        )
        return word_errors(lm, audio, reference.split())

    assert errors("- the - - review is monday -", "the review is Monday") == (0, 4)
    assert errors("- - -", "the review is Monday") == (4, 4)
    assert errors("the - review - friday", "the review is Monday") == (2, 4)
    assert errors("the the review um is monday", "the review is Monday") == (1, 4)
    assert errors("monday - is review the", "the review is Monday") == (4, 4)
    assert errors("the : review is monday", "the review is Monday") == (1, 4)


def test_faults_are_not_taken_for_wrong_answers(lm, benchmark, tmp_path):
    items = items_of(benchmark)
    items[0]["question"] = " "
    faulty = tmp_path / "benchmark"
    shutil.copytree(benchmark, faulty)
    (faulty / "manifest.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    with pytest.raises(ValueError, match="question is empty"):
        measure(lm, faulty, tmp_path / "work")
    assert not [file for file in (tmp_path / "work").rglob("*") if file.is_file()]
