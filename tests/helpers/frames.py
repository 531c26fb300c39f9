"""Budget frames of equal and unequal size."""

import numpy as np
from hypothesis import strategies as st


def equal_frames(num_tokens: int, frame_tokens: int) -> np.ndarray:
    """``frame_starts`` of frames of f tokens, the last of which may be short."""
    return np.append(np.arange(0, num_tokens, frame_tokens), num_tokens)


@st.composite
def frames_of(draw: st.DrawFn, num_tokens: int) -> np.ndarray:
    """``frame_starts``: frames of one size, of 12 or 13 tokens as at 12.5 a second, or of any size."""
    kind = draw(st.sampled_from(["equal", "12 or 13", "any"]))
    if kind == "equal":
        return equal_frames(num_tokens, draw(st.integers(1, 30)))
    if kind == "12 or 13":
        inner = np.floor(np.arange(1, num_tokens) * 12.5 + draw(st.sampled_from([0, 0.5]))).astype(int)
        inner = inner[inner < num_tokens]
    else:
        inner = np.array(sorted(draw(st.sets(st.integers(1, max(1, num_tokens - 1))))), int)
        inner = inner[inner < num_tokens]
    return np.concatenate([[0], inner, [num_tokens]])
