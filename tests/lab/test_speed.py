"""The speed benchmark compares like with like."""

import json
from pathlib import Path

import pytest
import torch

from speechprune import AnsweringOptions, NoPruning, SpeechLM
from speechprune.cost import encode_flops, prefill_flops
from speechprune.lab.speed.hugging_face_loop import answer_with_hugging_face, hugging_face_flops
from speechprune.lab.speed.measurements import (
    against_hugging_face,
    against_length,
    make_archive,
    make_bench_model,
    pruning_share,
    questions,
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


def test_the_account_of_the_loop_repeats_the_encoder_and_forms_all_logits(tiny_lm):
    shape = tiny_lm.model.shape
    decoder = shape.decoder
    logits = 2 * 2356 * decoder.hidden_size * decoder.vocab_size
    whole = encode_flops(shape, 3) + prefill_flops(decoder, 2357) + logits
    assert hugging_face_flops(shape, 3, 2357) == whole


def test_numbers_hang_together(tiny_lm, speech):
    numbers, answers = against_hugging_face(tiny_lm, speech(35.0), num_questions=2, repeats=1)
    assert numbers["speed_up"] == numbers["seconds_hugging_face"] / numbers["seconds_ours"]
    assert numbers["tflops_ours"] == pytest.approx(sum(answer.cost.tflops_total for answer in answers))
    assert numbers["tflops_hugging_face"] > numbers["tflops_ours"]
    share = pruning_share(answers)
    assert 0 < share["share_of_flops"] < 1
    assert 0 < share["share_of_seconds"] < 1
    rows = against_length(tiny_lm, speech(60.0), (30.0, 60.0))
    assert [row["audio_tokens"] for row in rows] == [750, 1500]


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
            "pruning_share": [{"questions": 8, "share_of_flops": 0.005, "share_of_seconds": 0.02}],
            "against_length": [length],
            "long_recordings": [job],
        }
    )
    shown = capsys.readouterr().out
    for text in ("80%", "+10.0%", "0.50%", "(4) length", "(5) through the job"):
        assert text in shown
