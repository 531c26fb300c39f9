"""What is asked and what comes back."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np

from speechprune.cost import Cost
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.evidence import EvidenceSpan, TimelinePart
from speechprune.inference.prompts import PromptFormat, QueryText


@dataclass(frozen=True, kw_only=True)
class AnsweringOptions(PromptFormat):
    """How questions are put and answered.

    Parameters
    ----------
    query_text
        What phase 1 compares the audio with: the question and its choices' texts (choices carry
        words to listen for), or the question alone.
    max_new_tokens
        Limit of an open-ended answer, and of each transcript.
    permute_choices
        Average the letters' probabilities over this many seeded orders of the choices, to cancel a
        model's liking for a letter; 1 asks once, in the order given.
    permuted_check
        Every item with choices is put once more with each choice at another letter, to tell how far
        answers depend on letters: column ``correct_permuted``, a prefill that no cost column counts.
    no_audio_baseline
        The job asks every item with choices once more without any audio, to tell what the questions
        give away: one prefill of text an item, which no cost column counts.
    transcribe_evidence
        The model writes down each span of the evidence, for ``evidence_text``: one generation a span, which
        ``tflops_total`` and ``seconds_generate`` count. A cascade has the text without it.
    calibrate
        Where texts are scored, by how much the audio makes each likelier: its log likelihood without audio,
        summed or per token as the other, is subtracted. One more prefill of text an item, which is counted.
    """

    query_text: QueryText = "question_and_choices"
    max_new_tokens: int = 64
    permute_choices: int = 1
    permuted_check: bool = False
    no_audio_baseline: bool = False
    calibrate: bool = False
    transcribe_evidence: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_new_tokens", "permute_choices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.by_texts and (self.permute_choices > 1 or self.permuted_check):
            name = "permuted_check" if self.permuted_check else "permute_choices"
            raise ValueError(
                f"{name} is {getattr(self, name)}, but with scoring={self.scoring} no letter is asked for: "
                "set permute_choices=1 and permuted_check=false, or scoring=letters"
            )
        if self.calibrate and not self.by_texts:
            raise ValueError(
                "calibrate is true, but only likelihoods of texts are calibrated: set scoring=texts or "
                "scoring=texts_per_token"
            )


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question about one encoded recording."""

    item_id: str  # seeds random methods and orders of choices
    audio: EncodedAudio
    question: str
    choices: tuple[str, ...] | None = None  # 2 to 26 texts, or None for an open-ended question


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A prediction, what it was made from and what it cost.

    Parameters
    ----------
    prediction
        The letter of the choice, or the generated text.
    prediction_text
        The text of the choice, or the generated text.
    permuted_prediction
        The letter, in the order of the choices given, that was answered when every choice stood at another;
        None unless ``permuted_check``.
    choice_probabilities
        In the order of the choices; sum to one. By letters: the next token's, over the letters. By texts: the
        softmax over the choices of their log likelihoods, summed or per token, calibrated where that is set.
    kept_indices
        Audio tokens in the prompt, int64, ascending.
    evidence
        Spans of the recording, best first; empty for methods that don't look at the question.
    evidence_text
        Transcript of each span of the evidence; None without ``transcribe_evidence``, but of a cascade.
    timeline
        The recording in parts, in order: what was kept of each, and its score by phase 1.
    num_phase1_tokens
        Tokens that phase 1 left; None without phase 1.
    cost
        Both accounts, the paper's and the actual FLOPs. Encoding is shared evenly by the questions asked
        together.
    seconds_prune, seconds_prefill, seconds_generate
        This answer's even share of the measured time of its batch.
    peak_memory_bytes
        Peak during the batch: of the device on CUDA, of the process on CPUs.
    """

    prediction: str
    prediction_text: str
    permuted_prediction: str | None
    choice_probabilities: list[float] | None
    kept_indices: np.ndarray
    evidence: list[EvidenceSpan]
    evidence_text: list[str] | None
    timeline: list[TimelinePart]
    num_audio_tokens: int
    num_phase1_tokens: int | None
    num_text_tokens: int
    num_generated_tokens: int
    cost: Cost
    seconds_encode: float
    seconds_prune: float
    seconds_prefill: float
    seconds_generate: float
    peak_memory_bytes: int

    @property
    def num_kept_tokens(self) -> int:
        """Tokens in ``kept_indices``."""
        return len(self.kept_indices)

    def __repr__(self) -> str:
        kept = f"{self.num_kept_tokens:,} of {self.num_audio_tokens:,} audio tokens"
        tflops = f"{self.cost.tflops_total:.3g} TFLOPs"
        return f"Answer({self.prediction!r}: {self.prediction_text!r}, {kept}, {tflops})"

    def _repr_html_(self) -> str:
        """Show the answer in a notebook."""
        spans = ", ".join(f"{span.start:.1f}-{span.end:.1f} s" for span in self.evidence)
        chances = ", ".join(f"{probability:.0%}" for probability in self.choice_probabilities or [])
        rows = {
            "answer": self.prediction_text,
            "choices": chances,
            "evidence": spans,
            "audio tokens": f"{self.num_kept_tokens:,} of {self.num_audio_tokens:,}",
            "TFLOPs": f"{self.cost.tflops_total:.3g}",
        }
        cells = (
            f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows.items() if text
        )
        return f"<table>{''.join(cells)}</table>"
