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
        if (
            mode != "rb"
            or not path.endswith(".parquet")
            or FlakyFileSystem.trouble is None
            or path not in self.store
        ):
            return super()._open(path, mode, **options)
        data = self.store[path].getvalue()
        return (
            LostFile(data) if FlakyFileSystem.trouble is Trouble.LOST else io.BytesIO(data[: len(data) // 2])
        )

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        with self._open(self._strip_protocol(path)) as file:
            return file.read()[start:end]


class LostFile(io.BytesIO):
    """Opens well; nothing can be read."""

    def read(self, *_: Any) -> bytes:
        raise ConnectionResetError("Connection reset by peer")

    readinto = read


fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
