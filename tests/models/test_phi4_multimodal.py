"""What is Phi-4-multimodal's own and not in the conformance suite: adapter, rotary factors, windows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Phi4MultimodalForCausalLM

from speechprune import AnsweringOptions, NoPruning, SpeechLM
from speechprune.models.base import SpeechModel, SplicedPrompt, Window
from speechprune.models.fingerprint import fingerprint
from speechprune.models.generation import generate
from speechprune.models.likelihood import text_log_probabilities
from speechprune.models.loading import check_model, load_model, model_shape
from speechprune.models.options import ModelOptions
from speechprune.models.phi4_multimodal import Phi4Multimodal, num_mel_frames
from tests.helpers.loaded import edit, error_of, same_weights
from tests.helpers.tiny_models import load_tiny_model
from tests.helpers.tiny_phi4_multimodal import ALPHA, RANK, save_tiny_phi4
from tests.models.test_hub import hub_of, set_endpoint

OPTIONS = {"dtype": "float32", "device": "cpu"}
SWITCH = 96
ADAPTER = "speech-lora/adapter_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    """Its rotary factors change behind few tokens."""
    return save_tiny_phi4(tmp_path_factory.mktemp("phi"), switch=SWITCH)


@pytest.fixture(scope="module")
def lm(saved) -> SpeechLM:
    return load_tiny_model(saved)


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def prompt_of(model: SpeechModel, length: int) -> SplicedPrompt:
    ids = torch.randint(7, 500, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    return SplicedPrompt(model.embed_tokens(ids), ids)


@torch.inference_mode()
def own_log_probabilities(model: SpeechModel, prompt: SplicedPrompt, text: list[int]) -> torch.Tensor:
    """Its own forward of a prompt with a text."""
    ids = torch.tensor([[*prompt.token_ids, *text[:-1]]])
    table = model.model(input_ids=ids).logits[0, -len(text) :].log_softmax(dim=-1)
    return table.gather(1, torch.tensor(text)[:, None])[:, 0]


def test_a_prompt_has_the_factors_of_its_whole_length(lm):
    """Texts that lead beyond the switch: as in its own forward of the whole, from the first token on."""
    model = lm.model
    text = prompt_of(model, 8).token_ids
    for length in (SWITCH - 20, SWITCH - 7, SWITCH - 6, SWITCH, SWITCH + 1):
        prompt = prompt_of(model, length)
        (found,) = text_log_probabilities(model, [prompt], [[text]])
        expected = own_log_probabilities(model, prompt, text)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        assert (length + 7 > SWITCH) == (length >= SWITCH - 6)


def test_the_padding_of_texts_changes_no_factors(lm):
    """No sequence passes the switch, but a short text behind a long prompt is filled up beyond it."""
    model = lm.model
    prompts = [prompt_of(model, SWITCH - 3), prompt_of(model, SWITCH - 30)]
    texts = [[prompt_of(model, n).token_ids] for n in (3, 12)]
    found = text_log_probabilities(model, prompts, texts)
    for own, prompt, (text,) in zip(found, prompts, texts, strict=True):
        torch.testing.assert_close(own, own_log_probabilities(model, prompt, text), atol=1e-4, rtol=0)


@pytest.mark.parametrize("length", [SWITCH - 30, SWITCH + 1])
def test_greedy_tokens_on_either_side_are_its_own(lm, length):
    model, prompt = lm.model, prompt_of(lm.model, length)
    ids = torch.tensor([prompt.token_ids])
    expected = model.model.generate(ids, max_new_tokens=16, do_sample=False, eos_token_id=[-1])
    (tokens,), _ = generate(model, [prompt], 16)
    assert tokens == expected[0, length:].tolist()[: len(tokens)]


def test_an_answer_that_may_pass_the_switch_has_the_long_factors_throughout(lm):
    """Its own generate begins with the short ones and starts again with the long ones in the middle."""
    model, prompt = lm.model, prompt_of(lm.model, SWITCH - 4)
    (tokens,), _ = generate(model, [prompt], 16)
    for count in range(6, len(tokens)):  # beyond the switch
        ids = torch.tensor([[*prompt.token_ids, *tokens[:count]]])
        assert int(model.model(input_ids=ids).logits[0, -1].argmax()) == tokens[count]
    assert len(tokens) > 8


@pytest.mark.parametrize("max_new_tokens", [4, 40])
def test_prompts_on_either_side_share_no_batch(lm, speech, max_new_tokens):
    """So answers do not depend on the questions beside them."""
    options = AnsweringOptions(max_new_tokens=max_new_tokens)
    audios = lm.encode_many([speech(seconds, start=10 * i) for i, seconds in enumerate((3.0, 5.5, 7.0))])
    items = [(audio, "Who?", choices) for audio in audios for choices in (["Anna", "Bert"], None)]
    together = lm.answer_many(items, method=NoPruning(), options=options)
    lengths = [answer.num_kept_tokens + answer.num_text_tokens for answer in together]
    assert min(lengths) < SWITCH < max(lengths)
    for item, answer in zip(items, together, strict=True):
        (alone,) = lm.answer_many([item], method=NoPruning(), options=options)
        assert alone.prediction_text == answer.prediction_text
        if item[2]:
            assert alone.choice_probabilities == pytest.approx(answer.choice_probabilities, abs=1e-5)


def test_the_vision_encoder_takes_no_memory(lm):
    parts = {name for name, _ in lm.model.model.model.embed_tokens_extend.named_children()}
    assert parts == {"audio_embed"}


def test_a_window_as_long_as_the_context_keeps_no_step_out_of_a_cuda_graph(folder, lm):
    assert json.loads((folder / "config.json").read_text())["sliding_window"] == 16384
    assert lm.model.model.config.sliding_window is None
    edit(folder / "config.json", sliding_window=16)
    assert load_tiny_model(str(folder)).model.model.config.sliding_window == 16


def test_a_token_is_80_ms_up_to_the_end_of_the_sound(lm, speech):
    (audio,) = lm.encode_many([speech(2.03)], [100.0])
    starts, ends = (audio.times - 100).T
    assert starts == pytest.approx(np.arange(26) * 0.08)
    assert ends == pytest.approx([*np.arange(1, 26) * 0.08, 2.03])
    assert np.diff(audio.frame_starts).tolist() == [13, 12, 1]


def test_the_shortest_window_is_one_mel_frame():
    assert num_mel_frames(Phi4Multimodal.min_window_samples - 1) == 0
    assert num_mel_frames(Phi4Multimodal.min_window_samples) == 1
    assert num_mel_frames(Phi4Multimodal.full_window_samples) == 3998


def test_a_short_window_is_encoded_alone(lm, speech):
    """In company its positions would attend to what fills it up, as in its own forward of two rows."""
    samples = [speech(3.0), speech(5.0, start=20)]
    (alone,) = lm.model.embed_windows([Window(samples[0], 0.0)])
    floats = [(own / 32768).astype(np.float32) for own in samples]
    rows = lm.model.processor.feature_extractor(floats, sampling_rate=16_000, return_tensors="pt")
    audio = lm.model.model.model.embed_tokens_extend.audio_embed
    with torch.inference_mode():
        states = audio.encoder(rows["audio_input_features"], rows["audio_attention_mask"])[0]
        in_company = lm.model.project(torch.nn.functional.gelu(audio.up_proj_for_speech(states)))
    assert (in_company[: len(alone.embeds)] - alone.embeds).abs().max() > 0.01
    for encoded in (lm.encode_many(samples)[0], lm.encode_many(samples[:1])[0]):
        assert torch.equal(encoded.embeds, alone.embeds)


def test_features_are_the_extractors(lm, speech):
    samples = [speech(40.0), speech(40.0, start=50)]
    floats = [(own / 32768).astype(np.float32) for own in samples]
    own = lm.model.processor.feature_extractor(floats, sampling_rate=16_000, return_tensors="pt")
    assert torch.equal(lm.model.features(samples), own["audio_input_features"])


def test_a_template_for_texts_alone_gives_the_same_prompt(lm, folder):
    """As on the repository's main branch."""
    template = (
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    other = load_tiny_model(str(folder)).model
    assert other.render_chat("Who?") == lm.model.render_chat("Who?")
    assert other.render_chat("Who?") == "<|user|><|audio|>Who?<|end|><|assistant|>"


def test_the_features_may_lie_in_the_processors_file(lm, folder):
    features = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"audio_processor": features}))
    extractor = load_tiny_model(str(folder)).model.processor.feature_extractor
    assert extractor.to_dict() == lm.model.processor.feature_extractor.to_dict()


def test_the_adapter_is_in_the_weights(saved, lm):
    own = Phi4MultimodalForCausalLM.from_pretrained(saved)
    adapter = load_file(Path(saved) / ADAPTER)
    name = "model.layers.1.mlp.down_proj"
    product = adapter[f"{name}.lora_B.weight"] @ adapter[f"{name}.lora_A.weight"]
    expected = own.get_submodule(name).weight + ALPHA / RANK * product
    torch.testing.assert_close(lm.model.model.get_submodule(name).weight, expected, atol=1e-6, rtol=0)


def test_weights_in_which_the_adapter_is_merged_need_none(saved, folder):
    shutil.rmtree(folder / "speech-lora")
    edit(folder / "config.json", has_lora_adapter=False)
    merged = load_tiny_model(str(folder)).model.model
    own = Phi4MultimodalForCausalLM.from_pretrained(saved)
    assert same_weights(merged.model.layers, own.model.layers)


def test_it_comes_from_the_hubs_revision_and_then_from_its_cache(saved, lm, tmp_path, monkeypatch):
    """Its adapter, too."""
    with hub_of(saved, tmp_path, monkeypatch):
        model = load_tiny_model("team/tiny", revision="refs/pr/70").model
        assert same_weights(model.model, lm.model.model)
        options = ModelOptions(path="team/tiny", revision="refs/pr/70")
        assert fingerprint(options) == fingerprint(options)
    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")
    monkeypatch.setattr("speechprune.models.hub.time.sleep", lambda seconds: None)
    cached = load_tiny_model("team/tiny", revision="refs/pr/70").model
    assert same_weights(cached.model, lm.model.model)
    assert cached.render_chat("Who?") == lm.model.render_chat("Who?")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: shutil.rmtree(folder / "speech-lora"), "has no speech-lora/adapter_config.json"),
        (lambda folder: (folder / ADAPTER).unlink(), "adapter_model.safetensors"),
        (lambda folder: _drop(folder / ADAPTER, "model.layers.0.mlp.down_proj.lora_B.weight"), "adapter"),
        (lambda folder: _drop(max(folder.glob("model-*.safetensors"))), "is incomplete: 1 weights"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat template"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "can't be loaded"),
        (
            lambda folder: edit(folder / "preprocessor_config.json", feature_size=64),
            "gives 64 mel bins of 400 samples every 160, 8 to a token; a Phi-4-multimodal takes 80, 400, 160",
        ),
    ],
)
def test_a_part_of_the_model_is_refused(folder, damage, sentence):
    damage(folder)
    assert sentence in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


def _drop(file: Path, name: str | None = None) -> None:
    weights = load_file(file)
    del weights[name or min(weights)]
    save_file(weights, file, metadata={"format": "pt"})


def test_the_revision_that_needs_code_is_refused(folder):
    code = {"AutoConfig": "configuration_phi4mm.Phi4MMConfig"}
    edit(folder / "config.json", model_type="phi4mm", auto_map=code)
    message = error_of(check_model, ModelOptions(path=str(folder)))
    assert "is a phi4mm, which needs code of its repository, and that is never run" in message
    assert "model.revision=refs/pr/70" in message


def test_the_published_sizes():
    shape = model_shape("phi-4-multimodal")
    decoder = shape.decoder
    embeddings = decoder.vocab_size * decoder.hidden_size
    assert decoder.num_weights + embeddings == pytest.approx(3.84e9, rel=1e-2)  # of Phi-4-mini
    assert 2 * decoder.num_weights == pytest.approx(6.44e9, rel=1e-2)
    assert shape.token_rate == 12.5
