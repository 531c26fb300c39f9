"""espeak-ng's phonemes as classes, for the encoder's auxiliary objective."""

from __future__ import annotations

# those of its English accents, without stress marks
# fmt: off
PHONES = (
    "t", "n", "s", "k", "I", "r", "l", "m", "d", "p", "a", "@",
    "E", "eI", "3", "b", "i", "f", "V", "oU", "z", "w", "0", "i:",
    "u:", "N", "v", "aI", "g", "I2", "@L", "h", "a#", "tS", "j", "dZ",
    "3:", "A@", "aU", "S", "O:", "aa", "T", "D", "o@", "O@", "U", "t#",
    "e@", ";", "I#", "O2", "aI@", "i@3", "A:", "U@", "OI", "i@", "VR", "Z",
    "aI2", "w#", "@-", "aI3", "t2", "IR", "?", "n-", "@2",
)
# fmt: on
PAUSE = 0
OTHER = len(PHONES) + 1
NUM_PHONES = len(PHONES) + 2
_NUMBERS = {name: number for number, name in enumerate(PHONES, start=1)}
_STRESS_MARKS = "',%="


def phone_class(name: str) -> int:
    """Number of a phoneme as espeak-ng names it: `PAUSE`, 1 to ``len(PHONES)``, or `OTHER`."""
    plain = name.strip(_STRESS_MARKS)
    if not plain or plain.startswith("_"):
        return PAUSE
    return _NUMBERS.get(plain, OTHER)
