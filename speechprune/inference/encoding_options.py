"""The section ``encoding`` of a config, in a module without torch: workers that decode load it."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any, Literal

Cut = Literal["fixed", "pause"]
DETECTOR = "fetched://silero-vad"
DETECTOR_FILE = "silero_vad_16k_sequence.onnx"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodingOptions:
    """How recordings are cut into the windows that are encoded.

    Parameters
    ----------
    skip_silence
        Windows hold speech alone, as Silero VAD finds it; times stay the recording's. It needs the extra
        ``silence`` and ``python jobs/fetch_models.py silero-vad`` where the job is started.
    cut
        Where a window ends: ``fixed``, when it is full, even in a word; ``pause``, at the last pause of its
        last 5 s.
    """

    skip_silence: bool = False
    cut: Cut = "fixed"

    def detector(self) -> bytes | None:
        """Read the file of Silero VAD; None where silence stays.

        Raises
        ------
        ConfigError
            It was not fetched, or onnxruntime is not installed.
        """
        from speechprune.config import ConfigError, resolve_package_address  # needs pydantic, unlike windows

        if not self.skip_silence:
            return None
        if importlib.util.find_spec("onnxruntime") is None:
            raise ConfigError(
                "encoding.skip_silence needs onnxruntime, which is not installed: pip install "
                '"speechprune[silence]"'
            )
        try:
            return Path(resolve_package_address(DETECTOR), DETECTOR_FILE).read_bytes()
        except (ConfigError, OSError) as error:
            raise ConfigError(f"encoding.skip_silence needs Silero VAD ({error})") from error

    @property
    def settings(self) -> dict[str, Any]:
        """What of it can change an answer, by dotted name."""
        return {f"encoding.{name}": value for name, value in dataclasses.asdict(self).items()}

    @property
    def suffix(self) -> str:
        """End of the name of an index's folder, as windows cut otherwise are no windows of the same index."""
        names = ["speech"] * self.skip_silence + [self.cut] * (self.cut != "fixed")
        return "".join(f"-{name}" for name in names)
