"""Shares of the CPUs: decoding and writing find room beside the actors at once, and none is fused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.pipeline.line import STAGE_CPUS, stage_cpus


@given(st.integers(1, 256), st.integers(1, 64))
def test_decoding_and_writing_fit_together_beside_the_actors_of_a_node(cpus_per_node, actors_per_node):
    cpus = stage_cpus(cpus_per_node, actors_per_node)
    assert actors_per_node * cpus["model"] + cpus["decode"] + cpus["write"] <= cpus_per_node + 1e-9
    assert 0 < cpus["write"] < cpus["model"] < cpus["decode"]


@pytest.mark.parametrize("cpus_per_node", [0, 2, 64])
def test_shares_are_whole_where_there_is_room_or_nothing_yet(cpus_per_node):
    assert stage_cpus(cpus_per_node, actors_per_node=1) == STAGE_CPUS
