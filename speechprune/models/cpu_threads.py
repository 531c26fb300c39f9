"""Threads of a CPU for operations that are too small to be shared out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run CPU operations in the calling thread alone.

    A decoder that writes one token at a time runs thousands of operations of some microseconds. Shared out,
    each waits for the other threads; where another process holds their core, for longer than all of the work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
