"""What Prometheus would scrape after a run is what the answers say."""

import re
import urllib.request

import pytest
import ray

from tests.helpers.harness import Job, launch, wait_until, write_sound

CHOICES = ["Monday", "Friday"]


def scrape() -> dict[str, dict[str, float]]:
    """Our counters on this node: metric -> labels that are ours -> value."""
    [node] = [node for node in ray.nodes() if node["Alive"]]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    found: dict[str, dict[str, float]] = {}
    for line in urllib.request.urlopen(url, timeout=30).read().decode().splitlines():
        match = re.match(r"ray_(speechprune_\w+?)(?:_total)?\{(.*)\} (\S+)$", line)
        if match:
            name, labels, value = match.groups()
            own = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            key = "/".join(own[tag] for tag in ("method", "status", "stage") if tag in own)
            found.setdefault(name, {})
            found[name][key] = found[name].get(key, 0.0) + float(value)
    return found


def test_counters_grow_by_what_is_written(tmp_path, tiny_model_folder, speech, ray_address):
    job = Job(tmp_path)
    sounds = [write_sound(tmp_path / f"{i}.wav", speech(2.0, start=3.0 * i)) for i in range(2)]
    items = [
        {
            "item_id": f"{sound}-{number}",
            "audio": sound,
            "question": f"Which day {number}?",
            "choices": CHOICES,
        }
        for sound in sounds
        for number in range(3)
    ]
    job.write(
        [*items, {"item_id": "lost", "audio": "lost.wav", "question": "Where?"}],
        tiny_model_folder,
        output={"max_failed_fraction": 1.0},
        pruning={"method": "random_crop"},
    )
    assert launch(job.config, executor="ray").code == 0
    rows = job.rows("ok").values()
    wait_until(lambda: scrape().get("speechprune_items", {}).get("random_crop/ok", 0) >= len(rows))
    found = scrape()
    assert found["speechprune_items"]["random_crop/ok"] == len(rows) == 6
    assert found["speechprune_items"]["random_crop/failed"] == 1
    assert found["speechprune_audio_seconds"]["random_crop"] == pytest.approx(4.0)
    assert found["speechprune_kept_tokens"]["random_crop"] == sum(row["num_kept_tokens"] for row in rows)
    assert found["speechprune_tflops"]["random_crop"] == pytest.approx(
        sum(row["tflops_total"] for row in rows)
    )
    for stage in ("encode", "prefill"):
        expected = sum(row[f"seconds_{stage}"] for row in rows)
        assert found["speechprune_stage_seconds"][f"random_crop/{stage}"] == pytest.approx(expected)
