"""Unpruned, our answers are Hugging Face's own: same windows, processor-expanded prompt, its forward.

The oracle uses nothing of ours but the decoded samples: the processor's features of every 30 s window, one
audio span of as many ``<|AUDIO|>`` as Hugging Face counts for them, ``input_ids`` in, logits out.
"""

from functools import lru_cache

import numpy as np
import pytest
import torch

from speechprune import AnsweringOptions, NoPruning, SpeechLM
from speechprune.audio import SAMPLE_RATE
from speechprune.inference.prompts import build_prompt
from speechprune.models.base import SplicedPrompt
from speechprune.models.qwen2_audio import WINDOW_SAMPLES, Qwen2Audio

# seconds of each recording: one short window, exactly one, two, four with a short last one
LENGTHS = [7.3, 30.0, 47.11, 95.5]
CHOICES = ["In the garden", "At the office", "By the lighthouse", "Nowhere"]
QUESTIONS = ["Where do they meet?", "Who speaks?", "Where is the red notebook that was mentioned?", "Why?"]
TOLERANCE = 1e-4
NEW_TOKENS = 10
OPTIONS = AnsweringOptions(max_new_tokens=NEW_TOKENS)


@pytest.fixture(scope="module", params=["tiny_lm", "grouped_query_lm"])
def lm(request) -> SpeechLM:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def recordings(speech) -> list[np.ndarray]:
    return [speech(seconds, start=40 * i) for i, seconds in enumerate(LENGTHS)]


@lru_cache
def hugging_face_features(processor, recording: bytes) -> dict[str, torch.Tensor]:
    samples = np.frombuffer(recording, np.int16)
    windows = [samples[i : i + WINDOW_SAMPLES] / 32768 for i in range(0, len(samples), WINDOW_SAMPLES)]
    return processor.feature_extractor(
        windows,
        sampling_rate=SAMPLE_RATE,
        padding="max_length",
        return_attention_mask=True,
        return_tensors="pt",
    )


def hugging_face_inputs(lm: SpeechLM, samples: np.ndarray, user_text: str) -> dict[str, torch.Tensor]:
    processor = lm.model.processor
    features = hugging_face_features(processor, samples.tobytes())
    mel_frames = features["attention_mask"].sum(-1)
    _, num_tokens = lm.model.model.model.audio_tower._get_feat_extract_output_lengths(mel_frames)
    conversation = [
        {"role": "user", "content": [{"type": "audio", "audio_url": ""}, {"type": "text", "text": user_text}]}
    ]
    prompt = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    expanded = prompt.replace("<|AUDIO|>", "<|AUDIO|>" * int(num_tokens.sum()))
    return {
        **processor.tokenizer(expanded, return_tensors="pt"),
        "input_features": features["input_features"],
        "feature_attention_mask": features["attention_mask"],
    }


@torch.inference_mode()
def hugging_face_logits(lm: SpeechLM, samples: np.ndarray, user_text: str) -> torch.Tensor:
    return lm.model.model(**hugging_face_inputs(lm, samples, user_text)).logits[0, -1]


@torch.inference_mode()
def hugging_face_tokens(lm: SpeechLM, samples: np.ndarray, user_text: str) -> list[int]:
    inputs = hugging_face_inputs(lm, samples, user_text)
    output = lm.model.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    return output[0, inputs["input_ids"].shape[1] :].tolist()


def multiple_choice(question: str, choices: list[str]) -> str:
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCDEFGH", choices, strict=False))
    return f"{question}\nChoose the best option:\n{lines}\nAnswer with the letter of the option only."


def spliced(lm: SpeechLM, samples: np.ndarray, question: str) -> SplicedPrompt:
    """Our prompt of an open question, unpruned."""
    prompt = build_prompt(
        question,
        None,
        wording=OPTIONS,
        render_chat=lm.model.render_chat,
        tokenizer=lm.model.tokenizer,
        audio_token_id=lm.model.language_model.audio_token_id,
    )
    (audio,) = lm.encode_many([samples])
    prefix, suffix = lm.model.embed_tokens(prompt.prefix_ids), lm.model.embed_tokens(prompt.suffix_ids)
    audio_ids = [lm.model.language_model.audio_token_id] * len(audio.embeds)
    return SplicedPrompt(
        torch.cat([prefix, audio.embeds, suffix]), [*prompt.prefix_ids, *audio_ids, *prompt.suffix_ids]
    )


def one_at_a_time(lm: SpeechLM) -> SpeechLM:
    """The same model without any batches."""
    adapter = Qwen2Audio(
        lm.model.model, lm.model.processor, name="alone", encoder_batch_size=1, prefill_batch_tokens=1
    )
    return SpeechLM(adapter)


def test_the_prompt_is_the_processors_own_to_the_last_embedding(lm, recordings):
    """Against the processor itself, which takes a single window."""
    samples, question = recordings[0], QUESTIONS[0]
    prompt = lm.model.render_chat(question)
    audio = samples.astype(np.float32) / 32768
    inputs = lm.model.processor(text=prompt, audio=[audio], sampling_rate=SAMPLE_RATE, return_tensors="pt")
    expected = hugging_face_inputs(lm, samples, question)
    assert inputs["input_ids"].tolist() == expected["input_ids"].tolist()
    torch.testing.assert_close(inputs["input_features"], expected["input_features"])

    ours = spliced(lm, samples, question)
    text = inputs["input_ids"][0] != lm.model.language_model.audio_token_id
    assert ours.token_ids == inputs["input_ids"][0].tolist()
    torch.testing.assert_close(
        ours.embeds[text], lm.model.embed_tokens(inputs["input_ids"][0][text].tolist())
    )


@pytest.fixture(scope="module")
def prompts(lm, recordings) -> list[SplicedPrompt]:
    return [spliced(lm, *pair) for pair in zip(recordings, QUESTIONS, strict=True)]


def test_logits_are_hugging_faces(lm, recordings, prompts):
    """Every logit of the vocabulary, alone and padded to one batch with longer and shorter prompts."""
    expected = torch.stack(
        [hugging_face_logits(lm, *pair) for pair in zip(recordings, QUESTIONS, strict=True)]
    )
    assert (expected[0] - expected[1]).abs().max() > 100 * TOLERANCE
    alone = torch.cat([lm.model.next_token_logits([prompt]) for prompt in prompts])
    torch.testing.assert_close(alone, expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(lm.model.next_token_logits(prompts), expected, atol=TOLERANCE, rtol=0)


def test_the_oracle_hears_the_whole_recording(lm, recordings):
    """Were the last of four windows ignored on both sides, the comparison would show nothing."""
    samples = recordings[3].copy()
    samples[3 * WINDOW_SAMPLES :] = samples[:WINDOW_SAMPLES][: len(samples) - 3 * WINDOW_SAMPLES]
    before = hugging_face_logits(lm, recordings[3], QUESTIONS[3])
    after = hugging_face_logits(lm, samples, QUESTIONS[3])
    assert (before - after).abs().max() > 100 * TOLERANCE


def test_choice_probabilities_are_the_softmax_of_hugging_faces_logits(lm, recordings):
    """Recordings of 1, 1, 2 and 4 windows with 2, 3, 4 and 4 choices: encoded, prefilled in mixed batches."""
    choices = [CHOICES[:2], CHOICES[:3], CHOICES, CHOICES[::-1]]
    audios = lm.encode_many(recordings)
    batched = lm.answer_many(list(zip(audios, QUESTIONS, choices, strict=True)), method=NoPruning())
    for i, answer in enumerate(batched):
        logits = hugging_face_logits(lm, recordings[i], multiple_choice(QUESTIONS[i], choices[i]))
        letters = lm.model.tokenizer.convert_tokens_to_ids(list("ABCD"[: len(choices[i])]))
        expected = logits[letters].softmax(0).tolist()
        assert answer.choice_probabilities == pytest.approx(expected, abs=TOLERANCE)
        assert answer.prediction == "ABCD"[int(np.argmax(expected))]
        assert answer.prediction_text == choices[i][int(np.argmax(expected))]
        alone = one_at_a_time(lm)
        single = alone.answer(
            alone.encode_many([recordings[i]])[0], QUESTIONS[i], choices[i], method=NoPruning()
        )
        assert single.choice_probabilities == pytest.approx(expected, abs=TOLERANCE)
    assert len({answer.prediction_text for answer in batched}) > 1


def test_generated_tokens_are_hugging_faces(lm, recordings, prompts):
    expected = [hugging_face_tokens(lm, *pair) for pair in zip(recordings, QUESTIONS, strict=True)]
    assert len({tuple(tokens) for tokens in expected}) > 1
    assert [lm.model.generate([prompt], NEW_TOKENS)[0][0] for prompt in prompts] == expected
    assert lm.model.generate(prompts, NEW_TOKENS)[0] == expected

    audios = lm.encode_many(recordings)
    answers = lm.answer_many(
        [(audio, question, None) for audio, question in zip(audios, QUESTIONS, strict=True)],
        method=NoPruning(),
        options=OPTIONS,
    )
    texts = [lm.model.tokenizer.decode(tokens, skip_special_tokens=True).strip() for tokens in expected]
    assert [answer.prediction for answer in answers] == texts
    assert [answer.num_generated_tokens for answer in answers] == [len(tokens) for tokens in expected]


def test_generation_stops_where_hugging_faces_does(lm, recordings, prompts, monkeypatch):
    """One answer of a batch ends early: the closing token is counted, the padding behind it is not."""
    tokens = hugging_face_tokens(lm, recordings[0], QUESTIONS[0])
    closing = tokens[3]
    monkeypatch.setattr(lm.model.model.generation_config, "eos_token_id", closing)
    expected = [hugging_face_tokens(lm, recordings[i], QUESTIONS[i]) for i in (0, 2)]
    assert expected[0] == tokens[: tokens.index(closing) + 1]
    stopping = one_at_a_time(lm).model  # end tokens are read when a model is loaded
    assert stopping.generate([prompts[0], prompts[2]], NEW_TOKENS)[0] == expected
    assert [stopping.generate([prompts[i]], NEW_TOKENS)[0][0] for i in (0, 2)] == expected
