"""One clock: what a player shows at a sound, in the whole and in slices, whatever the timestamps."""

import struct
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from speechprune.audio import SAMPLE_RATE, AudioUnreadable, decode_audio, recording_seconds
from tests.helpers.telling_tones import (
    named_second,
    shifted,
    telling_file,
    telling_tones,
    write_container,
    write_tracks,
)

SOUND_SECONDS = 40.0
# name: (container, codec, rate, whether its timestamps can have gaps, whether files can be joined)
KINDS = {
    "webm": ("webm", "libopus", 48_000, True, False),
    "mkv": ("matroska", "aac", 44_100, True, False),
    "mp4": ("mp4", "aac", 16_000, True, False),
    "ogg": ("ogg", "libopus", 48_000, True, True),
    "ts": ("mpegts", "aac", 48_000, True, True),
    "mp3": ("mp3", "libmp3lame", 16_000, False, True),
    "flac": ("flac", "flac", 16_000, False, True),
    "wav": ("wav", "pcm_s16le", 16_000, False, False),
}
SAME_IN_SLICES = ("webm", "ogg", "mp3", "flac", "wav")  # FFmpeg's AAC decoder fills bands with noise
# around the edges of a gap, in which a packet and a tone may begin and end; Ogg times pages of a second
EDGE_SECONDS = 0.4
EDGE_SECONDS_OGG = 1.4


@dataclass(frozen=True)
class Timeline:
    """When the seconds of a sound are played.

    Parameters
    ----------
    gaps
        (second of the sound before which nothing was recorded, for how many seconds).
    lost
        Stretch of the sound whose packets never arrived.
    """

    gaps: tuple[tuple[float, float], ...] = ()
    lost: tuple[float, float] | None = None

    def shift(self, second: float) -> float | None:
        if self.lost and self.lost[0] <= second < self.lost[1]:
            return None
        return sum(length for at, length in self.gaps if at <= second)

    def is_near_edge(self, second: float, name: str) -> bool:
        edges = [at for at, _ in self.gaps] + list(self.lost or ())
        return any(abs(second - edge) < edge_seconds(name) for edge in edges)

    @property
    def seconds(self) -> float:
        end = self.shift(SOUND_SECONDS)
        assert end is not None
        return SOUND_SECONDS + end


def edge_seconds(name: str) -> float:
    return EDGE_SECONDS_OGG if name == "ogg" else EDGE_SECONDS


def timelines() -> st.SearchStrategy[Timeline]:
    gap = st.tuples(st.floats(2, 38), st.floats(0.3, 15))
    lost = st.tuples(st.floats(1, 15), st.floats(16, 38))
    return st.builds(Timeline, st.lists(gap, max_size=3).map(tuple), st.none() | lost)


def check_second(samples: np.ndarray, second: float, played: float, timeline: Timeline, name: str) -> None:
    if timeline.is_near_edge(second, name):
        return
    expected = None if timeline.shift(second) is None else second
    assert named_second(samples, played) == expected


def check_slice(data: bytes, name: str, whole: np.ndarray, start: float, length: float) -> None:
    part = decode_audio(data, start=start, end=start + length, part_of=0.0)
    same = whole[round(start * SAMPLE_RATE) : round((start + length) * SAMPLE_RATE)]
    assert len(part) == len(same)
    if name in SAME_IN_SLICES:
        np.testing.assert_array_equal(part, same)
    else:
        assert np.abs(part.astype(float) - same).mean() < 500  # of tones of 16,000


@pytest.fixture(scope="module")
def num_timelines(request) -> int:
    return request.config.getoption("--timelines")


@pytest.mark.parametrize("name", KINDS)
def test_any_timeline_is_decoded_as_it_is_played(name, num_timelines):
    container, codec, rate, has_gaps, can_join = KINDS[name]
    first = telling_file(SOUND_SECONDS, 0.0, container, codec, rate)
    second = telling_file(SOUND_SECONDS, SOUND_SECONDS, container, codec, rate)

    # no shrinking: an example takes a second
    @settings(max_examples=max(1, num_timelines // len(KINDS)), phases=[Phase.generate])
    @given(
        timeline=timelines() if has_gaps else st.just(Timeline()),
        is_joined=st.booleans() if can_join else st.just(False),
        probes=st.lists(st.integers(0, 2 * int(SOUND_SECONDS) - 2), min_size=8, max_size=8),
        share=st.floats(0, 0.9),
        length=st.floats(1, 20),
    )
    def check(timeline, is_joined, probes, share, length):
        data = shifted(first, container, timeline.shift) if has_gaps else first
        whole = decode_audio(data + second if is_joined else data)
        num_seconds = timeline.seconds + is_joined * SOUND_SECONDS
        if not (timeline.lost and timeline.lost[1] > SOUND_SECONDS - 1):
            assert abs(len(whole) / SAMPLE_RATE - num_seconds) < 0.3
        for probe in probes:
            sound = probe * 0.5 + 0.25
            played = sound + sum(length for at, length in timeline.gaps if at <= sound)
            check_second(whole, sound, played, timeline, name)
            if is_joined:
                assert named_second(whole, timeline.seconds + sound + 0.1) in (
                    SOUND_SECONDS + sound,
                    SOUND_SECONDS + sound + 0.5,
                )
        for at, length_of_gap in timeline.gaps:
            width = 2.5 * edge_seconds(name)
            is_apart = all(other == at or abs(other - at) > width for other, _ in timeline.gaps)
            if length_of_gap > width and is_apart:
                before = at + sum(length for other, length in timeline.gaps if other < at)
                assert named_second(whole, before + length_of_gap / 2) is None
        check_slice(data + second if is_joined else data, name, whole, share * num_seconds, length)

    check()


# Kinds of files that are cut or timed in a way of their own


# name: (container, codec, rate, options, whether a slice has the samples of the whole to the bit)
OTHER_KINDS = {
    "ADPCM": ("wav", "adpcm_ima_wav", 16_000, {"bit_rate": 128_000}, True),
    "ADPCM of Microsoft": ("wav", "adpcm_ms", 16_000, {"bit_rate": 128_000}, True),
    "A-law": ("wav", "pcm_alaw", 8_000, {}, True),
    "W64": ("w64", "pcm_s24le", 44_100, {}, True),
    "AIFF": ("aiff", "pcm_s16be", 8_000, {}, True),
    "CAF": ("caf", "pcm_s16le", 44_100, {}, True),
    "AU": ("au", "pcm_s16be", 16_000, {}, True),
    "AVI": ("avi", "pcm_s16le", 16_000, {}, True),
    "ALAC": ("mov", "alac", 44_100, {}, True),
    "QuickTime": ("mov", "pcm_s16le", 44_100, {}, True),
    "FLV with MP3": ("flv", "libmp3lame", 44_100, {}, True),
    "FLAC in Ogg": ("ogg", "flac", 48_000, {}, True),
    "MPEG-TS at 44.1 kHz": ("mpegts", "aac", 44_100, {}, False),
    "FLV with AAC": ("flv", "aac", 44_100, {}, False),
    "AAC without a container": ("adts", "aac", 16_000, {}, False),
    "AC-3": ("ac3", "ac3", 48_000, {}, False),
    "MP2": ("mp2", "mp2", 48_000, {}, False),
}


def check_slices(data: bytes, is_exact: bool) -> None:
    whole = decode_audio(data)
    for start in (15.0, 30.0):
        part = decode_audio(data, start=start, end=start + 10)
        assert len(part) == 10 * SAMPLE_RATE
        for at in (0.75, 5.25, 9.25):
            assert named_second(part, at) == start + at
        if is_exact:
            begin = round(start * SAMPLE_RATE)
            np.testing.assert_array_equal(part, whole[begin : begin + len(part)])


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_a_slice_of_any_kind_of_file_plays_its_own_seconds(name):
    container, codec, rate, options, is_exact = OTHER_KINDS[name]
    check_slices(write_container(telling_tones(44), container, codec, rate, **options), is_exact)


def test_a_slice_of_pcm_with_a_wrong_byte_rate_plays_its_own_seconds():
    """A seek would land at half the time."""
    wav = write_container(telling_tones(44), "wav", "pcm_s16le")
    place = wav.index(b"fmt ") + 16
    check_slices(wav[:place] + struct.pack("<I", 16_000) + wav[place + 4 :], is_exact=True)


def test_sound_that_begins_after_the_picture_begins_there():
    for container in ("matroska", "mp4", "mpegts"):
        data = write_tracks([telling_tones(30)], container, delays=[5.0], picture_seconds=40)
        whole = decode_audio(data)
        assert named_second(whole, 2.0) is None
        assert named_second(whole, 10.25) == 5.25
        assert named_second(decode_audio(data, start=20, end=30), 5.25) == 20.25


def test_timestamps_that_only_begin_late_shift_nothing():
    """A cut-out of a longer stream: a player's display begins at 0 all the same."""
    late = shifted(telling_file(40.0, 0.0, "mpegts", "aac", 48_000), "mpegts", lambda _: 1000.0)
    assert named_second(decode_audio(late), 10.25) == 10.25


def test_jitter_of_timestamps_is_not_sound():
    """Recorders stamp packets by their arrival: 15 ms early or late, on and on."""
    data = telling_file(40.0, 0.0, "webm", "libopus", 48_000)
    rng = np.random.default_rng(0)
    jittered = shifted(data, "webm", lambda second: float(rng.uniform(0, 0.015)) if second > 1 else 0.0)
    np.testing.assert_array_equal(decode_audio(jittered), decode_audio(data))


def test_a_clock_that_drifts_is_followed():
    """Timestamps of a recorder whose sample clock is 1 % slow: 0.39 s of silence come in 39 s."""
    data = telling_file(40.0, 0.0, "webm", "libopus", 48_000)
    whole = decode_audio(shifted(data, "webm", lambda second: second / 100))
    assert abs(len(whole) / SAMPLE_RATE - 40.4) < 0.05
    assert named_second(whole, 39.25 * 1.01) == 39.25


def test_a_jump_of_days_is_refused():
    data = telling_file(40.0, 0.0, "webm", "libopus", 48_000)
    jumped = shifted(data, "webm", lambda second: 3e5 if second > 20 else 0.0)
    with pytest.raises(AudioUnreadable, match="jump by 83 hours at 20 s: repair"):
        decode_audio(jumped)


@pytest.mark.parametrize("name", KINDS)
def test_the_length_is_counted_without_decoding(tmp_path, name):
    container, codec, rate, has_gaps, can_join = KINDS[name]
    data = telling_file(SOUND_SECONDS, 0.0, container, codec, rate)
    expected = SOUND_SECONDS
    if has_gaps:
        data, expected = shifted(data, container, lambda second: 7.0 if second > 20 else 0.0), expected + 7
    if can_join:
        data += telling_file(SOUND_SECONDS, SOUND_SECONDS, container, codec, rate)
        expected += SOUND_SECONDS
    path = tmp_path / name
    path.write_bytes(data)
    seconds = recording_seconds(str(path))
    assert seconds is not None
    assert abs(seconds - expected) < 0.3  # encoders fill their last frames
    assert abs(seconds - len(decode_audio(path)) / SAMPLE_RATE) < 0.3


def test_a_part_that_lacks_sound_is_not_silence(tmp_path):
    """Where the packets promise more than a slice gives, something is wrong with the file or with us."""
    data = telling_file(SOUND_SECONDS, 0.0, "wav", "pcm_s16le", 16_000)
    assert len(decode_audio(data, start=30, part_of=40.0)) == 10 * SAMPLE_RATE
    assert len(decode_audio(data, start=40, end=50, part_of=40.0)) == 0
    for start, end, sound, promised in ((30, None, "10.0", "40.0"), (50, 60, "0.0", "10.0")):
        sentence = f"gives {sound} s of sound from {start} s on, .* {promised} s"
        with pytest.raises(AudioUnreadable, match=sentence):
            decode_audio(data, start=start, end=end, part_of=70.0)


# Damage in the middle


@pytest.mark.parametrize("fill", ["noise", "zeros"])
@pytest.mark.parametrize("name", KINDS)
def test_damage_leaves_silence_of_its_length(name, fill):
    """What comes behind it stays where it was."""
    container, codec, rate, *_ = KINDS[name]
    data = bytearray(telling_file(SOUND_SECONDS, 0.0, container, codec, rate))
    begin, end = len(data) * 5 // 12, len(data) // 2
    data[begin:end] = np.random.default_rng(0).bytes(end - begin) if fill == "noise" else bytes(end - begin)
    whole = decode_audio(bytes(data))
    assert [named_second(whole, at) for at in (10.25, 30.25, 35.25)] == [10.25, 30.25, 35.25]
    part = decode_audio(bytes(data), start=25, end=40)
    assert named_second(part, 5.25) == 30.25
