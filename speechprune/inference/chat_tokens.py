"""Tokens of a rendered chat: control tokens of the template are control, those in words are words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

MARK = "\ue000"  # stands for words of the user; of private use: no chat template holds it


class PromptError(ValueError):
    """A question that can't be put to this model; the message says why."""


class Token(NamedTuple):
    """A token and the characters of the text that it stands for."""

    token_id: int
    begin: int
    end: int


def tokenize_chat(
    tokenizer: Any, chat: str, words: Sequence[tuple[int, int]], audio_token_id: int
) -> list[Token]:
    """Tokenize a chat so that no control token comes from the user's words.

    Words without control tokens are tokenized with the whole chat. Where they have one, the text between two
    control tokens of the template is tokenized by itself, with control tokens taken for text.

    Parameters
    ----------
    tokenizer
        A fast tokenizer.
    chat
        The rendered chat.
    words
        Its character spans that hold words of the user, in ascending order.
    audio_token_id
        The placeholder of the audio, which counts as control however the tokenizer declares it.

    Raises
    ------
    PromptError
        The words contain a control token that this tokenizer can't take for text; the sentence names it.
    """
    tokens = _encode(tokenizer, chat)
    frame = chat  # with a mark for each span of words
    for begin, end in reversed(words):
        frame = frame[:begin] + MARK + frame[end:]
    frame_tokens = _encode_frame(tokenizer, frame)
    control_ids = _control_ids(tokenizer, frame_tokens) | {audio_token_id}

    def controls(of: list[Token]) -> list[Token]:
        return [token for token in of if token.token_id in control_ids]

    def same_controls(others: list[Token]) -> bool:
        ids = [token.token_id for token in controls(frame_tokens)]
        return [token.token_id for token in controls(others)] == ids

    intruders = [token for token in controls(tokens) if _is_in(token, chat, words)]
    if not intruders and same_controls(tokens):
        return tokens
    texts = (chat[begin:end] for begin, end in words)
    apart = _encode_apart(tokenizer, frame, controls(frame_tokens), texts)
    again = _encode_apart(tokenizer, frame, controls(frame_tokens), repeat(MARK))
    if not same_controls(apart) or again != frame_tokens:
        name = tokenizer.convert_ids_to_tokens(intruders[0].token_id) if intruders else "part of one"
        raise PromptError(
            f"the question or a choice contains a control token of the model, {name}, which its tokenizer "
            "can't take for text: write it in another way"
        )
    return apart


def tokenize_answer(
    tokenizer: Any,
    chat: str,
    words: Sequence[tuple[int, int]],
    prompt: Sequence[Token],
    answer: str,
    audio_token_id: int,
) -> list[int]:
    """Tokenize an answer where it continues a chat, whose own tokens stay as they are.

    Control tokens in the answer are words. Where the border of chat and answer is none between tokens of the
    two together, the answer is tokenized by itself, as a model would write it.

    Parameters
    ----------
    chat, words, audio_token_id
        As for ``tokenize_chat``.
    prompt
        The chat's tokens.
    answer
        What follows the chat.

    Raises
    ------
    PromptError
        See ``tokenize_chat``.
    """
    words = [*words, (len(chat), len(chat) + len(answer))]
    together = [token.token_id for token in tokenize_chat(tokenizer, chat + answer, words, audio_token_id)]
    if together[: len(prompt)] == [token.token_id for token in prompt]:
        return together[len(prompt) :]
    alone = tokenize_chat(tokenizer, answer, [(0, len(answer))], audio_token_id)
    return [token.token_id for token in alone]


@lru_cache(maxsize=64)  # all questions with as many choices have one frame
def _encode_frame(tokenizer: Any, frame: str) -> list[Token]:
    return _encode(tokenizer, frame)


def _encode(tokenizer: Any, text: str, *, split_special_tokens: bool = False) -> list[Token]:
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        split_special_tokens=split_special_tokens,
    )
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [Token(token_id, *offsets) for token_id, offsets in pairs]


def _encode_apart(tokenizer: Any, frame: str, controls: list[Token], words: Iterator[str]) -> list[Token]:
    """Put words at the marks of a frame, and tokenize what is between its control tokens by itself."""
    tokens: list[Token] = []
    at = place = 0  # in the frame, in the chat
    for control in [*controls, None]:
        text = re.sub(MARK, lambda _: next(words), frame[at : control.begin if control else None])
        for token_id, begin, end in _encode(tokenizer, text, split_special_tokens=True):
            tokens.append(Token(token_id, place + begin, place + end))
        place += len(text)
        if control:
            length = control.end - control.begin
            tokens.append(Token(control.token_id, place, place + length))
            place += length
            at = control.end
    return tokens


def _control_ids(tokenizer: Any, frame_tokens: list[Token]) -> set[int]:
    """All special tokens, and what the template uses of the other added ones; white space is no control.

    The token for unknown words is none either: any word may be that.
    """
    in_frame = {token.token_id for token in frame_tokens}
    return {
        token_id
        for token_id, added in tokenizer.added_tokens_decoder.items()
        if added.special or (token_id in in_frame and added.content.strip())
    } - {tokenizer.unk_token_id}


def _is_in(token: Token, chat: str, words: Sequence[tuple[int, int]]) -> bool:
    """Whether a token takes characters of words; a control token may take the white space beside it."""
    for begin, end in words:
        text = chat[begin:end]
        first, last = begin + len(text) - len(text.lstrip()), begin + len(text.rstrip())
        if token.begin < last and token.end > first:
            return True
    return False
