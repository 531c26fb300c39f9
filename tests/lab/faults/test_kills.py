"""The scenes of kills, small: one kill, and two launches at once."""

import json

from speechprune.lab.faults.kills import kill_scenes
from tests.helpers.harness import write_sound


def test_a_killed_launch_and_two_at_once_answer_every_item_once(tmp_path, tiny_model_folder, speech):
    items = [
        {"item_id": str(i), "audio": write_sound(tmp_path / f"{i}.wav", speech(1.0, start=9.0 * i))}
        for i in range(3)
    ]
    lines = [json.dumps(item | {"question": "Who?", "choices": ["Anna", "Bert"]}) for item in items]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    settings = (f"input.manifest={tmp_path}/manifest.jsonl", f"model.path={tiny_model_folder}")
    settings += ("ray.recordings_per_block=1",)
    killed, equal, other = kill_scenes(tmp_path, 1, settings)
    assert (killed.kills, set(killed.exit_codes)) == (1, {0})
    for scene in (killed, equal, other):
        assert (scene.items, scene.lost, scene.duplicated, scene.different) == (3 * scene.runs, 0, 0, 0)
        assert set(scene.exit_codes) <= {0, 2}
        assert 0 in scene.exit_codes
