"""The configs of the index and the search as they are shipped."""

from pathlib import Path

from speechprune.config import load_config
from speechprune.index.config import IndexConfig
from speechprune.index.standing_questions import read_questions
from speechprune.models.vocabulary import unknown_share
from speechprune.search.config import SearchConfig

ROOT = Path(__file__).parents[2]


def test_they_can_be_read_and_belong_together():
    night = load_config(IndexConfig, str(ROOT / "configs/index.yaml"))
    search = load_config(SearchConfig, str(ROOT / "configs/search.yaml"))
    assert search.search.index == night.index.path
    assert search.model == night.model


def test_the_demos_model_knows_the_words_of_the_standing_questions():
    questions = read_questions(str(ROOT / "configs/standing_questions.yaml"))
    asked = [text for q in questions for text in (q.question, *(q.choices or ()))]
    assert unknown_share(str(ROOT / "speechprune/demo/model"), asked) == 0
