"""Batches by token budget, and what happens when one does not fit into memory."""

import itertools
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechprune.inference.batching import batches_by_tokens, is_out_of_memory, run_in_batches

LENGTHS = st.lists(st.integers(1, 2_000), max_size=40)


@given(LENGTHS, st.integers(1, 5_000))
def test_batches_hold_every_prompt_once_within_the_budget(lengths, max_tokens):
    batches = batches_by_tokens(lengths, max_tokens)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert padded <= max_tokens or len(batch) == 1
    in_order = [lengths[i] for batch in batches for i in batch]
    assert in_order == sorted(lengths, reverse=True)


@given(LENGTHS, st.integers(1, 5_000))
def test_a_batch_is_closed_where_the_next_prompt_does_not_fit_or_is_much_shorter(lengths, max_tokens):
    batches = batches_by_tokens(lengths, max_tokens)
    for batch, following in itertools.pairwise(batches):
        longest, num_padded = lengths[batch[0]], lengths[batch[0]] * (len(batch) + 1)
        is_short = 20 * (longest - lengths[following[0]]) > longest
        assert num_padded > max_tokens or (is_short and 8 * num_padded > max_tokens)


@given(st.lists(st.tuples(st.integers(1, 2_000), st.integers(1, 26)), max_size=40), st.integers(1, 50_000))
def test_copies_of_a_prompt_count_towards_the_budget(prompts, max_tokens):
    lengths, copies = [length for length, _ in prompts], [number for _, number in prompts]
    batches = batches_by_tokens(lengths, max_tokens, copies)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        held = max(lengths[i] for i in batch) * sum(copies[i] for i in batch)
        assert held <= max_tokens or len(batch) == 1


@given(LENGTHS, st.integers(1, 5_000), st.integers(1, 2_000))
def test_a_switch_parts_prompts_and_nothing_else(lengths, max_tokens, switch):
    batches = batches_by_tokens(lengths, max_tokens, switch=switch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len({lengths[i] > switch for i in batch}) == 1 for batch in batches)
    if not any(length > switch for length in lengths):
        assert batches == batches_by_tokens(lengths, max_tokens)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=300))
def test_prompts_are_padded_by_at_most_a_twentieth_in_a_batch_that_is_large_enough(lengths):
    for batch in batches_by_tokens(lengths, 16_384):
        longest = lengths[batch[0]]
        for place, index in enumerate(batch, start=1):
            assert 20 * (longest - lengths[index]) <= longest or longest * place <= 2_048


@given(st.lists(st.lists(st.integers(1, 100), min_size=1, max_size=12), max_size=5), st.integers(1, 200))
def test_what_fits_alone_is_done_and_what_does_not_fails_for_itself(batches, capacity):
    """A device that holds items of ``capacity`` in all."""

    def run(batch):
        if sum(batch) > capacity:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [size * 10 for size in batch]

    results = run_in_batches(batches, run)
    sizes = [size for batch in batches for size in batch]
    assert len(results) == len(sizes)
    for size, result in zip(sizes, results, strict=True):
        if size <= capacity:
            assert result == size * 10
        else:
            assert isinstance(result, torch.cuda.OutOfMemoryError)


def test_a_batch_is_halved_and_not_peeled():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return batch

    assert run_in_batches([list(range(8))], run) == list(range(8))
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


def test_another_error_is_the_batchs_own_and_is_not_tried_again():
    calls = []

    def run(batch):
        calls.append(batch)
        if "bad" in batch:
            raise ValueError("the head is too small")
        return batch

    results = run_in_batches([["a", "bad", "b"], ["c"]], run)
    assert [str(result) for result in results] == ["the head is too small"] * 3 + ["c"]
    assert calls == [["a", "bad", "b"], ["c"]]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 1 TB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error, expected):
    assert is_out_of_memory(error) is expected


class Tensors:
    """Stands for what a batch holds on the device."""


def test_a_failed_batch_is_let_go_before_its_halves_run():
    held: list[weakref.ref] = []

    def run(batch):
        assert all(reference() is None for reference in held)
        tensors = Tensors()
        held.append(weakref.ref(tensors))
        if len(batch) > 1 or batch == ["too large"]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return batch

    results = run_in_batches([["a", "b", "too large", "c"], ["d"]], run)
    assert [type(result).__name__ for result in results] == ["str", "str", "OutOfMemoryError", "str", "str"]
    assert len(held) == 8
