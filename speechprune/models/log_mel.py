"""Log-mel features of Whisper-type encoders, computed where the encoder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from speechprune.models.staging import staging_zeros

MAX_INT16 = 32768.0
DYNAMIC_RANGE = 8.0  # in powers of ten below a window's maximum


class LogMel:
    """The features that a ``WhisperFeatureExtractor`` gives of a window padded with silence.

    The same operations on the same shapes, so that on a CPU they are the extractor's own to the bit. On a GPU
    the extractor would bring the features back to the host; here the int16 samples of a batch are uploaded
    once and the host waits for nothing. Its ``dither``, random noise that Whisper has off, is left out.

    - ``extractor``: gives mel filters and sizes.
    - ``device``: the encoder's.
    """

    def __init__(self, extractor: Any, device: torch.device) -> None:
        self._num_samples = extractor.n_samples
        self._num_fft, self._hop = extractor.n_fft, extractor.hop_length
        self._hann = torch.hann_window(self._num_fft, device=device)
        self._filters = torch.from_numpy(extractor.mel_filters).to(device, torch.float32).T
        self._device = device

    @torch.inference_mode()
    def __call__(self, windows: Sequence[np.ndarray]) -> torch.Tensor:
        """Compute the features of int16 windows at 16 kHz: float32, ``(windows, mel bins, mel frames)``."""
        padded = staging_zeros((len(windows), self._num_samples), torch.int16, self._device)
        for row, samples in zip(padded.numpy(), windows, strict=True):
            row[: len(samples)] = samples
        waveforms = padded.to(self._device, non_blocking=True).float() / MAX_INT16
        spectrum = torch.stft(waveforms, self._num_fft, self._hop, window=self._hann, return_complex=True)
        # contiguous: the product with a strided view is slow on CPUs
        power = (spectrum[..., :-1].abs() ** 2).contiguous()
        return log_compress(self._filters @ power)


def log_compress(mel: torch.Tensor) -> torch.Tensor:
    """Take the logarithm of mel spectra ``(windows, mel bins, mel frames)``, and shift and scale it.

    What is more than ``DYNAMIC_RANGE`` below a window's maximum is raised to that.
    """
    log_mel = torch.clamp(mel, min=1e-10).log10()
    floor = log_mel.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE
    return (torch.maximum(log_mel, floor) + 4.0) / 4.0
