"""Plan of an incremental run."""

import string

from hypothesis import given
from hypothesis import strategies as st

from speechprune.data.index_files import IndexedRecording, Part
from speechprune.index.listing import Recording
from speechprune.index.plan import make_plan, missing_shards


def recording(uri: str, version: str = "1", is_hashed: bool = False) -> Recording:
    return Recording(uri, version, 100, is_hashed)


def indexed(num_shards: int = 1, shards: tuple[int, ...] | None = None) -> IndexedRecording:
    there = range(num_shards) if shards is None else shards
    return IndexedRecording(num_shards, {number: Part("file", number) for number in there})


def test_new_changed_gone_and_unchanged_ones_are_told_apart():
    archive = [recording("new"), recording("changed", "2"), recording("same")]
    contents = {(name, "1"): indexed() for name in ("changed", "same", "gone")}
    plan = make_plan(archive, contents)
    assert [r.uri for r in plan.added] == ["new"]
    assert [r.uri for r in plan.changed] == ["changed"]
    assert [r.uri for r in plan.unchanged] == ["same"]
    assert [r.uri for r in plan.encode] == ["new", "changed"]
    assert plan.removed == ["gone"]


def test_an_incomplete_recording_goes_on_where_it_stopped():
    whole = recording("long")
    contents = {("long", "1"): indexed(4, (0, 2))}
    assert make_plan([whole], contents).encode == [whole]
    assert missing_shards(whole, contents, 4) == [1, 3]
    assert missing_shards(whole, contents, 5) == [0, 1, 2, 3, 4]  # cut differently: of no use
    assert missing_shards(recording("other"), contents, 2) == [0, 1]


def test_a_renamed_recording_is_not_encoded_where_the_store_hashes():
    contents = {("old", "hash:9"): indexed()}
    plan = make_plan([recording("new", "hash:9", is_hashed=True)], contents)
    assert not plan.encode
    assert [(copy.source.uri, copy.target.uri) for copy in plan.copies] == [("old", "new")]
    assert plan.removed == ["old"]
    by_time = make_plan([recording("new", "100:7")], {("old", "100:7"): indexed()})
    assert [r.uri for r in by_time.encode] == ["new"]  # one size and time are no proof


def test_of_two_new_copies_one_is_encoded():
    plan = make_plan([recording(name, "hash:9", is_hashed=True) for name in ("a", "b", "c")], {})
    assert [r.uri for r in plan.encode] == ["a"]
    assert [(copy.source.uri, copy.target.uri) for copy in plan.copies] == [("a", "b"), ("a", "c")]


NAMES = st.sampled_from(string.ascii_lowercase[:6])
VERSIONS = st.sampled_from(["1", "2"])


@given(
    st.dictionaries(NAMES, VERSIONS),
    st.dictionaries(st.tuples(NAMES, VERSIONS), st.booleans()),
    st.booleans(),
)
def test_every_recording_has_one_fate_and_the_next_run_nothing_to_do(archive, index, is_hashed):
    recordings = [recording(uri, version, is_hashed) for uri, version in sorted(archive.items())]
    contents = {key: indexed(2, (0, 1) if whole else (0,)) for key, whole in index.items()}
    plan = make_plan(recordings, contents)
    fates = [*plan.encode, *(copy.target for copy in plan.copies), *plan.unchanged]
    assert sorted(fates, key=lambda r: r.uri) == recordings
    assert sorted([*plan.added, *plan.changed, *plan.unchanged], key=lambda r: r.uri) == recordings
    assert set(plan.removed) == {uri for uri, _ in index} - set(archive)
    done = {(r.uri, r.version): indexed() for r in recordings}
    again = make_plan(recordings, done)
    assert not again.encode
    assert not again.copies
    assert not again.removed
