"""Use of GPUs, on clusters that are only described: here there is none."""

import pytest

from speechprune.pipeline.gpus import gpu_use

LAUNCH = {"seconds": 100.0, "model_seconds": 240.0, "tflops": 30_000.0}


def node(gpus: float, kind: str | None = "H100", alive: bool = True) -> dict:
    resources = {"CPU": 8.0, "GPU": gpus} | ({f"accelerator_type:{kind}": 1.0} if kind else {})
    return {"Alive": alive, "Resources": resources}


HEAD = {"Alive": True, "Resources": {"memory": 1e9}}


def test_busy_time_and_flops_are_shares_of_what_all_gpus_could_have_done():
    used = gpu_use([HEAD, node(1), node(2)], 1.0, LAUNCH)
    assert used["num_gpus"] == 3
    assert used["gpu_utilisation"] == pytest.approx(240 / 300)
    assert used["model_flops_utilisation"] == pytest.approx(30_000 / (989 * 300))


def test_actors_that_share_a_gpu_count_by_their_share():
    assert gpu_use([node(1)], 0.25, LAUNCH)["gpu_utilisation"] == pytest.approx(0.6)


def test_flops_of_different_kinds_add_up_and_of_unknown_kinds_nothing_is_said():
    mixed = gpu_use([node(1, "H100"), node(1, "L4")], 1.0, LAUNCH)
    assert mixed["model_flops_utilisation"] == pytest.approx(30_000 / ((989 + 121) * 100))
    for kind in ("TPU-V4", None):
        assert "model_flops_utilisation" not in gpu_use([node(1, "H100"), node(1, kind)], 1.0, LAUNCH)


def test_nodes_that_are_gone_and_clusters_without_gpus_say_nothing():
    assert gpu_use([HEAD, node(2, alive=False)], 1.0, LAUNCH) == {}
    assert gpu_use([HEAD], None, LAUNCH) == {}
