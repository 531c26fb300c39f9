"""The cluster's manifests against the schemas of those who will read them, and against our own configs."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

from speechprune.config import config_from_arguments
from speechprune.index.config import IndexConfig
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.metrics import COUNTERS
from speechprune.sweep.config import SweepConfig

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
SCHEMAS = Path(__file__).parent / "kuberay-v1.7.0"  # of config/crd/bases, without descriptions
CONFIGS = {"batch_qa": BatchQAConfig, "index_archive": IndexConfig, "sweep": SweepConfig}
IMAGE_HOME = "/home/ray/speechprune/"


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((CLUSTER / name).read_text()))


RAY_MANIFESTS = [
    (path.name, document)
    for path in sorted(CLUSTER.glob("*.yaml"))
    for document in documents(path.name)
    if document.get("apiVersion") == "ray.io/v1"
]


def strict(schema: dict) -> dict:
    """A CRD's schema, with keys that it doesn't know refused, as the API server refuses them when asked."""
    schema = {name: strict(part) if isinstance(part, dict) else part for name, part in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


@pytest.mark.parametrize(("name", "document"), RAY_MANIFESTS, ids=[name for name, _ in RAY_MANIFESTS])
def test_kuberay_takes_it(name, document):
    schema = json.loads(gzip.decompress((SCHEMAS / f"{document['kind']}.json.gz").read_bytes()))
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    validator = jsonschema.Draft7Validator(strict(schema), format_checker=None)
    problems = [
        f"{'/'.join(map(str, error.path))}: {error.message[:200]}"
        for error in validator.iter_errors(document)
    ]
    assert problems == []


def test_a_misspelt_key_would_be_found():
    schema = json.loads(gzip.decompress((SCHEMAS / "RayCluster.json.gz").read_bytes()))
    [cluster] = documents("ray-cluster.yaml")
    cluster["spec"]["workerGroupSpecs"][0]["maxReplica"] = 3
    assert any(
        "maxReplica" in error.message
        for error in jsonschema.Draft7Validator(strict(schema)).iter_errors(cluster)
    )


@pytest.mark.parametrize("name", ["ray-up.aws.yaml", "ray-up.machines.yaml"])
def test_ray_up_takes_it(name):
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    [cluster] = documents(name)
    jsonschema.validate(cluster, schema)


def entrypoints() -> list[tuple[str, str]]:
    """Every command that a manifest runs."""
    found = []
    for path in sorted(CLUSTER.glob("*.yaml")):
        for document in documents(path.name):
            spec = document.get("spec", {})
            for place in (spec, spec.get("jobTemplate", {})):
                if "entrypoint" in place:
                    found.append((path.name, place["entrypoint"]))
            if document.get("kind") == "CronJob":
                [container] = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
                command = container["command"]
                assert command[:4] == ["ray", "job", "submit", "--"]
                found.append((path.name, " ".join(command[4:])))
    return found


@pytest.mark.parametrize(("name", "command"), entrypoints(), ids=[name for name, _ in entrypoints()])
def test_what_it_runs_is_a_job_that_takes_these_settings(name, command):
    python, script, *arguments = command.replace(IMAGE_HOME, f"{ROOT}/").split()
    assert python == "python"
    assert Path(script).is_file()
    config_from_arguments(CONFIGS[Path(script).stem], arguments)


def test_every_image_is_the_same_and_rays_version_the_one_that_is_tested():
    images, versions = set(), {ray.__version__}
    for path in sorted(CLUSTER.glob("*.yaml")):
        text = path.read_text()
        images |= set(re.findall(r"image: (registry\S+)", text))
        versions |= set(re.findall(r'rayVersion: "([^"]+)"', text))
        versions |= set(re.findall(r"rayproject/ray:([\d.]+)-", text))
    versions |= set(re.findall(r"rayproject/ray:([\d.]+)-", (CLUSTER / "Dockerfile").read_text()))
    assert len(images) == 1
    assert versions == {ray.__version__}


def test_the_image_holds_what_the_commands_name():
    copied = re.findall(r"^COPY --\S+ (.+) \S+$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert {"jobs", "configs", "speechprune", "pyproject.toml", "cluster/requirements.lock"} <= set(names)
    assert all((ROOT / name).exists() for name in names)


def test_the_dashboard_shows_metrics_that_there_are():
    dashboard = json.loads((CLUSTER / "grafana-dashboard.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"ray_\w+", target["expr"])
    }
    ours = {f"ray_speechprune_{name}_total" for name in COUNTERS}
    panels = Path(ray.__file__).parent / "dashboard/modules/metrics/dashboards"
    rays = {name for file in panels.glob("*.py") for name in re.findall(r"ray_\w+", file.read_text())}
    assert ours <= asked
    assert asked <= ours | rays


def test_linters_are_content():
    scripts = Path(sys.executable).parent
    for command in (
        [scripts / "hadolint", CLUSTER / "Dockerfile"],
        [scripts / "shellcheck", "--exclude=SC1091", ROOT / ".ci/run"],  # a virtual environment's own script
    ):
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("name", ["ray-up.aws.yaml", "ray-up.machines.yaml"])
def test_commands_of_ray_up_are_sound_shell(name):
    [cluster] = documents(name)
    commands = [line for key, lines in cluster.items() if key.endswith("_commands") for line in lines]
    script = "\n".join(["#!/bin/bash", *commands])
    run = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", "--exclude=SC2086", "-"],  # $RAY_HEAD_IP is an address
        input=script,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
