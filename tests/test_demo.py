"""The demo folder as shipped: archive, manifest and model folder agree with their dialogues."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import av
import pytest
import yaml
from transformers import AutoConfig, AutoProcessor

DEMO = Path(__file__).parents[1] / "demo"

spec = importlib.util.spec_from_file_location("make_demo", DEMO / "make_demo.py")
make_demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_demo)

RECORDINGS = {
    recording["id"]: recording
    for recording in yaml.safe_load((DEMO / "dialogues.yaml").read_text())["recordings"]
}
ROWS = [json.loads(line) for line in (DEMO / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def espeak():
    return make_demo.Espeak()


def spoken_words(recording: dict) -> str:
    return " ".join(text for turn in recording["turns"] for text in turn.values()).casefold()


def test_manifest_holds_every_question_of_the_dialogues():
    asked = [
        (recording["scenario"], item["question"], item.get("choices"), item["answer"])
        for recording in RECORDINGS.values()
        for item in recording["questions"]
    ]
    assert asked == [(row["scenario"], row["question"], row["choices"], row["answer"]) for row in ROWS]
    assert len({row["item_id"] for row in ROWS}) == len(ROWS)
    assert {row["audio"] for row in ROWS} == {f"archive/{name}.opus" for name in RECORDINGS}


def test_gold_letters_are_exactly_balanced():
    letters = Counter(row["answer"] for row in ROWS if row["choices"])
    assert letters == dict.fromkeys("ABCD", 5)
    assert sum(row["choices"] is None for row in ROWS) == 2


@pytest.mark.parametrize("recording", RECORDINGS.values(), ids=list(RECORDINGS))
def test_gold_facts_are_spoken_once_among_spoken_distractors(recording):
    """An answer cannot be found by its presence: most wrong choices are spoken in the same recording."""
    spoken = spoken_words(recording)
    wrong_choices = []
    for item in recording["questions"]:
        evidence = item["evidence"].casefold()
        assert spoken.count(evidence) == 1, item["evidence"]
        gold = item["answer"]
        if choices := item.get("choices"):
            assert len(set(choices)) == 4
            gold = choices["ABCD".index(gold)]
            wrong_choices += [choice for choice in choices if choice != gold]
        assert gold.casefold() in evidence
    num_spoken = sum(choice.casefold() in spoken for choice in wrong_choices)
    assert num_spoken >= 0.75 * len(wrong_choices)


@pytest.mark.parametrize("name", RECORDINGS)
def test_archive_decodes_to_what_the_dialogue_takes_to_speak(name, espeak):
    path = DEMO / f"archive/{name}.opus"
    with av.open(path) as container:
        [stream] = container.streams
        assert stream.codec_context.channels == 1
        seconds = sum(frame.samples for frame in container.decode(stream)) / stream.rate
    assert 50 < seconds < 110
    spoken_seconds = len(make_demo.render(RECORDINGS[name], espeak)) / espeak.sample_rate
    assert abs(seconds - spoken_seconds) < 0.1, "run demo/make_demo.py again"
    assert path.stat().st_size < 250_000


def test_model_folder_loads_with_a_processor_that_fits_its_configuration():
    config = AutoConfig.from_pretrained(DEMO / "model")
    processor = AutoProcessor.from_pretrained(DEMO / "model")
    tokenizer = processor.tokenizer

    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        assert len(tokenizer.encode(letter)) == 1
    assert config.audio_token_index == tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    assert tokenizer.encode("<|AUDIO|>") == [config.audio_token_index]
    assert config.text_config.vocab_size == len(tokenizer)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert config.text_config.eos_token_id == tokenizer.eos_token_id
    assert config.audio_config.num_mel_bins == processor.feature_extractor.feature_size

    for recording in RECORDINGS.values():
        spoken = spoken_words(recording)
        assert tokenizer.decode(tokenizer.encode(spoken)) == spoken


def test_chat_template_places_the_audio_before_the_question():
    processor = AutoProcessor.from_pretrained(DEMO / "model")
    content = [{"type": "audio", "audio_url": "call.opus"}, {"type": "text", "text": "When is breakfast?"}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    assert "<|audio_bos|><|AUDIO|><|audio_eos|>\nWhen is breakfast?<|im_end|>\n" in prompt
    assert prompt.endswith("<|im_start|>assistant\n")
