"""The work folder of a training: it belongs to one set of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def claim(work: Path, settings: dict[str, dict[str, Any]]) -> None:
    """Write the settings into the work folder, or refuse if other settings are there.

    - ``settings``: by section and key, those that the trained weights depend on.

    Raises
    ------
    ValueError
        Names the first setting that differs.
    """
    work.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps(settings))  # tuples as lists, as the file has them
    note = work / "training.json"
    if note.exists():
        previous = json.loads(note.read_text())
        for section, values in settings.items():
            for key, value in values.items():
                if (other := previous.get(section, {}).get(key)) != value:
                    raise ValueError(
                        f"{work} holds a training with {section}.{key}={other!r}, "
                        f"not {value!r}: choose another output.work_path, or remove that folder"
                    )
    note.write_text(json.dumps(settings, indent=2))
