"""The budget of phase 1 in 30 s of whichever model answers."""

import pytest

from speechprune.pruning import METHODS, NoPruning


@pytest.mark.parametrize("method_class", METHODS.values())
def test_a_native_budget_is_the_number_of_the_model_that_answers(method_class):
    native = method_class(phase1_budget="native")
    assert native.for_model(48) == method_class(phase1_budget=48)
    assert method_class().for_model(48) == method_class()
    if method_class is not NoPruning:
        with pytest.raises(ValueError, match=r"^phase1_budget is native: for_model gives"):
            native.num_kept(2_200)
