"""Export of a built benchmark: audio files, manifest rows, transcripts and SPIRAL-like records."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Sequence
from typing import Any, Literal

import av
import numpy as np
import soundfile

from speechprune.audio import SAMPLE_RATE, split_windows
from speechprune.benchmarks.builder.recording import Span, SpokenScript
from speechprune.benchmarks.builder.script import ScriptQuestion
from speechprune.benchmarks.builder.speech import Word
from speechprune.data import Row
from speechprune.inference.prompts import LETTERS

AudioFormat = Literal["flac", "opus"]

FRAME_SAMPLES = 30 * SAMPLE_RATE  # handed to the Opus encoder at a time
OPUS_BITS_PER_SECOND = 24_000
TIME_DECIMALS = 7  # exact: a sample lasts 0.0000625 s


def encode_audio(samples: np.ndarray, audio_format: AudioFormat) -> bytes:
    """Encode an audio file; the same samples always give the same bytes.

    Parameters
    ----------
    samples
        int16, 16 kHz mono, shape ``(num_samples,)``.
    audio_format
        ``flac`` loses nothing; ``opus`` takes 3 KB a second.
    """
    file = io.BytesIO()
    if audio_format == "flac":
        soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    else:
        _write_opus(file, samples)
    return file.getvalue()


def _write_opus(file: io.BytesIO, samples: np.ndarray) -> None:
    # bit-exact: without the random serial number that Ogg streams carry
    with av.open(file, "w", format="opus", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = OPUS_BITS_PER_SECOND
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for window in split_windows(samples, FRAME_SAMPLES):
            frame = av.AudioFrame.from_ndarray(window[None], format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def item_id(recording_id: str, number: int) -> str:
    """Make the id of a recording's question number `number`, from 0."""
    return f"{recording_id}-{number + 1}"


def manifest_rows(recording_id: str, audio: str, spoken: SpokenScript) -> list[Row]:
    """Make one manifest row per question, as ``batch_qa.py`` reads them.

    Parameters
    ----------
    recording_id
        Id, unique in the benchmark.
    audio
        The recording's file, relative to the manifest.
    spoken
        The recording.
    """
    script = spoken.script
    voices = [spoken.voices[speaker.name] for speaker in script.speakers]
    shared = {
        "scenario": script.scenario,
        "topic": script.topic,
        "subtopic": script.subtopic,
        "voice_group": "+".join(sorted({voice.group for voice in voices})),
        "voices": [voice.name for voice in voices],
    }
    rows = []
    for number, question in enumerate(script.questions):
        start, end = spoken.evidence_span(question)
        rows.append(
            {
                "item_id": item_id(recording_id, number),
                "audio": audio,
                "question": question.question,
                "choices": list(question.choices),
                "answer": question.answer,
                "evidence_start": round(start, TIME_DECIMALS),
                "evidence_end": round(end, TIME_DECIMALS),
                **shared,
            }
        )
    return rows


def transcript_record(recording_id: str, spoken: SpokenScript) -> Row:
    """Make the transcript of a recording with times: turns, their sentences, all words."""
    turns = [
        {
            "speaker": turn.speaker,
            "voice": spoken.voices[turn.speaker].name,
            "sentences": [
                {"text": sentence, **_times(span)}
                for sentence, span in zip(turn.sentences, spans, strict=True)
            ],
        }
        for turn, spans in zip(spoken.script.turns, spoken.sentence_spans, strict=True)
    ]
    return {
        "recording_id": recording_id,
        "audio_seconds": round(spoken.audio_seconds, TIME_DECIMALS),
        "turns": turns,
        "words": _timed_words(spoken.words),
    }


def _timed_words(words: Sequence[Word]) -> list[Row]:
    return [{"text": word.text, **_times((word.start, word.end))} for word in words]


def _times(span: Span) -> dict[str, float]:
    return {"start": round(span[0], TIME_DECIMALS), "end": round(span[1], TIME_DECIMALS)}


def spiral_records(recording_id: str, audio: str, spoken: SpokenScript) -> list[Row]:
    """Make one record per question, with all fields of SPIRAL's ``data.jsonl``.

    Two differences: the critical fact has no file of its own, so that ``key_sentences`` names the
    recording, with the ``start`` and ``end`` of the fact in seconds; ``prompts_used`` names voices, which
    end in ``_F`` or ``_M`` as SPIRAL's do.

    Parameters
    ----------
    recording_id, audio, spoken
        As for ``manifest_rows``.
    """
    script = spoken.script
    sentences = [sentence for turn in script.turns for sentence in turn.sentences]
    folder, file = posixpath.split(audio)
    folder = folder or "."
    combined = {
        "audio_files": [file],
        "audio_folder": folder,
        "prompts_used": {
            name: f"{voice.name}_{'F' if voice.gender == 'female' else 'M'}"
            for name, voice in spoken.voices.items()
        },
        "sentences": sentences,
    }
    transcript = [{"speaker": turn.speaker, "text": list(turn.sentences)} for turn in script.turns]
    records = []
    for number, question in enumerate(script.questions):
        key_sentence = script.key_sentence(question)
        index = sum(len(turn.sentences) for turn in script.turns[: question.turn]) + question.sentence
        records.append(
            {
                "transcript": transcript,
                "original_key_sentence": key_sentence,
                "test_question": _test_question(question),
                "metadata": {
                    "main_topic": script.topic,
                    "subtopic": script.subtopic,
                    "transcript_type": script.scenario,
                    "id": item_id(recording_id, number),
                },
                "audio_data": {
                    "key_sentences": {
                        "speaker": script.turns[question.turn].speaker,
                        "text": key_sentence,
                        "audio_file": file,
                        "indices": [index, index + 1],
                        "audio_dir": folder,
                        **_times(spoken.evidence_span(question)),
                    },
                    "combined": combined,
                },
            }
        )
    return records


def _test_question(question: ScriptQuestion) -> dict[str, Any]:
    labelled = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=False)]
    return {
        "question": question.question,
        "choices": labelled,
        "correct_answer": labelled[LETTERS.index(question.answer)],
    }
