"""Run by test_columns: two entries more in the text of data/columns.py, as an edit of it would give.

A process of its own, as everything derives from the list when it is imported.
"""

import importlib.util
import sys
import types
from pathlib import Path

ENTRIES = """
    _seconds(
        "seconds_spell",
        "of the spell check",
        lambda r: 0.25 * r.answer.num_kept_tokens,
        report=ReportCell("spelling", "ms", scale=1e3),
    ),
    Column("spell_errors", "in words", lambda r: 3, type=INT, section="accuracy", summary="max", sweep="max"),
"""
path = Path(importlib.util.find_spec("speechprune.data").submodule_search_locations[0]) / "columns.py"
text = path.read_text()
place = text.index('    _provenance("model"')
columns = types.ModuleType("speechprune.data.columns")
sys.modules["speechprune.data.columns"] = columns
exec(compile(text[:place] + ENTRIES + text[place:], str(path), "exec"), vars(columns))

import pyarrow as pa  # noqa: E402

from speechprune.data.answer_rows import answer_rows  # noqa: E402
from speechprune.data.row_keys import KeySet  # noqa: E402
from speechprune.models.loading import model_shape  # noqa: E402
from speechprune.pipeline.metrics import STAGES  # noqa: E402
from speechprune.pipeline.summary import summarise  # noqa: E402
from speechprune.pipeline.sums import Sums  # noqa: E402
from speechprune.reports.columns_page import columns_page  # noqa: E402
from speechprune.sweep.points import points_table  # noqa: E402
from speechprune.sweep.report_tables import table_of_points  # noqa: E402
from tests.helpers.answer_rows import grid, made_answer  # noqa: E402

(POINT,) = grid({"method": "none"})
ITEMS = pa.Table.from_pylist(
    [{"item_id": "1", "audio": "a.wav", "answer": "B"}], schema=pa.schema(columns.ITEM_COLUMNS)
)
ROWS = answer_rows(
    ITEMS,
    [made_answer(num_kept=8)],
    point=POINT,
    model_name="m",
    audio=types.SimpleNamespace(seconds=90.0),
    seconds_decode_audio=1.0,
    no_audio_predictions={},
)


class Run:
    path = "runs/x"

    def sums(self, status: str, items: KeySet) -> Sums:
        return Sums.of(ROWS.slice(0 if status == "ok" else 1))


assert ROWS.schema.field("seconds_spell").metadata == {b"comment": b"of the spell check", b"unit": b"s"}
assert (ROWS["seconds_spell"].to_pylist(), ROWS["spell_errors"].to_pylist()) == ([2.0], [3])

launch = {"num_items": 1, "audio_hours": 0.0, "seconds": 0.0}
values = summarise(Run(), KeySet.of([("1",)]), model_shape("qwen2-audio-7b"), launch).values
assert (values["totals"]["seconds_spell"], values["spell_errors"]) == (2.0, 3)
assert "spell" in STAGES

of_sweep = ROWS.append_column("benchmark", pa.array(["b"])).append_column("point", pa.array([POINT.name]))
(row,) = (row for row in points_table(of_sweep, [POINT]).to_pylist() if row["slice"] == "all")
assert (row["seconds_spell"], row["spell_errors"]) == (2.0, 3)
table = table_of_points([row | {"hard": None}])
cells = dict(zip((column.full_label for column in table.columns), table.rows[0], strict=True))
assert cells["spelling: ms"].text == "2,000"

assert columns_page().count("`seconds_spell`") == 2  # of the answers, and of the points
print("found everywhere")
