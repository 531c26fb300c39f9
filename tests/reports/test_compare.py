"""Two runs against each other: items of both, pairs by item, benchmark and point."""

from speechprune.pipeline.run_store import RunStore
from speechprune.reports.compare import compare, main
from speechprune.sweep.statistics import mcnemar_p
from tests.helpers.answered_run import DAYS, write_answer


def made_run(path: str, marks: str, *, model: str = "m", first: int = 0) -> RunStore:
    """A run with an item for each mark: + right, - wrong, ? without a gold answer."""
    run = RunStore(path)
    for number, mark in enumerate(marks, start=first):
        correct = {"+": True, "-": False, "?": None}[mark]
        prediction = "A" if mark == "+" else "B"
        write_answer(run, f"item-{number}", choices=DAYS, prediction=prediction, correct=correct, model=model)
    return run


def test_items_of_both_runs_are_paired(tmp_path):
    run = made_run(f"{tmp_path}/a", "++-+?++")
    other = made_run(f"{tmp_path}/b", "+-+-?--++")
    (one,) = compare(run, other)
    assert (one.benchmark, one.point, one.num_items, one.num_changed) == (None, None, 6, 5)
    assert (one.accuracy, one.other_accuracy) == (5 / 6, 2 / 6)
    assert one.p_value == mcnemar_p([1, 1, 0, 1, 1, 1], [1, 0, 1, 0, 0, 0])


def test_what_can_not_be_compared_is_one_line(tmp_path, log_lines, capsys):
    run = made_run(f"{tmp_path}/a", "+-")
    assert main([run.path, made_run(f"{tmp_path}/b", "++", first=2).path]) == 2
    assert "no answer to the same item" in log_lines[-1]
    assert main([run.path, f"{tmp_path}/none"]) == 2
    assert log_lines[-1] == f"{tmp_path}/none holds no answers: is it the output.path of a run?"
    made_run(run.path, "+", model="n", first=2)
    assert main([run.path, run.path]) == 2
    assert log_lines[-1] == f"{run.path} holds answers of m, n: compare runs of one model each"
    assert main([f"{tmp_path}/b", f"{tmp_path}/b"]) == 0
    assert "+0.0" in capsys.readouterr().out
