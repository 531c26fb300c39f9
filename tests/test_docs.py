"""Tables and examples of the documentation hold what the code does."""

import re
import sys
from pathlib import Path

import numpy as np

from speechprune import SpeechLM, SpeechModel
from speechprune.pruning import METHODS

ROOT = Path(__file__).parents[1]


def test_the_page_on_methods_lists_every_method():
    page = (ROOT / "docs/methods.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE)
    assert dict(rows) == {name: kind.__name__ for name, kind in METHODS.items()}


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_the_example_of_a_method_of_ones_own_works_as_it_stands(
    tiny_lm: SpeechLM, speech, tmp_path, monkeypatch
):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/own_method.md").read_text(), re.DOTALL)
    (tmp_path / "my_methods.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    audio = tiny_lm.encode_many([speech(40.0)])[0]
    answer = tiny_lm.answer(audio, "Who?", ["Anna", "Bert"], method="my_methods:KeepLongest")
    norms = audio.embeds.norm(dim=-1).numpy()
    assert answer.kept_indices.tolist() == sorted(np.argsort(-norms)[:600].tolist())


def test_the_page_on_a_model_of_ones_own_lists_what_the_contract_has():
    """Abstract members are to be given, all others have a default; the shared ones are not in its tables."""
    page = (ROOT / "docs/own_model.md").read_text()
    given, defaults = page.split("What has a default")
    listed = [
        set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", part, re.M))))
        for part in (given, defaults)
    ]
    annotated = {name for name in SpeechModel.__annotations__ if name not in vars(SpeechModel)}
    assert listed[0] == SpeechModel.__abstractmethods__ | annotated
    assert all(hasattr(SpeechModel, name) for name in listed[1])
