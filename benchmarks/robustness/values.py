"""Values that no header should hold."""

from __future__ import annotations

from typing import Any

import numpy as np

NUMBERS = (0, -1, 1, 2, 3, 255, 65535, 2**31 - 1, -(2**31), 2**32, 2**62, 0.5, -0.0, 1e-300, 1e300, -1e300)
SPECIAL = (float("nan"), float("inf"), float("-inf"))
_TEXTS = ("", " ", "abc", "1\\2\\3", "1e999", "-", "NaN", "\0\0", "ü" * 40, "9" * 5000, "[]", "../../x")


def any_value(rng: np.random.Generator) -> Any:
    """A number, text or list that a header should not hold."""
    kind = int(rng.integers(5))
    if kind == 0:
        return _TEXTS[int(rng.integers(len(_TEXTS)))]
    if kind == 1:
        return SPECIAL[int(rng.integers(len(SPECIAL)))]
    if kind == 2:
        return [any_value(rng) for _ in range(int(rng.integers(0, 8)))]
    return NUMBERS[int(rng.integers(len(NUMBERS)))]
