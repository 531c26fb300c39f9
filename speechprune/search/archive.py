"""An index that one process asks again and again, without Ray and without a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from speechprune.config import ConfigError, resolve_package_address
from speechprune.data.search_codes import SearchCodes
from speechprune.inference.encoding_options import EncodingOptions
from speechprune.inference.speech_lm import SpeechLM
from speechprune.inference.types import AnsweringOptions
from speechprune.models.loading import load_model
from speechprune.models.options import ModelOptions
from speechprune.pipeline.config import OutputOptions
from speechprune.pipeline.executor import LocalExecutor
from speechprune.pipeline.options import RayOptions
from speechprune.search.approximate import SearchIndex
from speechprune.search.config import SearchConfig, SearchOptions
from speechprune.search.inputs import Inputs, check_words
from speechprune.search.ranking import encode_words, rank_recordings
from speechprune.search.scan import WHOLE, Match
from speechprune.search.transcripts import read_passages


@dataclass(frozen=True)
class Hit:
    """A recording that matches a question, and where it does."""

    recording: str
    score: float  # by what ranks
    # of the best match, in seconds
    start: float
    end: float
    matches: tuple[Match, ...]  # up to five windows, best first


class Archive:
    """An index of recordings: opened once, and asked as often as you like.

    Parameters
    ----------
    index
        Folder of an index made by ``speechprune index``.
    model
        The model that made it, or its path. Loaded as ``lm``, it answers questions about the hits.
    encoding
        How its recordings were cut into windows.
    **search
        Fields of ``SearchOptions``, such as ``where``, ``words`` or ``num_listed``.

    Raises
    ------
    NotIndexed, ConfigError, ModelError
        In one line: no index of this model, none of its recordings meets ``where``, no such model.

    Examples
    --------
    >>> archive = Archive("runs/index", "package://demo/model")  # doctest: +SKIP
    >>> best = archive.search("Where was the merchant crown found?")[0]  # doctest: +SKIP
    >>> archive.lm.answer(best.recording, "Where was the merchant crown found?")  # doctest: +SKIP
    """

    def __init__(
        self, index: str, model: str | ModelOptions, *, encoding: EncodingOptions | None = None, **search: Any
    ) -> None:
        self._options = SearchOptions(index=index, **search)
        if isinstance(model, str):
            model = ModelOptions(path=resolve_package_address(model))
        self._model = model
        self._encoding = encoding or EncodingOptions()
        self._executor = LocalExecutor(RayOptions(executor="local"), self._model)
        inputs = self._inputs("", None)
        self._stored, self._part_bytes = inputs.stored, inputs.part_bytes
        self._codes = None
        if not self._options.exact and self._options.span == WHOLE:
            codes = SearchCodes(inputs.directory.path)
            self._codes = SearchIndex.open(codes, inputs.contents, self._stored)
        self.lm = SpeechLM(load_model(self._model), self._encoding)
        check_words(self._options, self.lm.model.shape)

    def search(self, question: str, choices: Sequence[str] | None = None) -> list[Hit]:
        """Return the recordings that match a question, best first.

        Raises
        ------
        ConfigError
            A number of choices that is none, or no window of the index that can be read.
        PromptError
            A question that this model can't be asked.
        """
        answering = AnsweringOptions()
        ranking = rank_recordings(
            self._executor,
            self._options,
            answering,
            self._stored,
            self._codes,
            self._inputs(question, choices).questions,
            self._part_bytes,
            partial(encode_words, self.lm.model, answering),
        )
        hits = []
        for place in np.argsort(-ranking.best[0], kind="stable")[: self._options.num_listed].tolist():
            uri, matches = ranking.recordings[place], ranking.scores[place][0].matches
            if matches:
                start, end, _ = matches[0]
                hits.append(Hit(uri, float(ranking.best[0][place]), start, end, matches))
        return hits

    def text(self, recording: str, start: float, end: float) -> str:
        """Return what is spoken between two seconds of a recording.

        Raises
        ------
        ModelError
            The model writes no transcripts into an index; a cascade does.
        """
        passages, unreadable = read_passages({recording: self._stored[recording]}, self._model, (start, end))
        if unreadable:
            raise ConfigError(f"{recording}: its transcript can't be read ({unreadable[recording]})")
        return " ".join(passage.text.strip() for passage in passages[recording])

    def _inputs(self, question: str, choices: Sequence[str] | None) -> Inputs:
        config = SearchConfig(
            search=self._options, model=self._model, encoding=self._encoding, output=OutputOptions(path="")
        )
        return Inputs(config, (question, None if choices is None else list(choices)), audio_folder="")
