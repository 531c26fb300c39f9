"""Transcripts as subtitles: what FFmpeg reads from them, and where they come from."""

import io
import re
from itertools import pairwise

import av
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from speechprune.data.index_models import NotIndexed
from speechprune.reports.show import main as show
from speechprune.reports.subtitles import TimedText, as_srt
from speechprune.reports.transcript import read_transcript
from tests.helpers.answered_run import answered_run, write_answer
from tests.helpers.archive import NIGHT
from tests.helpers.harness import launch, write_sound
from tests.helpers.tiny_cascade import save_tiny_cascade
from tests.helpers.tiny_models import load_tiny_model


def cues_of(srt: str) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds, and text of each cue, by FFmpeg's demuxer."""
    with av.open(io.BytesIO(srt.encode()), format="srt") as file:
        packets = [packet for packet in file.demux() if packet.size]
        return [
            (
                round(1000 * one.pts * one.time_base),
                round(1000 * (one.pts + one.duration) * one.time_base),
                bytes(one).decode(),
            )
            for one in packets
        ]


def spoken(*words: str, start: float = 0.0, seconds: float = 0.5) -> list[TimedText]:
    return [TimedText(start + i * seconds, start + (i + 1) * seconds, word) for i, word in enumerate(words)]


texts = st.text(alphabet=st.sampled_from("ab ,.->\n\r\x00\x0b\x85\u2028é你1:"), max_size=12)
steps = st.floats(0, 3, allow_nan=False)


@given(st.lists(st.tuples(steps, steps, texts), max_size=40), st.floats(0, 500_000))
@example([(0.0, 0.0, "a"), (0.0, 0.0, " b" * 60)], 0.0)
def test_any_words_are_valid_subtitles(made, start):
    parts = []
    for gap, length, text in made:
        start += gap
        parts.append(TimedText(start, start + length, text))
    srt = as_srt(parts)
    cues = cues_of(srt)
    assert len(cues) == srt.count(" --> ")
    assert all(begin < end for begin, end, _ in cues)
    assert all(one[1] <= following[0] for one, following in pairwise(cues))
    for _, _, text in cues:
        lines = text.splitlines()
        assert 1 <= len(lines) <= 2
        assert all(0 < len(line) <= 42 for line in lines)
    joined = "".join(text for _, _, text in cues)
    same = "".join(part.text for part in parts)
    plain = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028]|-->|→")
    assert plain.sub("", joined) == plain.sub("", same)


def test_cues_end_at_sentences_and_pauses():
    parts = spoken(" We", " meet", " on", " Monday", " morning.", " Bring", " the", " key")
    parts += spoken(" please", start=9.0)
    assert cues_of(as_srt(parts)) == [
        (0, 2500, "We meet on Monday morning."),
        (2500, 4000, "Bring the key"),
        (9000, 9500, "please"),
    ]


def test_hours_may_have_three_digits():
    srt = as_srt(spoken(" late", start=100 * 3600 + 61.5))
    assert srt == "1\n100:01:01,500 --> 100:01:02,000\nlate\n"
    assert cues_of(srt) == [(360_061_500, 360_062_000, "late")]


def test_nothing_is_no_subtitle():
    assert as_srt([]) == as_srt(spoken(" ", "\n")) == ""


def test_show_prints_the_transcript_of_an_indexed_recording(archive, speech, tmp_path, capsys):
    model = save_tiny_cascade(tmp_path / "cascade")
    sounds = archive.sounds
    samples = speech(40.0)
    write_sound(sounds / "a.wav", samples)
    write_sound(sounds / "b.wav", speech(7.0))
    archive = type(archive)(archive.folder, model)
    archive.configure(str(sounds), archive.index)
    assert launch(archive.config, job=NIGHT).code == 0
    capsys.readouterr()
    assert show([archive.index, "--srt", "a.wav"]) == 0
    srt = capsys.readouterr().out
    lm = load_tiny_model(model)
    (audio,) = lm.encode_many([samples])
    text = lm.model.tokenizer.decode(audio.token_ids)
    plain = re.compile(r"[\s\x00-\x1f\x7f-\x9f]|-->|→")
    cues = cues_of(srt)
    assert plain.sub("", "".join(cue[2] for cue in cues)) == plain.sub("", text)
    assert cues[0][0] == pytest.approx(1000 * audio.times[0, 0], abs=30)
    for index, recording, sentence in (
        (archive.index, "missing.wav", "does not hold missing.wav"),
        (archive.index, ".wav", "2 recordings of index"),
        (str(tmp_path), "a.wav", f"there is no index at {tmp_path}"),
    ):
        with pytest.raises(NotIndexed, match=sentence):
            read_transcript(index, recording)
        assert show([index, "--srt", recording]) == 2


def test_show_prints_the_transcripts_of_an_items_evidence(tmp_path, capsys, log_lines):
    run = answered_run(str(tmp_path / "run"))
    texts = ["the second, of a few words", "the first"]  # the evidence stands best first
    spans = [{"start": 60.0, "end": 66.5, "score": 0.4}, {"start": 3.0, "end": 4.0, "score": 0.3}]
    write_answer(run, "spoken", evidence=spans, evidence_text=texts)
    assert show([run.path, "spoken", "--srt"]) == 0
    cues = cues_of(capsys.readouterr().out)
    assert [cue[2] for cue in cues] == texts[::-1]
    assert [cue[:2] for cue in cues] == [(3000, 4000), (60_000, 66_500)]
    assert show([run.path, "open-1", "--srt"]) == 2
    assert "open-1 has no transcripts of its evidence" in log_lines[-1]
