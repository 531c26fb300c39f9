"""Batches under a memory limit: by token budget, and halved when the device runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

MOST_PADDING = 1 / 20  # of a prompt, in a batch that is large enough
BUSY_SHARE = 1 / 8  # of the token budget, from which on a batch is large enough: 2,048 by default on CUDA

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches_by_tokens(
    lengths: Sequence[int],
    max_tokens: int,
    num_copies: Sequence[int] | None = None,
    switch: int | None = None,
) -> list[list[int]]:
    """Group prompts of like length, so that each padded batch holds at most ``max_tokens``.

    A batch that is large enough to keep a GPU busy takes no prompt that would be padded by more than a
    twentieth.

    Parameters
    ----------
    lengths
        Tokens of each prompt.
    max_tokens
        Padded tokens in a batch; a prompt longer than that makes a batch of its own.
    num_copies
        How often the batch holds each prompt; once where it is None.
    switch
        Prompts up to this length and longer ones share no batch; see ``LanguageModel.rope_switch``.

    Returns
    -------
    list
        Indices into ``lengths``, longest first: the largest batch fails first, if one has to.
    """
    copies = num_copies or [1] * len(lengths)
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches:
            batch = batches[-1]
            longest = lengths[batch[0]]
            num_padded = longest * (len(batch) + 1)
            num_held = longest * sum(copies[i] for i in [*batch, index])
            is_alike = longest - lengths[index] <= MOST_PADDING * longest
            is_across = switch is not None and lengths[index] <= switch < longest
            fits = num_held <= max_tokens and (is_alike or num_padded <= BUSY_SHARE * max_tokens)
            if fits and not is_across:
                batch.append(index)
                continue
        batches.append([index])
    return batches


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the host's allocator, is out of memory."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def run_in_batches(
    batches: Iterable[list[Item]], run: Callable[[list[Item]], Sequence[Result]]
) -> list[Result | Exception]:
    """Run each batch; one that runs out of memory is halved, down to single items.

    Returns one entry per item, in the order of the batches: its result; the out-of-memory of an item that
    does not fit even alone; or the error of its batch.
    """
    results: list[Result | Exception] = []
    for batch in batches:
        results.extend(_run_or_halve(batch, run))
    return results


def _run_or_halve(
    batch: list[Item], run: Callable[[list[Item]], Sequence[Result]]
) -> Sequence[Result | Exception]:
    try:
        return run(batch)
    except Exception as error:
        if not is_out_of_memory(error):
            return [error] * len(batch)
        if len(batch) == 1:
            return [error.with_traceback(None)]  # the frames would keep this item's tensors alive
    # outside the except block, for the same reason
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(batch) // 2
    return [*_run_or_halve(batch[:half], run), *_run_or_halve(batch[half:], run)]
