"""The public face of the library: load a Speech LLM, encode recordings, ask questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from speechprune.audio import AudioSource, Speech, decode_audio, decode_speech
from speechprune.inference.answer import answer_items
from speechprune.inference.encode import EncodedAudio, encode_recordings
from speechprune.inference.encoding_options import EncodingOptions
from speechprune.inference.prompts import MAX_CHOICES
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.models.base import SpeechModel
from speechprune.models.loading import load_model
from speechprune.models.options import ModelOptions
from speechprune.pruning import PruningMethod, SpeechPrune, method_class

AudioQuestion = tuple[EncodedAudio | AudioSource, str, Sequence[str] | None]


class SpeechLM:
    """A Speech LLM that answers questions about recordings of any length.

    Parameters
    ----------
    model
        A loaded model; ``from_pretrained`` makes one.
    encoding
        How recordings are cut into windows.

    Examples
    --------
    >>> lm = SpeechLM.from_pretrained("Qwen/Qwen2-Audio-7B-Instruct")  # doctest: +SKIP
    >>> audio = lm.encode("meeting.m4a")  # doctest: +SKIP
    >>> answer = lm.answer(audio, "When is the review?", choices=["Monday", "Friday"])  # doctest: +SKIP
    """

    def __init__(self, model: SpeechModel, encoding: EncodingOptions | None = None) -> None:
        self.model = model
        self.encoding = encoding or EncodingOptions()

    @classmethod
    def from_pretrained(
        cls, path: str, *, encoding: EncodingOptions | None = None, **options: Any
    ) -> SpeechLM:
        """Load a model.

        Parameters
        ----------
        path
            Hub id, local folder, ``s3://`` folder, ``package://demo/model`` or ``fetched://NAME``.
        encoding
            How recordings are cut into windows.
        **options
            Fields of ``ModelOptions``: ``dtype``, ``device``, ``device_map``, ...

        Raises
        ------
        ModelError, ConfigError
            In one line: missing, gated, incomplete, not fetched, or too large for the device.
        """
        if "://" in path:
            from speechprune.config import resolve_package_address  # needs pydantic, unlike the rest

            path = resolve_package_address(path)
        return cls(load_model(ModelOptions(path=path, **options)), encoding)

    def encode(
        self, source: AudioSource, *, start: float | None = None, end: float | None = None
    ) -> EncodedAudio:
        """Decode and encode a recording, or a slice of it.

        Parameters
        ----------
        source
            Path, URL, the file's bytes, a binary file object, or ``(waveform, rate)``.
        start, end
            Seconds from the recording's beginning.

        Returns
        -------
        EncodedAudio
            ``embeds`` (N, D) on the model's device, ``times`` (N, 2) in seconds.

        Raises
        ------
        AudioError
            Missing, unreadable, empty, silent, too short or without speech.
        """
        detector = self.encoding.detector()
        if detector is None:
            return self.encode_many([decode_audio(source, start=start, end=end)], [start or 0.0])[0]
        samples, speech = decode_speech(source, detector, start=start, end=end)
        return self.encode_many([samples], [start or 0.0], [speech])[0]

    def encode_many(
        self,
        recordings: Sequence[np.ndarray],
        start_seconds: Sequence[float] | None = None,
        speech: Sequence[Speech] | None = None,
    ) -> list[EncodedAudio]:
        """Encode decoded recordings (int16 at 16 kHz) together, windows of all in shared batches.

        ``speech``: of recordings without their silence, see ``speechprune.audio.decode_speech``.
        """
        starts = start_seconds or [0.0] * len(recordings)
        return encode_recordings(self.model, recordings, starts, speech=speech, cut=self.encoding.cut)

    def answer(
        self,
        audio: EncodedAudio | AudioSource,
        question: str,
        choices: Sequence[str] | None = None,
        *,
        method: PruningMethod | str = SpeechPrune.name,
        options: AnsweringOptions | None = None,
    ) -> Answer:
        """Answer one question: by its choices' letters or texts, or in free text without choices.

        Parameters
        ----------
        audio
            What ``encode`` returned, or anything that ``encode`` takes.
        question, choices
            2 to 26 choices, or none.
        method
            A method; or the name of one in ``METHODS``, or the import path of a class of your own, with its
            default settings.
        options
            Wording, what of the choices is scored, limit of generated tokens.

        Raises
        ------
        AudioError, PromptError
            The recording or the question can't be used.
        """
        return self.answer_many([(audio, question, choices)], method=method, options=options)[0]

    def answer_many(
        self,
        questions: Sequence[AudioQuestion],
        *,
        method: PruningMethod | str = SpeechPrune.name,
        options: AnsweringOptions | None = None,
    ) -> list[Answer]:
        """Answer ``(audio, question, choices)`` triples in batches: the same answers as one by one.

        Questions about the same recording share its encoding if they are given the same object.
        """
        items = []
        encoded: dict[int, EncodedAudio] = {}
        for audio, question, choices in questions:
            if id(audio) not in encoded:
                encoded[id(audio)] = audio if isinstance(audio, EncodedAudio) else self.encode(audio)
            if choices is not None and not 2 <= len(choices) <= MAX_CHOICES:
                raise ValueError(
                    f"{len(choices)} choices: give 2 to {MAX_CHOICES}, or None for an open question"
                )
            items.append(
                Item(
                    item_id=question,
                    audio=encoded[id(audio)],
                    question=question,
                    choices=None if choices is None else tuple(choices),
                )
            )
        answers = []
        rule = method_class(method)() if isinstance(method, str) else method
        for outcome in answer_items(self.model, items, rule, options or AnsweringOptions()):
            if isinstance(outcome, Exception):
                raise outcome
            answers.append(outcome)
        return answers
