"""The report holds what the table holds, in two shapes, and needs nothing but itself."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from speechprune.data.formats import p_value, significant
from speechprune.sweep.report import write_report
from speechprune.sweep.report_tables import table_of_points, with_interval
from tests.helpers.synthetic_points import SLICES, grid_points, points_table, position_slices

FACTS = {"config": "configs/paper_table1.yaml", "a|b": "1 | 2 <script>alert(1)</script>"}
SENTENCE = "speechprune(pruning_rate=0.2) keeps 98 % of it."
ODD_BENCHMARK = "<b>& | $x$"


class Page(HTMLParser):
    """What of a page fetches, and the text that a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.images: list[dict] = []
        self.tags = [""]
        self.text = ""
        self.rows: list[list[str]] = []
        self.best: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.addresses += [
            values[name] for name in ("src", "href", "srcset", "data", "action") if name in values
        ]
        if tag == "img":
            self.images.append(values)
        if tag == "tr":
            self.rows.append([])
            self.is_best = values.get("class") == "best"
        if tag in ("td", "th"):
            self.rows[-1] += [""] * int(values.get("colspan", 1))

    def handle_data(self, data):
        self.text += data
        if self.tags[-1] in ("td", "th", "wbr") and data.strip():
            if self.is_best and not self.rows[-1][0]:
                self.best.append(data)
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "figures").mkdir()
    (folder / "figures/of_an_earlier_grid.svg").write_text("stale")
    points = points_table(benchmarks=(ODD_BENCHMARK, "5 min"), slices=SLICES | position_slices())
    files = write_report(str(folder), points, title="A & B", facts=FACTS, recommendation=SENTENCE)
    written = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    assert sorted(files) == written
    return folder


@pytest.fixture(scope="module")
def page(report) -> Page:
    page = Page()
    page.feed((report / "report.html").read_text())
    return page


def test_the_page_fetches_nothing(report, page):
    html = (report / "report.html").read_text()
    assert page.images
    sources = [image["src"] for image in page.images]
    assert all(src.startswith("data:image/svg+xml;base64,") for src in sources)
    links = set(page.addresses) - set(sources)
    assert all(link.startswith("report/report.html#outcome=wrong&method=") for link in links)
    assert not re.search(r"@import|url\(|<link|<iframe", html)


def test_every_figure_is_in_both(report, page):
    names = {path.stem for path in (report / "figures").glob("*.png")}
    assert names == {path.stem for path in (report / "figures").glob("*.svg")}
    assert len(page.images) == len(names)
    assert all(image["alt"] for image in page.images)
    named = re.findall(r"\(figures/(\S+)\.png\)", (report / "report.md").read_text())
    assert set(named) == names
    assert len(named) == len(names)


def test_text_is_escaped(page):
    assert "b" not in page.tags
    assert page.tags.count("script") == 1
    assert ODD_BENCHMARK in page.text
    assert FACTS["a|b"] in page.text
    assert SENTENCE in page.text
    assert "A & B" in page.text


def test_all_points_are_in_the_page_and_the_best_are_marked(page):
    firsts = [row[0] for row in page.rows]
    for point in grid_points():
        assert firsts.count(point.group_name) + firsts.count(f"★ {point.group_name}") == 4
    assert page.best
    assert all(name.startswith("★ ") for name in page.best)


def test_tables_have_equal_columns(report, page):
    tables: list[list[str]] = []
    before = ""
    for line in (report / "report.md").read_text().splitlines():
        if line.startswith("|"):
            tables += [] if before.startswith("|") else [[]]
            tables[-1].append(line)
        before = line
    assert len(tables) == 4  # of points, and of positions, of two benchmarks
    for table in tables:
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table}) == 1
        assert len(table) == 2 + len(grid_points())
    assert len({len(row) for row in page.rows}) == 2


def test_markdown_shows_text_as_it_is(report):
    text = (report / "report.md").read_text()
    assert "&lt;b&gt;&amp; \\| $x$" in text
    assert "<script" not in text
    assert text.startswith("# A &amp; B\n\n**speechprune(pruning\\_rate=0.2) keeps 98 % of it.**")


def test_numbers_are_those_of_the_table(page):
    by_name = {row[0]: row for row in page.rows if len(row) > 10}
    heading = by_name["point"]
    row = dict(zip(heading, by_name["random(pruning_rate=0.4)"], strict=True))
    assert row["all (95 % interval)"].startswith("47.0 (")  # of the second benchmark
    assert row["kept"] == "450"
    assert row["total memory, GB"] == "13.24"
    assert row["p"] == "<0.001"
    assert row["seeds: lowest–highest"] == "3: 45.0–49.0"


def test_columns_that_nobody_asked_for_are_left_out():
    rows = [row | {"hard": None} for row in points_table(slices={"all": 10}).to_pylist()]
    labels = [column.label for column in table_of_points(rows).columns]
    assert "permuted" in labels
    unasked = [row | {"accuracy_permuted": None, "evidence_recall": None} for row in rows]
    fewer = [column.label for column in table_of_points(unasked).columns]
    assert set(labels) - set(fewer) == {"permuted", "of gold span, %"}
    assert "hard (95 % interval)" not in labels


def test_one_reference_is_named_above_its_columns_and_several_in_each_row():
    rows = [row | {"hard": None} for row in points_table(slices={"all": 10}).to_pylist()]
    one = table_of_points(rows)
    assert "against none: p" in [column.full_label for column in one.columns]
    assert "reference" not in [column.label for column in one.columns]
    several = table_of_points([*rows, rows[0] | {"reference": "truncate"}])
    assert "against the reference: reference" in [column.full_label for column in several.columns]


def test_a_sweep_without_judged_items_is_still_a_report(tmp_path):
    files = write_report(
        str(tmp_path), points_table(slices={"all": 0}), title="Nothing", facts={}, recommendation=None
    )
    assert [Path(file).name for file in files] == ["report.md", "report.html"]
    assert 'class="recommendation"' not in (tmp_path / "report.html").read_text()


def test_to_a_store():
    import fsspec

    one = points_table(slices={"all": 9}, points=grid_points()[:1])  # has one figure
    files = write_report("memory://sweep", one, title="Far", facts={}, recommendation=None)
    assert len(files) == 4
    assert all(fsspec.filesystem("memory").exists(file) for file in files)


def test_numbers_as_text():
    assert [significant(x) for x in (0.0, 0.00123456, 12.2041, 276.4, 12345.6)] == [
        "0",
        "0.00123",
        "12.2",
        "276",
        "12,346",
    ]
    assert [p_value(p) for p in (0.0004, 0.05, 1.0)] == ["<0.001", "0.050", "1.000"]
    assert with_interval({"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}) == "50.0 (40.0–60.0)"
    assert with_interval({"accuracy": None}) == "–"
