"""The cluster's manifests let in and grant no more than they need."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
DOCUMENTS = [
    (path.name, document)
    for path in sorted(CLUSTER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
POLICY = next(document for _, document in DOCUMENTS if document.get("kind") == "NetworkPolicy")


def found(value, key: str) -> list:
    """Everything under this key, however deep."""
    if isinstance(value, list):
        return [hit for item in value for hit in found(item, key)]
    if not isinstance(value, dict):
        return []
    return [hit for name, hit in value.items() if name == key] + [
        hit for item in value.values() for hit in found(item, key)
    ]


def pods() -> list[tuple[str, dict]]:
    """Specs of all pods, by the file and the first container."""
    return [
        (f"{name}-{spec['containers'][0]['name']}-{number}", spec)
        for name, document in DOCUMENTS
        for number, spec in enumerate(spec for spec in found(document, "spec") if "containers" in spec)
    ]


PODS = pods()


@pytest.mark.parametrize(("name", "spec"), PODS, ids=[name for name, _ in PODS])
def test_a_pod_has_no_rights_that_it_does_not_use(name, spec):
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    # the autoscaler beside the head asks Kubernetes for pods; nobody else needs a token
    assert spec["automountServiceAccountToken"] is (spec["containers"][0]["name"] == "ray-head")


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob", "RayCronJob"])
def test_every_cluster_asks_for_a_token(kind):
    for _, document in DOCUMENTS:
        if document.get("kind") != kind:
            continue
        heads = found(document, "headGroupSpec")
        assert found(document, "authOptions") == [{"mode": "token"}] * len(heads)
        for options in found(document, "autoscalerOptions"):
            assert options["securityContext"]["allowPrivilegeEscalation"] is False
        # a job without a cluster of its own runs on one that asks
        assert heads or found(document, "clusterSelector") == [{"ray.io/cluster": "speechprune"}]


def test_a_plain_job_passes_the_token_of_the_standing_cluster():
    [cron_job] = [document for name, document in DOCUMENTS if name == "cron-job.nightly.yaml"]
    [environment] = found(cron_job, "env")
    by_name = {variable["name"]: variable for variable in environment}
    assert by_name["RAY_AUTH_MODE"]["value"] == "token"
    assert by_name["RAY_AUTH_TOKEN"]["valueFrom"] == {
        "secretKeyRef": {"name": "speechprune", "key": "auth_token"}
    }


def test_only_nodes_submitters_operator_and_monitoring_connect():
    spec = POLICY["spec"]
    assert spec["podSelector"] == {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    assert spec["policyTypes"] == ["Ingress"]
    ports = [[port["port"] for port in rule.get("ports", [])] for rule in spec["ingress"]]
    assert ports == [[], [8265], [8265], [8080]]  # GCS and client: among the nodes alone
    assert all(rule["from"] for rule in spec["ingress"])
    submitters = spec["ingress"][1]["from"][0]["podSelector"]["matchLabels"]
    labelled = [
        name
        for name, document in DOCUMENTS
        for template in [*found(document, "submitterPodTemplate"), *found(document, "template")]
        if template.get("metadata", {}).get("labels") == submitters
    ]
    assert labelled == [
        "cron-job.nightly.yaml",
        "ray-cron-job.nightly.yaml",
        "ray-job.batch-qa.yaml",
        "ray-job.sweep.yaml",
    ]


@pytest.mark.parametrize("name", ["ray-up.aws.yaml", "ray-up.machines.yaml"])
def test_clusters_of_ray_up_ask_for_a_token(name):
    [cluster] = [document for file, document in DOCUMENTS if file == name]
    assert "~/.ray/auth_token" in cluster["file_mounts"].values()
    commands = [cluster.get(f"{node}_start_ray_commands", []) for node in ("head", "worker")]
    starts = [line for lines in commands for line in lines if "ray start" in line]
    in_docker = "--env RAY_AUTH_MODE=token" in cluster.get("docker", {}).get("run_options", [])
    assert in_docker or (len(starts) == 2 and all("RAY_AUTH_MODE=token" in line for line in starts))


def test_an_image_is_pinned_or_says_where_to_pin_it():
    files = [*CLUSTER.glob("*.yaml")]
    images = [line for file in files for line in file.read_text().splitlines() if " image: " in line]
    assert len(images) > 8
    for line in images:
        assert re.search(r"@sha256:([0-9a-f]{64}\b|\.\.\.)", line), line
    assert "append @sha256:..." in (CLUSTER / "Dockerfile").read_text()


def test_models_of_the_hub_are_pinned():
    for file in CLUSTER.glob("*.yaml"):
        text = file.read_text()
        models = len(re.findall(r"Qwen/Qwen2-Audio|qwen2_audio_7b\.yaml", text))
        assert len(re.findall(r"model\.revision=[0-9a-f]{40}\b", text)) == models, file


def test_secrets_are_in_a_file_of_their_own_without_values():
    secrets = [(name, document) for name, document in DOCUMENTS if document.get("kind") == "Secret"]
    assert [name for name, _ in secrets] == ["bucket-secret.yaml"]
    assert set(secrets[0][1]["stringData"].values()) == {""}


def test_the_lock_holds_every_dependency_at_the_version_that_is_tested():
    lock = (CLUSTER / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9_.-]+)==(\S+) \\$", lock, re.MULTILINE))
    for entry in re.split(r"(?m)^(?=[a-z0-9])", lock)[1:]:
        assert "--hash=sha256:" in entry, entry
    constraints = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    wanted = {name.lower().replace("_", "-"): version for name, version in constraints}
    assert {name: version for name, version in locked.items() if name in wanted} == {
        name: wanted[name] for name in locked if name in wanted
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    assert {re.split(r"[^\w-]", need)[0].replace("_", "-") for need in needed} <= set(locked)
