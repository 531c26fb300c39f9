"""The speed benchmark compares like with like."""

import json
from pathlib import Path

import pytest
import torch

from speechprune import AnsweringOptions, NoPruning, SpeechLM
from speechprune.cost import encode_flops, prefill_flops
from speechprune.lab.speed.hugging_face_loop import (
    answer_encoded_with_hugging_face,
    answer_with_hugging_face,
    encode_with_hugging_face,
    encoded_once_flops,
    hugging_face_flops,
)
from speechprune.lab.speed.measurements import (
    against_hugging_face,
    against_length,
    make_archive,
    make_bench_model,
    pruning_share,
    questions,
    time_in_turn,
)
from speechprune.lab.speed.tables import show_speed

DEMO_MODEL = Path(__file__).parents[2] / "speechprune" / "demo" / "model"


def test_the_loop_gives_the_answers_that_we_give_unpruned(tiny_lm, speech):
    """Otherwise its time would be the time of something else."""
    samples = speech(40.0)
    question, choices = questions(1)[0]
    answer = tiny_lm.answer(
        tiny_lm.encode_many([samples])[0], question, choices, method=NoPruning(), options=AnsweringOptions()
    )
    logits = answer_with_hugging_face(
        tiny_lm.model.model, tiny_lm.model.processor, samples, question, choices
    )
    letters = [tiny_lm.model.tokenizer.encode(letter)[0] for letter in "ABCD"]
    expected = torch.softmax(logits[letters].double(), dim=0)
    assert answer.choice_probabilities == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("seconds", [20.0, 40.0, 60.0])
def test_encoding_once_gives_the_loops_logits(tiny_lm, speech, seconds):
    """Of a short window, a full and a short one, and full ones, for questions of different length."""
    model, processor, samples = tiny_lm.model.model, tiny_lm.model.processor, speech(seconds)
    embeds = encode_with_hugging_face(model, processor, samples)
    assert len(embeds) == seconds * 25
    both = []
    for question, choices in [("Why?", ["Rain", "Snow"]), *questions(1)]:
        once = answer_encoded_with_hugging_face(model, processor, embeds, question, choices)
        each_time = answer_with_hugging_face(model, processor, samples, question, choices)
        torch.testing.assert_close(once, each_time, atol=1e-4, rtol=0)
        both.append(once)
    assert (both[0] - both[1]).abs().max() > 1e-2


def test_the_accounts_of_the_loops(tiny_lm):
    """One repeats the encoder and forms all logits, the other neither."""
    shape = tiny_lm.model.shape
    decoder = shape.decoder
    logits = 2 * 2356 * decoder.hidden_size * decoder.vocab_size
    one = encode_flops(shape, 3) + prefill_flops(decoder, 2357) + logits
    assert hugging_face_flops(shape, 3, 2357) == one
    assert hugging_face_flops(shape, 3, 2357, num_questions=8) == 8 * one
    saved = 7 * encode_flops(shape, 3) + 8 * logits
    assert encoded_once_flops(shape, 3, 2357, num_questions=8) == 8 * one - saved


def test_runs_in_turn_are_timed_after_a_warm_up():
    order: list[str] = []
    seconds = time_in_turn([lambda name=name: order.append(name) for name in "ABC"], repeats=2)
    assert "".join(order) == "ABC" * 3
    assert len(seconds) == 3


def test_numbers_hang_together(tiny_lm, speech):
    rows, answers = against_hugging_face(tiny_lm, speech(35.0), num_questions=2, repeats=1)
    assert [(row["pruning_rate"], row["hugging_face"]) for row in rows] == [
        (0.2, "encodes each time"),
        (0.2, "encodes once"),
        (0.8, "encodes each time"),
        (0.8, "encodes once"),
    ]
    for row in rows:
        assert row["speed_up"] == row["seconds_hugging_face"] / row["seconds_ours"]
        tflops = sum(answer.cost.tflops_total for answer in answers[row["pruning_rate"]])
        assert row["tflops_ours"] == pytest.approx(tflops)
        assert row["share_of_prediction"] == row["speed_up"] / row["speed_up_predicted_by_flops"]
    assert rows[0]["tflops_hugging_face"] > max(rows[1]["tflops_hugging_face"], rows[0]["tflops_ours"])
    assert rows[0]["tflops_ours"] > rows[2]["tflops_ours"]
    share = pruning_share(answers[0.2])
    assert 0 < share["share_of_flops"] < 1
    assert 0 < share["share_of_seconds"] < 1
    lengths = against_length(tiny_lm, speech(60.0), (30.0, 60.0))
    assert [row["audio_tokens"] for row in lengths] == [750, 1500]


def test_the_benchmark_model_is_about_100_million_parameters(tmp_path):
    folder = make_bench_model(DEMO_MODEL, tmp_path / "model")
    with torch.device("meta"):
        from transformers import AutoConfig, Qwen2AudioForConditionalGeneration

        model = Qwen2AudioForConditionalGeneration(AutoConfig.from_pretrained(folder))
    assert 90e6 < sum(p.numel() for p in model.parameters()) < 110e6


def test_the_archive_is_one_that_the_job_takes(tmp_path, speech, tiny_lm):
    manifest = make_archive(tmp_path, speech(120.0), num_recordings=2, num_questions=2)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert len({row["audio"] for row in rows}) == 2
    audio = SpeechLM(tiny_lm.model).encode(tmp_path / rows[0]["audio"])
    assert audio.seconds == pytest.approx(90.0)


def test_tables_show_every_section(capsys):
    numbers = {
        "seconds_hugging_face": 8.0,
        "seconds_ours": 2.0,
        "speed_up": 4.0,
        "speed_up_predicted_by_flops": 5.0,
        "share_of_prediction": 0.8,
        "questions": 8,
        "pruning_rate": 0.2,
        "hugging_face": "encodes once",
    }
    length = dict.fromkeys(
        (
            "audio_seconds",
            "audio_tokens",
            "seconds_encode",
            "seconds_encode_per_audio_hour",
            "seconds_answer",
        ),
        1,
    ) | {"seconds_prune": 1, "peak_memory_bytes": 1}
    job = dict.fromkeys(
        ("audio_seconds", "seconds_decode_audio", "seconds_encode", "seconds_prune", "seconds_prefill"), 1
    ) | dict.fromkeys(("seconds_per_audio_hour", "peak_worker_bytes", "samples_bytes"), 1)
    show_speed(
        {
            "model": {"parameters": 1e8, "dtype": "torch.float32"},
            "machine": {"cores": 2},
            "against_hugging_face": [numbers],
            "ray_overhead": {"items": 3, "seconds_direct": 10.0, "seconds_ray": 11.0, "overhead": 0.1},
            "pruning_share": [
                {"questions": 8, "pruning_rate": 0.2, "share_of_flops": 0.005, "share_of_seconds": 0.02}
            ],
            "against_length": [length],
            "long_recordings": [job],
        }
    )
    shown = capsys.readouterr().out
    for text in ("80%", "encodes once", "+10.0%", "0.50%", "(4) length", "(5) through the job"):
        assert text in shown
