"""Speech from Hugging Face models: tiny VITS checkpoints with random weights, saved here."""

import json

import numpy as np
import pytest
import torch
from transformers import VitsConfig, VitsModel, VitsTokenizer

from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.benchmarks.builder.hugging_face_speech import HuggingFaceSpeech, HuggingFaceSpeechOptions
from speechprune.benchmarks.builder.speech import SpeechError, Voice
from speechprune.benchmarks.builder.utterances import sound_span

TEXT = "the plumber comes on thursday"
MODEL_RATE = 22_050


def save_tiny_vits(folder, num_speakers: int) -> str:
    """A checkpoint of the VITS architecture, some tens of thousands of weights."""
    config = VitsConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        num_speakers=num_speakers,
        speaker_embedding_size=8 if num_speakers > 1 else 0,
        upsample_initial_channel=16,
        upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1,
        duration_predictor_filter_channels=16,
        sampling_rate=MODEL_RATE,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VitsModel(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    letters = ["<pad>", " ", *"abcdefghijklmnopqrstuvwxyz", "'", "<unk>"]
    vocabulary = folder / "letters.json"
    vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    VitsTokenizer(str(vocabulary), phonemize=False).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def many_speakers(tmp_path_factory) -> str:
    return save_tiny_vits(tmp_path_factory.mktemp("vits") / "three", num_speakers=3)


@pytest.fixture(scope="module")
def one_speaker(tmp_path_factory) -> str:
    return save_tiny_vits(tmp_path_factory.mktemp("vits") / "one", num_speakers=1)


def test_a_model_of_one_voice_speaks_for_both_genders(one_speaker):
    speech = HuggingFaceSpeech(HuggingFaceSpeechOptions(model=one_speaker))
    assert {voice.gender for voice in speech.voices} == {"female", "male"}
    first, second = (speech.speak(TEXT, voice).samples for voice in speech.voices)
    np.testing.assert_array_equal(first, second)


def test_the_same_words_and_voice_sound_the_same_and_leave_randomness_alone(many_speakers):
    speech = HuggingFaceSpeech(HuggingFaceSpeechOptions(model=many_speakers))
    assert len(speech.voices) == 6
    voice = speech.voices[0]
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = speech.speak(TEXT, voice).samples
    assert torch.rand(1) == expected
    speech.speak("something else", voice)
    again = HuggingFaceSpeech(HuggingFaceSpeechOptions(model=many_speakers)).speak(TEXT, voice).samples
    assert first.dtype == np.int16
    np.testing.assert_array_equal(first, again)


def test_speech_is_the_models_own_at_16_khz(many_speakers, monkeypatch):
    """Without noise the model says the same by itself: straight from its forward pass."""
    voices = (Voice(name="1", gender="female"), Voice(name="2", gender="male"))
    speech = HuggingFaceSpeech(HuggingFaceSpeechOptions(model=many_speakers, voices=("1:female", "2:male")))
    assert speech.voices == voices
    oracle = VitsModel.from_pretrained(many_speakers).eval()
    for model in (oracle, speech._pipeline.model):
        monkeypatch.setattr(model, "noise_scale", 0.0)
        monkeypatch.setattr(model, "noise_scale_duration", 0.0)
    spoken = []
    for voice in voices:
        inputs = VitsTokenizer.from_pretrained(many_speakers)(TEXT, return_tensors="pt")
        with torch.no_grad():
            waveform = oracle(**inputs, speaker_id=int(voice.name)).waveform[0].numpy()
        spoken.append(speech.speak(TEXT, voice).samples)
        samples = decode_audio((waveform, MODEL_RATE))
        np.testing.assert_array_equal(spoken[-1], samples[slice(*sound_span(samples))])
        assert len(spoken[-1]) <= len(waveform) * SAMPLE_RATE / MODEL_RATE + 1
    assert not np.array_equal(*spoken)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for name in (str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(SpeechError, match="can't be loaded as a text-to-speech model"):
            HuggingFaceSpeech(HuggingFaceSpeechOptions(model=name))


def test_a_voice_that_the_model_lacks_is_refused(many_speakers):
    with pytest.raises(SpeechError, match=r"no voice '3': its voices are 0 to 2"):
        HuggingFaceSpeech(HuggingFaceSpeechOptions(model=many_speakers, voices=("3:male",)))


def test_words_it_can_not_speak_are_named(one_speaker):
    speech = HuggingFaceSpeech(HuggingFaceSpeechOptions(model=one_speaker))
    with pytest.raises(SpeechError, match="could not speak '1234'"):
        speech.speak("1234", speech.voices[0])
