"""Parts of files, local and in an object store."""

import pytest

from speechprune import storage
from speechprune.data.ranged_files import read_ranges


@pytest.mark.parametrize("folder", ["local", "memory://ranged"])
def test_parts_that_lie_close_are_one_request(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("speechprune.data.ranged_files.GAP_BYTES", 2)
    uri = f"{tmp_path if folder == 'local' else folder}/file"
    with storage.writing(uri) as file:
        file.write(b"0123")
        file.write(b"456789")
    parts, num_requests = read_ranges(uri, [(0, 1), (3, 5), (5, 6), (9, 10)])
    assert [bytes(part) for part in parts] == [b"0", b"34", b"5", b"9"]
    assert num_requests == (4 if folder == "local" else 2)
    assert read_ranges(uri, []) == ([], 0)


def test_a_file_whose_writer_failed_is_not_there(tmp_path):
    def write():
        with storage.writing(str(tmp_path / "file")) as file:
            file.write(b"0")
            assert storage.files_in(str(tmp_path), "file") == []
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write()
    assert list(tmp_path.iterdir()) == []
