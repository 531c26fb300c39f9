"""Shares of the CPUs: decoding and writing find room beside the actors at once, and none is fused."""

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from speechprune.config import ConfigError
from speechprune.models.options import ModelOptions
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.ray_executor import STAGE_CPUS, actor_pool, stage_cpus
from tests.helpers.tiny_models import DEMO


@given(st.integers(1, 256), st.integers(1, 64))
def test_decoding_and_writing_fit_together_beside_the_actors_of_a_node(cpus_per_node, actors_per_node):
    cpus = stage_cpus(cpus_per_node, actors_per_node)
    assert actors_per_node * cpus["model"] + cpus["decode"] + cpus["write"] <= cpus_per_node + 1e-9
    assert 0 < cpus["write"] < cpus["model"] < cpus["decode"]


@pytest.mark.parametrize("cpus_per_node", [0, 2, 64])
def test_shares_are_whole_where_there_is_room_or_nothing_yet(cpus_per_node):
    assert stage_cpus(cpus_per_node, actors_per_node=1) == STAGE_CPUS


def on_a_cluster(monkeypatch, resources: dict[str, float]) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": resources}])


MODEL = ModelOptions(path="model")


def test_a_pool_fills_the_gpus_that_are_there(monkeypatch):
    on_a_cluster(monkeypatch, {"CPU": 32.0, "GPU": 4.0})
    pool = actor_pool(RayOptions(), MODEL)
    assert (pool["min"], pool["max"], pool["gpus"], pool["threads"]) == (4, 4, 1.0, 8)
    assert actor_pool(RayOptions(gpus_per_actor=0.5), MODEL)["max"] == 8
    with pytest.raises(ConfigError, match="gpus_per_actor is 8, but the cluster has 4 GPUs"):
        actor_pool(RayOptions(gpus_per_actor=8), MODEL)


def test_a_cluster_that_scales_up_from_no_gpu_is_waited_for(monkeypatch):
    on_a_cluster(monkeypatch, {})
    with pytest.raises(ConfigError, match=r"set ray\.max_actors"):
        actor_pool(RayOptions(gpus_per_actor=1), MODEL)
    pool = actor_pool(RayOptions(gpus_per_actor=1, min_actors=1, max_actors=8), MODEL)
    assert (pool["min"], pool["max"], pool["gpus"]) == (1, 8, 1.0)


def test_loading_starts_no_thread_that_work_in_another_thread_would_compete_with(job_process, tmp_path):
    """An actor's constructor and its calls run in two threads; each one's OpenMP threads would never end."""
    script = tmp_path / "threads.py"
    script.write_text(f"""
import os, transformers
from speechprune.models.options import ModelOptions
from speechprune.pipeline.answer_stage import load_in_worker

def threads_behind(num_threads):
    load_in_worker(ModelOptions(path={str(DEMO / "model")!r}), num_threads)
    return len(os.listdir("/proc/self/task"))

assert threads_behind(1) == threads_behind(8)
""")
    result = job_process(job=script).wait()
    assert result.code == 0, result.lines
