"""The card's tables, from rows made by hand and numbers worked out by hand."""

import re

import pytest

from speechprune.benchmarks.builder.espeak import load_voices
from speechprune.lab.training.card import BEGIN, END, measured_part, new_card, write_measured
from speechprune.lab.training.config import ModelOutputOptions, TrainingConfig
from speechprune.lab.training.measure import RATED_METHODS, RATES


def make_rows() -> list[dict]:
    """Twenty items, the first eight by training voices.

    Right are: without audio items 0 to 4; the first 30 s 0 to 9; all audio 0 to 14; true words all. At every
    rate, methods 0, 1, 2, ... of the list get items 0 to 2, 5, 8, ... but SpeechPrune at 0.8 only the last.
    """
    rows = []

    def answer(arm: str, rate: float | None, right: set[int]) -> None:
        for item in range(20):
            rows.append(
                {
                    "item_id": f"item {item}",
                    "voice_group": "training" if item < 8 else "held_out",
                    "arm": arm,
                    "pruning_rate": rate,
                    "correct": item in right,
                }
            )

    for arm, num_right in (("no_audio", 5), ("truncate", 10), ("none", 15), ("transcript", 20)):
        answer(arm, None, set(range(num_right)))
    for number, name in enumerate(RATED_METHODS):
        for rate in RATES:
            answer(name, rate, {19} if (name, rate) == ("speechprune", 0.8) else set(range(3 * (number + 1))))
    for group, errors, words in (("training", 3, 100), ("training", 5, 60), ("held_out", 30, 200)):
        rows.append({"voice_group": group, "word_errors": errors, "num_words": words})
    return rows


def table_rows(text: str, title: str) -> list[list[str]]:
    """Cells of every table row that begins with a title."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")[1:]] for line in lines]


def test_whole_arms_by_group_of_voices():
    measured = measured_part(make_rows())
    assert measured.startswith("20 questions")
    assert "| | all | training voices | unseen voices |" in measured
    [no_audio] = table_rows(measured, "no audio: question and choices only")
    # Wilson, 5 of 20: (0.25 + 0.09604) / 1.19207 -+ 0.17868; 5 of 8; 0 of 12: 3.8415 / 15.8415
    assert no_audio == ["25.0 (11.2–46.9)", "62.5 (30.6–86.3)", "0.0 (0.0–24.2)"]
    [truncated] = table_rows(measured, "Original: the first 30 s")
    assert [cell.split()[0] for cell in truncated] == ["50.0", "100.0", "16.7"]
    [unpruned] = table_rows(measured, "unpruned: everything")
    assert [cell.split()[0] for cell in unpruned] == ["75.0", "100.0", "58.3"]
    [ceiling] = table_rows(measured, "true words in place of the audio (the LLM's ceiling)")
    assert [cell.split()[0] for cell in ceiling] == ["100.0", "100.0", "100.0"]
    # 38 of 360, 8 of 160, 30 of 200: words are counted together, not recordings averaged
    [word_errors] = table_rows(measured, "word error rate of the encoder's own alignment")
    assert word_errors == ["10.6 %", "5.0 %", "15.0 %"]


def test_methods_by_rate_for_all_and_for_each_group_of_voices():
    measured = measured_part(make_rows())
    titles = ("RAP", "RAC", "first phase", "second phase", "SpeechPrune")
    rights = {
        "all": ["15.0", "30.0", "45.0", "60.0", "75.0"],
        "training": ["37.5", "75.0", "100.0", "100.0", "100.0"],
        "unseen": ["0.0", "0.0", "8.3", "33.3", "58.3"],
    }
    for number, title in enumerate(titles):
        tables = table_rows(measured, title)
        assert len(tables) == 3
        for cells, expected in zip(tables, rights.values(), strict=True):
            got = [cell.split()[0] for cell in cells]
            assert got[:3] == [expected[number]] * 3
            if title != "SpeechPrune":
                assert got[3] == expected[number]
    assert [cells[3].split()[0] for cells in table_rows(measured, "SpeechPrune")] == ["5.0", "0.0", "8.3"]
    assert measured.count("| pruning rate | 0.2 | 0.4 | 0.6 | 0.8 |") == 3


def test_paired_tests_by_hand():
    measured = measured_part(make_rows())
    # SpeechPrune alone is right on 12, 9, 6 items, the other alone on none: p = 2 / 2^n
    [against_random] = table_rows(measured, "SpeechPrune against RAP")
    assert against_random == ["< 0.001", "< 0.001", "< 0.001", "0.625"]  # at 0.8: 1 to 3, 2 (1 + 4) / 16
    [against_crop] = table_rows(measured, "SpeechPrune against RAC")
    assert against_crop == ["0.004", "0.004", "0.004", "0.125"]  # 1 to 6: 2 (1 + 7) / 128
    [against_first] = table_rows(measured, "SpeechPrune against first phase")
    assert against_first == ["0.031", "0.031", "0.031", "0.021"]  # 1 to 9: 2 (1 + 10) / 1024


def test_a_benchmark_of_one_group_has_no_empty_columns():
    rows = [row for row in make_rows() if row["voice_group"] == "held_out"]
    measured = measured_part(rows)
    assert measured.startswith("12 questions")
    assert "training voices" not in measured
    assert "| | all | unseen voices |" in measured


def test_only_the_measured_part_of_a_card_is_replaced():
    card = f"# Title\n\nbefore {{braces}}\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n"
    once = write_measured(card, "\n| new |\n\n")
    assert once == f"# Title\n\nbefore {{braces}}\n\n{BEGIN}\n\n| new |\n\n{END}\n\nafter\n"
    assert write_measured(once, "| new |") == once
    for broken in ("# Title\n", card.replace(END, ""), card.replace(BEGIN, "")):
        with pytest.raises(ValueError, match="no part between"):
            write_measured(broken, "| new |")


def test_a_new_card_says_what_was_trained_and_waits_for_what_is_measured():
    config = TrainingConfig(output=ModelOutputOptions(path="model", work_path="work"))
    seconds = {"encoder": 2520.0, "LLM, simulated": 3000.0, "LLM, recorded": 1081.0}
    card = new_card(config, num_parameters=4_712_345, seconds=seconds)
    assert "encoder 42 min; LLM, simulated 50 min; LLM, recorded 18 min, on" in card
    assert "4.71 million" in card
    assert "2000 recordings of 60 to 95 s" in card
    assert f"{config.encoder.num_steps:,} steps of {config.encoder.batch_seconds} s" in card
    assert f"{sum(voice.group == 'training' for voice in load_voices())} espeak-ng voices" in card
    assert not re.search(r"\{\w*\}", card)
    assert re.search(rf"{BEGIN}\s*{END}", card)
    filled = write_measured(card, measured_part(make_rows()))
    assert filled.split(BEGIN)[0] == card.split(BEGIN)[0]
    assert filled.split(END)[1] == card.split(END)[1]
