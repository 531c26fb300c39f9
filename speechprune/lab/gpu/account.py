"""How well the FLOPs account predicts the seconds of stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speechprune.lab.gpu.bench import Row, Rows


def fit_seconds(rows: Sequence[Row]) -> Rows:
    """Least squares of seconds = a + b · TFLOPs over measured stages, and each stage's residual."""
    tflops = np.array([row["tflops"] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    # relative errors: a stage of milliseconds counts as much as one of seconds
    design = np.stack([np.ones_like(tflops), tflops], axis=1) / seconds[:, None]
    (intercept, slope), *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    for row, work, taken in zip(rows, tflops, seconds, strict=True):
        fitted = intercept + slope * work
        yield {
            "stage": row["stage"],
            "tflops": float(work),
            "ms": float(taken * 1e3),
            "fitted_ms": float(fitted * 1e3),
            "residual": float(taken / fitted - 1),
            "fitted_tflops_per_second": float(1 / slope),
        }
