"""An object store in memory whose reads can be made to fail: ``flaky://...``."""

import io
from enum import Enum
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class Trouble(Enum):
    """What happens to every read of a Parquet file."""

    LOST = "the connection is lost"
    SHORT = "half of the bytes come"


class FlakyFileSystem(MemoryFileSystem):
    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    trouble: ClassVar[Trouble | None] = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("flaky://"))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb" or not path.endswith(".parquet"):
            return super()._open(path, mode, **options)
        return io.BytesIO(self._read(path))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        path = self._strip_protocol(path)
        if not path.endswith(".parquet"):
            return super().cat_file(path, start, end)
        return self._read(path)[start:end]

    def _read(self, path: str) -> bytes:
        data = super().cat_file(path)
        if FlakyFileSystem.trouble is Trouble.LOST:
            raise ConnectionResetError("Connection reset by peer")
        return data[: len(data) // 2] if FlakyFileSystem.trouble is Trouble.SHORT else data


fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
