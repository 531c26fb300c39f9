"""Which sound of a file is decoded: its track, its channels; and what has no rate to be decoded by."""

import io

import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from speechprune.audio import SAMPLE_RATE, AudioSilent, AudioUnreadable, decode_audio
from tests.helpers.telling_tones import named_second, telling_tones, write_container, write_tracks

SOUND = telling_tones(30)
SILENCE = np.zeros_like(SOUND)
LATER = telling_tones(30, first=60)


def write_channels(channels: list[np.ndarray], rate: int = SAMPLE_RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.stack(channels, axis=1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_the_default_track_is_taken_and_named(container, log_lines):
    marks = [Disposition(0), Disposition.default]
    data = write_tracks([SILENCE, SOUND], container, dispositions=marks)
    assert named_second(decode_audio(data), 10.25) == 10.25
    assert log_lines == ["the recording has several sound tracks: track 1 of 0, 1 is taken"]


def test_any_track_can_be_chosen():
    data = write_tracks([SOUND, LATER], "matroska")
    for track, first in ((0, 0.0), (1, 60.0)):
        assert named_second(decode_audio(data, track=track), 10.25) == first + 10.25
        assert named_second(decode_audio(data, track=track, start=20, end=25), 2.25) == first + 22.25
    with pytest.raises(AudioUnreadable, match=r"has no track 2: its sound tracks are 0, 1$"):
        decode_audio(data, track=2)


def test_a_track_that_was_not_chosen_adds_no_word(log_lines):
    decode_audio(write_container(SOUND, "matroska", "aac"))
    assert log_lines == []


# Channels


def test_channels_that_cancel_give_the_loudest_and_a_word(log_lines):
    """A cable with one side's phase turned: the mean is silence."""
    data = write_channels([SOUND, -SOUND])
    np.testing.assert_array_equal(decode_audio(data), SOUND)
    assert log_lines == ["the channels of the recording cancel each other: channel 0 alone is taken"]
    hum = SOUND // 100
    nearly_as_loud = write_channels([hum, SOUND - hum, -SOUND])
    np.testing.assert_array_equal(decode_audio(nearly_as_loud), SOUND - hum)


def test_a_part_takes_the_channel_that_the_whole_takes():
    """Only the middle of the recording cancels."""
    middle = slice(12 * SAMPLE_RATE, 18 * SAMPLE_RATE)
    second = SOUND.copy()
    second[middle] = -SOUND[middle]
    data = write_channels([SOUND, second])
    whole = decode_audio(data)
    for start, end in ((0, 11), (11, 14), (14, 26.5)):
        part = decode_audio(data, start=start, end=end)
        np.testing.assert_array_equal(part, whole[start * SAMPLE_RATE : round(end * SAMPLE_RATE)])


def test_channels_that_differ_are_still_their_mean():
    """Two microphones, or one that is off, do not cancel."""
    for other in (LATER, SILENCE, -(SOUND // 2)):
        expected = (SOUND.astype(float) + other) / 2
        np.testing.assert_allclose(decode_audio(write_channels([SOUND, other])), expected, atol=0.51)


# No header, no speech


@pytest.mark.parametrize(
    ("name", "codec", "ending"),
    [
        ("mulaw", "pcm_mulaw", "ul"),
        ("alaw", "pcm_alaw", "al"),
        ("s16le", "pcm_s16le", "sw"),
        ("f32be", "pcm_f32be", "f32be"),
    ],
)
def test_samples_without_a_header_are_refused(tmp_path, name, codec, ending):
    """FFmpeg would take a telephone exchange's 8 kHz for 44.1 kHz: 30 s of speech in 5.4 s."""
    path = tmp_path / f"call.{ending}"
    path.write_bytes(write_container(SOUND, name, codec, 8_000))
    with pytest.raises(
        AudioUnreadable, match=r"holds samples without a header .*wrap it in WAV|can't be decoded"
    ):
        decode_audio(path)


def test_a_rate_below_speech_is_refused():
    with pytest.raises(AudioUnreadable, match="has 500 samples a second, which is no speech"):
        decode_audio(write_channels([SOUND], rate=500))


def test_silence_is_still_silence():
    with pytest.raises(AudioSilent):
        decode_audio(write_channels([SILENCE, SILENCE]))
