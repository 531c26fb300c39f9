"""``python -m speechprune.cost``: its tables, its JSON, its complaints."""

import json
import subprocess
import sys

import pytest

from speechprune.cost import (
    decode_flops,
    encode_flops,
    paper_activation_bytes,
    paper_kv_cache_bytes,
    paper_prefill_flops,
    paper_weights_bytes,
    phase1_flops,
    phase2_flops,
    prefill_flops,
)
from speechprune.cost.__main__ import main
from speechprune.models.config_files import shipped_models
from tests.helpers.table_i import QWEN2_AUDIO_7B, TABLE_I, TABLE_I_TEXT_TOKENS

DECODER = QWEN2_AUDIO_7B.decoder
TABLE_I_COMMAND = ["--model", "qwen2-audio-7b", "--audio-tokens", *map(str, TABLE_I), "--text-tokens", "107"]


def json_rows(capsys, *arguments):
    main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_table_prints_table_i(capsys):
    main(TABLE_I_COMMAND)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {int(cells[0]): tuple(cells[1:4]) for cells in printed if len(cells) == 9 and cells[0].isdecimal()}
    assert rows == TABLE_I


def test_the_module_runs_and_its_json_is_unrounded():
    run = subprocess.run(
        [sys.executable, "-m", "speechprune.cost", *TABLE_I_COMMAND, "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = json.loads(run.stdout)
    assert [row["audio_tokens"] for row in rows] == list(TABLE_I)
    for row in rows:
        num_tokens = row["audio_tokens"] + TABLE_I_TEXT_TOKENS
        assert row["tflops_prefill"] == paper_prefill_flops(DECODER, num_tokens) / 1e12
        assert row["activation_gb"] == paper_activation_bytes(DECODER, num_tokens) / 1e9
        assert f"{row['memory_total_gb']:.2f}" == TABLE_I[row["audio_tokens"]][1]
        assert row["tflops_encode"] == encode_flops(QWEN2_AUDIO_7B, 3) / 1e12  # 90 s
        pruning = phase1_flops(DECODER, 2250) + phase2_flops(DECODER, 750)
        assert row["tflops_prune"] == pruning / 1e12


def test_the_whole_truth_adds_up_with_generation_and_shared_encoding(capsys):
    arguments = ["--audio-seconds", "3600", "--generated-tokens", "64", "--questions-per-recording", "8"]
    for row in json_rows(capsys, *arguments):
        parts = ("encode", "prune", "prefill_with_attention", "generate")
        assert row["tflops_total"] == pytest.approx(sum(row[f"tflops_{part}"] for part in parts))
        assert row["tflops_encode"] == encode_flops(QWEN2_AUDIO_7B, 120) / 8 / 1e12
        num_prompt_tokens = row["audio_tokens"] + TABLE_I_TEXT_TOKENS
        assert row["tflops_generate"] == decode_flops(DECODER, num_prompt_tokens, 64) / 1e12


def test_a_begun_window_is_encoded_whole(capsys):
    one, two = (json_rows(capsys, "--audio-seconds", s, "--audio-tokens", "100")[0] for s in ("30", "30.1"))
    assert two["tflops_encode"] == 2 * one["tflops_encode"]


def test_keeping_every_token_is_not_pruning(capsys):
    pruned, whole = json_rows(capsys, "--audio-seconds", "30", "--audio-tokens", "749", "750")
    assert pruned["tflops_prune"] > 0
    assert whole["tflops_prune"] == 0


def test_more_tokens_than_the_default_recording_holds_make_it_longer(capsys):
    (row,) = json_rows(capsys, "--audio-tokens", "15000")
    assert row["tflops_encode"] == encode_flops(QWEN2_AUDIO_7B, 20) / 1e12  # ten minutes


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--audio-tokens", "0"], "--audio-tokens: '0'"),
        (["--audio-tokens", "many"], "--audio-tokens: 'many'"),
        (["--text-tokens", "-1"], "--text-tokens: '-1'"),
        (["--audio-seconds", "nan"], "--audio-seconds: 'nan'"),
        (["--audio-seconds", "long"], "--audio-seconds: 'long'"),
        (["--questions-per-recording", "0"], "--questions-per-recording: '0'"),
        (["--audio-seconds", "10"], "--audio-tokens 750 is more than the 250 tokens of 10 s"),
        (["--windows", "3"], "--windows"),
        (["--model", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_a_bad_argument_is_one_clear_line(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    output = capsys.readouterr()
    assert exit_info.value.code == 2
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert complaint in output.err


def test_an_hour_by_each_shipped_model(capsys):
    rows = {row["model"]: row for row in json_rows(capsys, "--all-models")}
    assert set(rows) == set(shipped_models())
    row = rows["qwen2-audio-7b"]
    assert (row["tokens_per_hour"], row["tflops_encode"]) == (
        90_000,
        encode_flops(QWEN2_AUDIO_7B, 120) / 1e12,
    )
    pruning = phase1_flops(DECODER, 90_000) + phase2_flops(DECODER, 750)
    assert row["tflops_answer_pruned"] == (prefill_flops(DECODER, 750 + 107) + pruning) / 1e12
    assert row["tflops_answer_whole"] == prefill_flops(DECODER, 90_107) / 1e12
    assert row["memory_pruned_gb"] == paper_memory(750)
    assert row["memory_whole_gb"] == paper_memory(90_000)
    assert row["index_mb"] == 90_000 * 1280 * 2 / 1e6
    main(["--all-models"])
    assert "qwen2-audio-7b" in capsys.readouterr().out


def paper_memory(num_audio_tokens):
    return (paper_weights_bytes(DECODER) + paper_kv_cache_bytes(DECODER, num_audio_tokens + 107)) / 1e9
