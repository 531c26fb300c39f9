"""Damaged, cut or silent files and what is no recording: sound as far as it goes, or an error with a name."""

import contextlib
import io

import av
import fsspec
import numpy as np
import pytest
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.audio import (
    SAMPLE_RATE,
    AudioEmpty,
    AudioError,
    AudioNotFound,
    AudioSilent,
    AudioUnreadable,
    decode_audio,
)
from tests.helpers.audio_files import EDGE_SAMPLES, ENCODERS, encode

# Whose fault it is


class RefusingFile(AbstractBufferedFile):
    """A file of a web server that has no ranges, as fsspec's HTTP client reports it."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        raise ValueError("The HTTP server doesn't appear to support range requests")


class RefusingStore(AbstractFileSystem):
    protocol = "refusing"

    def _open(self, path: str, mode: str = "rb", **_) -> RefusingFile:
        return RefusingFile(self, path, mode, size=100_000)


def test_what_a_store_refuses_is_told_as_a_fault_of_the_store():
    fsspec.register_implementation("refusing", RefusingStore, clobber=True)
    with pytest.raises(AudioUnreadable, match=r"range requests.*check the storage"):
        decode_audio("refusing://host/a.wav")


def test_a_bug_in_decoding_is_not(monkeypatch, speech):
    def broken(frame: av.AudioFrame) -> np.ndarray:
        raise ValueError("cannot reshape array")

    monkeypatch.setattr("speechprune.audio.packets._to_channels", broken)
    with pytest.raises(ValueError, match=r"^cannot reshape array$"):
        decode_audio(encode(speech(1.0), "wav"))


# What is no recording


def test_what_is_no_recording_is_named(tmp_path):
    text = tmp_path / "notes.wav"
    text.write_text("these are the minutes of the meeting\n" * 100)
    empty = tmp_path / "empty.flac"
    empty.touch()
    for source, error, sentence in [
        (tmp_path / "gone.wav", AudioNotFound, "gone.wav does not exist"),
        (tmp_path, AudioUnreadable, "is a folder, not a recording"),
        (empty, AudioUnreadable, "empty.flac is an empty file"),
        (text, AudioUnreadable, "notes.wav can't be decoded as audio"),
        (b"", AudioUnreadable, "the recording is an empty file"),
        ("nowhere://bucket/a.wav", AudioUnreadable, r"nowhere://bucket/a.wav can't be opened"),
        ("bad\0name.wav", AudioUnreadable, "can't be opened"),
        ((np.zeros((1, 2, 3)), 16_000), AudioUnreadable, "one or two axes"),
        ((np.zeros((0, 2), np.float32), 16_000), AudioEmpty, "holds no sound"),
    ]:
        with pytest.raises(error, match=sentence) as caught:
            decode_audio(source)
        assert "\n" not in str(caught.value)


def test_no_sentence_repeats_a_secret_of_an_address():
    with pytest.raises(AudioUnreadable) as caught:
        decode_audio("nowhere://me:password@host/a.wav?X-Amz-Signature=0123456789abcdef")
    assert "password" not in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)


def test_pictures_without_sound_are_named(tmp_path):
    path = tmp_path / "silent_film.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioUnreadable, match="has no sound track"):
        decode_audio(path)


@pytest.mark.parametrize("name", ENCODERS)
def test_silence_is_named(name):
    with pytest.raises(AudioSilent, match="silent throughout"):
        decode_audio(encode(np.zeros(SAMPLE_RATE, np.int16), name))


def test_faint_speech_is_not_silence(speech):
    """Speech at -50 dB, as on a badly set recorder, is still speech."""
    assert np.abs(decode_audio((speech(2) // 300, SAMPLE_RATE))).max() >= 4


def test_twenty_milliseconds_are_decoded(speech):
    samples = speech(0.02, start=3)
    for name in ("wav", "flac"):
        np.testing.assert_array_equal(decode_audio(encode(samples, name)), samples)


# Damage: sound or an AudioError, never another exception


def decode_damaged(data: bytes) -> np.ndarray | None:
    with contextlib.suppress(AudioError):
        samples = decode_audio(data)
        assert samples.dtype == np.int16
        assert samples.size
        return samples
    return None


@pytest.mark.parametrize("name", ENCODERS)
def test_a_truncated_file_gives_its_beginning_or_an_error(encoded, name):
    whole = decode_audio(encoded[name])

    @settings(max_examples=25)
    @given(share=st.floats(0, 1))
    def truncate(share):
        samples = decode_damaged(encoded[name][: int(share * len(encoded[name]))])
        if samples is not None:
            num_same = len(samples) - 4 * EDGE_SAMPLES  # the last packet may be half there
            assert len(samples) <= len(whole)
            np.testing.assert_allclose(
                samples[: max(0, num_same)].astype(float), whole[: max(0, num_same)], atol=2
            )

    truncate()


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus", "webm"])
def test_half_a_file_gives_half_its_sound(encoded, name):
    """Formats whose index is not at the end keep what they hold."""
    samples = decode_audio(encoded[name][: len(encoded[name]) // 2])
    assert 4 < len(samples) / SAMPLE_RATE < 8


def test_an_mp4_without_its_index_is_unreadable(encoded):
    with pytest.raises(AudioUnreadable, match="is the file whole"):
        decode_audio(encoded["m4a"][: len(encoded["m4a"]) // 2])


@pytest.mark.parametrize("name", ENCODERS)
def test_flipped_bits_give_sound_or_an_error(encoded, name):
    data = encoded[name]

    @settings(max_examples=25)
    @given(
        in_header=st.booleans(),
        places=st.lists(
            st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=30
        ),
    )
    def flip(in_header, places):
        damaged = bytearray(data)
        for share, bit in places:
            damaged[int(share * (200 if in_header else len(data)))] ^= 1 << bit
        decode_damaged(bytes(damaged))

    flip()


@pytest.mark.parametrize(("share", "is_used"), [(0.1, True), (0.9, False)])
def test_a_file_that_is_mostly_damaged_is_unreadable(encoded, share, is_used):
    """Noise over packets whose index is whole: some may be lost, but not nearly all."""
    data = bytearray(encoded["m4a"])
    begin, length = len(data) // 20, int(share * len(data))
    data[begin : begin + length] = np.random.default_rng(0).bytes(length)
    if is_used:
        assert len(decode_audio(bytes(data))) > 8 * SAMPLE_RATE
    else:
        with pytest.raises(AudioUnreadable, match=r"^\d+ of \d+ packets of the recording are damaged"):
            decode_audio(bytes(data))


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_lost_connection_never_passes_for_the_end(encoded, name, share):
    class Unreliable(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= share * len(encoded[name]):
                raise ConnectionResetError("connection reset by peer")
            return super().read(size)

    with pytest.raises(AudioUnreadable, match=r"can't be read .*connection reset by peer"):
        decode_audio(Unreliable(encoded[name]))
