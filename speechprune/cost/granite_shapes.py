"""Sizes and cost of Granite Speech's encoder: a conformer, and queries that read it in blocks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class QueriedConformerShape:
    """Granite Speech's ``EncoderShape``: conformer layers, a querying transformer, a linear projector.

    Positions attend inside blocks of c. Of each w positions, cross-attention of q learned queries makes as
    many tokens.
    """

    # hidden_size, ffn_size, attention_size, conv_size, num_layers: e, F, a, v and layers of the conformer
    hidden_size: int
    ffn_size: int
    attention_size: int
    conv_size: int
    num_layers: int
    input_size: int  # two mel frames, m
    output_size: int  # characters that its middle layer predicts, o
    kernel: int  # of the convolution inside a layer, k
    block_positions: int  # c
    # states_size, query_ffn_size, num_query_layers, num_cross_layers: E, G, layers of the querying
    # transformer, and how many of them read positions
    states_size: int
    query_ffn_size: int
    num_query_layers: int
    num_cross_layers: int
    queried_positions: int  # w
    num_queries: int  # q
    projected_size: int  # width of an audio embedding, h
    num_positions: int  # of a window, P
    window_seconds: float

    @property
    def num_queried_blocks(self) -> int:
        """Groups of positions in a window, N; the last may be short."""
        return -(-self.num_positions // self.queried_positions)

    @property
    def window_tokens(self) -> int:
        """One a query."""
        return self.num_queried_blocks * self.num_queries

    def flops(self, num_windows: int) -> int:
        """The conformer and the querying transformer."""
        return num_windows * (self._conformer_flops() + self._query_flops())

    def _conformer_flops(self) -> int:
        """2Pe(m + 2o), and a layer 2P(4eF + ea + 3ev + vk) + 2P'a(3e + 3c).

        P' are positions in whole blocks. Of three products with c, one is with embeddings of distances.
        """
        width, positions, attention = self.hidden_size, self.num_positions, self.attention_size
        in_blocks = -(-positions // self.block_positions) * self.block_positions
        products = width * (4 * self.ffn_size + attention + 3 * self.conv_size) + self.conv_size * self.kernel
        in_attention = 3 * attention * (width + self.block_positions)
        ends = 2 * positions * width * (self.input_size + 2 * self.output_size)
        return ends + 2 * self.num_layers * (positions * products + in_blocks * in_attention)

    def _query_flops(self) -> int:
        """Of n tokens: a layer 2nE(4E + 2q + 2G), where it reads 2nE(2E + 2w) + 4NweE more.

        What the first layer makes of the queries before they read is the same for all blocks: made once.
        """
        width, tokens, queried = self.states_size, self.window_tokens, self.queried_positions
        among_queries = 2 * width * (4 * width + 2 * self.num_queries)
        mlp = 4 * tokens * width * self.query_ffn_size
        reading = 4 * tokens * width * (width + queried)
        reading += 4 * self.num_queried_blocks * queried * self.hidden_size * width
        made_once = (tokens - self.num_queries) * (among_queries + 2 * width**2)
        layers = self.num_query_layers * (tokens * among_queries + mlp)
        return layers + self.num_cross_layers * reading - made_once

    def project_flops(self, num_windows: int) -> int:
        """The projector, E to h, on n tokens a window: 2nEh."""
        return 2 * num_windows * self.window_tokens * self.states_size * self.projected_size
