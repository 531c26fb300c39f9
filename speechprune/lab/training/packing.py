"""Several questions about one context in one sequence, none of which sees another.

Reading the audio costs far more than reading a question, so every context is read once for all of its
questions: each is laid behind the audio at the position where it would stand alone, and may look at the
audio and at itself only. What it computes is what it would compute alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from speechprune.benchmarks.builder.grammar import subject_words
from speechprune.inference.prompts import PromptFormat, build_prompt
from speechprune.lab.training.contexts import Context, ContextQuestion

IGNORED = -100


@dataclass
class Pack:
    """A batch of contexts with their questions.

    Parameters
    ----------
    embeds
        ``inputs_embeds``, ``(batch, tokens, D)``.
    positions
        ``position_ids``, ``(batch, tokens)``.
    mask
        Which tokens see which, bool, ``(batch, 1, tokens, tokens)``.
    labels
        The token that must come next, `IGNORED` where nothing is asked of the model; ``(batch, tokens)``.
    is_letter
        Labels that are letters of choices.
    answering
        Of each question: (row, token that answers, begin and end of the fact's evidence tokens, of the right
        option).
        The option's are zero for questions without choices.
    subjects, values
        Token ids of the two words of each question's subject, ``(questions, 2)``, and of its answer.
    """

    embeds: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    is_letter: torch.Tensor
    answering: torch.Tensor
    subjects: torch.Tensor
    values: torch.Tensor

    def to(self, device: torch.device) -> Pack:
        """Return a copy on another device."""
        return Pack(**{name: tensor.to(device) for name, tensor in vars(self).items()})


class Packer:
    """Formats questions with the model's own chat template and places them after their context."""

    def __init__(self, processor: Any, audio_token_id: int, text_table: torch.Tensor) -> None:
        self.tokenizer = processor.tokenizer
        self.audio_token_id = audio_token_id
        self.text_table = text_table
        self.wording = PromptFormat()
        self._render = _chat_renderer(processor)

    def question_ids(
        self, asked: ContextQuestion, with_choices: bool
    ) -> tuple[list[int], list[int], list[int], tuple[int, int]]:
        """Ids before the audio, behind it, of the answer; and where in them the right option stands."""
        prompt = build_prompt(
            asked.question,
            asked.choices if with_choices else None,
            wording=self.wording,
            render_chat=self._render,
            tokenizer=self.tokenizer,
            audio_token_id=self.audio_token_id,
        )
        text = asked.answer if with_choices else asked.answer_text
        answer = [*self._ids(text), self.tokenizer.eos_token_id]
        option = (0, 0)
        if with_choices:
            wanted = self._ids(f"{asked.answer}. {asked.answer_text}")
            begin = _find(prompt.suffix_ids, wanted)
            option = (begin, begin + len(wanted))
        return prompt.prefix_ids, prompt.suffix_ids, answer, option

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def pack(self, items: list[tuple[Context, list[tuple[ContextQuestion, bool]]]]) -> Pack:
        """Lay out contexts, each with its questions (and whether their choices are shown)."""
        rows = [self._row(context, questions) for context, questions in items]
        length = max(len(row["positions"]) for row in rows)
        size = self.text_table.shape[1]
        embeds = torch.zeros(len(rows), length, size)
        positions = torch.zeros(len(rows), length, dtype=torch.long)
        labels = torch.full((len(rows), length), IGNORED)
        is_letter = torch.zeros(len(rows), length, dtype=torch.bool)
        segments = torch.full((len(rows), length), -1)
        answering, subjects, values = [], [], []
        for number, row in enumerate(rows):
            n = len(row["positions"])
            embeds[number, :n] = row["embeds"]
            positions[number, :n] = row["positions"]
            labels[number, :n] = row["labels"]
            is_letter[number, :n] = row["is_letter"]
            segments[number, :n] = row["segments"]
            answering += [[number, *place] for place in row["answering"]]
            subjects += row["subjects"]
            values += row["values"]
        order = torch.arange(length)
        causal = order[:, None] >= order[None, :]
        same = segments[:, :, None] == segments[:, None, :]
        mask = causal & (same | (segments == 0)[:, None, :]) & (segments >= 0)[:, None, :]
        mask |= torch.eye(length, dtype=torch.bool)  # padding sees itself: a row must see something
        return Pack(
            embeds,
            positions,
            mask[:, None],
            labels,
            is_letter,
            torch.tensor(answering),
            torch.tensor(subjects),
            torch.tensor(values),
        )

    def _row(self, context: Context, questions: list[tuple[ContextQuestion, bool]]) -> dict:
        worded = [self.question_ids(asked, with_choices) for asked, with_choices in questions]
        prefix = worded[0][0]
        shared = len(prefix) + len(context.embeds)
        embeds = [self.text_table[prefix], torch.from_numpy(context.embeds)]
        positions, segments = [torch.arange(shared)], [torch.zeros(shared, dtype=torch.long)]
        labels, is_letter = [torch.full((shared,), IGNORED)], [torch.zeros(shared, dtype=torch.bool)]
        answering, subjects, values = [], [], []
        begin = shared
        for number, ((asked, with_choices), (_, suffix, answer, option)) in enumerate(
            zip(questions, worded, strict=True), start=1
        ):
            ids = suffix + answer[:-1]
            embeds.append(self.text_table[ids])
            positions.append(shared + torch.arange(len(ids)))
            segments.append(torch.full((len(ids),), number))
            wanted = torch.full((len(ids),), IGNORED)
            wanted[len(suffix) - 1 :] = torch.tensor(answer)
            labels.append(wanted)
            letter = torch.zeros(len(ids), dtype=torch.bool)
            letter[len(suffix) - 1] = with_choices
            is_letter.append(letter)
            fact = [len(prefix) + place for place in asked.evidence_tokens]
            places = [begin + place if with_choices else 0 for place in option]
            answering.append([begin + len(suffix) - 1, *fact, *places])
            subjects.append(self._ids(" ".join(subject_words(asked.question))))
            values += self._ids(asked.answer_text)
            begin += len(ids)
        return {
            "embeds": torch.cat(embeds),
            "positions": torch.cat(positions),
            "segments": torch.cat(segments),
            "labels": torch.cat(labels),
            "is_letter": torch.cat(is_letter),
            "answering": answering,
            "subjects": subjects,
            "values": values,
        }


def _chat_renderer(processor: Any) -> Callable[[str], str]:
    mark = "\ue000"
    content = [{"type": "audio", "audio_url": "recording"}, {"type": "text", "text": mark}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return lambda text: chat.replace(mark, text)


def _find(ids: list[int], wanted: list[int]) -> int:
    for begin in range(len(ids) - len(wanted) + 1):
        if ids[begin : begin + len(wanted)] == wanted:
            return begin
    raise ValueError("the option does not stand in the prompt")
