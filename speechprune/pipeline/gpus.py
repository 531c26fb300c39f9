"""How well a launch used its GPUs: the share of time that they were at work, and of their FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# 10^12 FLOPs a second of dense matrix products in bfloat16 (float16 on V100 and T4), by Ray's names for kinds
# of GPUs; from NVIDIA's data sheets
PEAK_TFLOPS = {
    "V100": 125.0,
    "T4": 65.0,
    "A10G": 70.0,
    "L4": 121.0,
    "L40S": 362.0,
    "A100": 312.0,
    "A100-40G": 312.0,
    "A100-80G": 312.0,
    "H100": 989.0,
    "H200": 989.0,
    "B200": 2250.0,
}
KIND = "accelerator_type:"  # prefix of the resource by which Ray names a node's kind of GPU


def gpu_use(
    nodes: Sequence[Mapping[str, Any]], gpus_per_actor: float | None, launch: Mapping[str, float]
) -> dict[str, float]:
    """What a launch made of the cluster's GPUs.

    Parameters
    ----------
    nodes
        ``ray.nodes()``.
    gpus_per_actor
        Of each actor with the model.
    launch
        ``seconds`` from start to end, ``model_seconds`` of work of all actors with the model together, and
        its ``tflops``.

    Returns
    -------
    dict
        ``num_gpus`` at the end; ``gpu_utilisation``, the share of time in which an actor worked on them; and
        ``model_flops_utilisation``, the share of the FLOPs that they could have done, left out where a kind
        is not in ``PEAK_TFLOPS``. Nothing on a cluster without GPUs.
    """
    own = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("GPU")]
    if not own or not gpus_per_actor or not launch["seconds"]:
        return {}
    num_gpus = sum(resources["GPU"] for resources in own)
    peaks = [
        resources["GPU"] * PEAK_TFLOPS[kind]
        for resources in own
        for kind in [name.removeprefix(KIND) for name in resources if name.startswith(KIND)][:1]
        if kind in PEAK_TFLOPS
    ]
    used = {
        "num_gpus": num_gpus,
        "gpu_utilisation": launch["model_seconds"] * gpus_per_actor / (num_gpus * launch["seconds"]),
    }
    if len(peaks) == len(own):
        used["model_flops_utilisation"] = launch["tflops"] / (sum(peaks) * launch["seconds"])
    return used
