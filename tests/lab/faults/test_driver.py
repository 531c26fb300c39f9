"""The driver's use is measured of launches that find what they should."""

from speechprune.config import load_config
from speechprune.lab.faults import driver
from speechprune.lab.faults.scenario import DEMO
from speechprune.lab.faults.tables import show_driver
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import answer_settings
from tests.helpers.manifest_files import read_file


def test_every_item_of_the_manifest_is_answered_before_a_relaunch(tmp_path, monkeypatch, capsys):
    job = tmp_path / "job.py"
    job.write_text("import sys; assert sys.argv[1].startswith('input.manifest=')")
    monkeypatch.setattr(driver, "JOB", job)
    model = f"model.path={DEMO / 'model'}"
    uses = driver.driver_use(tmp_path, 12, 5, model)
    assert [(use.launch, use.items, use.files) for use in uses] == [
        ("plan", 1, 0),
        ("relaunch", 1, 1),
        ("second relaunch", 1, 1),
        ("plan", 12, 0),
        ("relaunch", 12, 3),
        ("second relaunch", 12, 3),
    ]
    assert all(use.cpu_seconds > 0 and use.peak_bytes > 1e6 for use in uses)
    show_driver(uses)
    assert "second relaunch" in capsys.readouterr().out
    manifest, run = read_file(tmp_path / "12.jsonl"), RunStore(str(tmp_path / "run-12"))
    config = load_config(BatchQAConfig, driver.CONFIG, ["input.manifest=m", "output.path=o", model])
    run.look()
    run.compare(answer_settings(config, None), manifest.rows)
    assert run.answered.holds(manifest.ids).all()
