"""Stand-ins for identifiers."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tagstrain.io.pseudonym import pseudonym


@given(text=st.text(), salt=st.binary(min_size=1, max_size=64))
def test_a_pseudonym_is_12_digits_that_depend_on_text_and_salt(text: str, salt: bytes) -> None:
    name = pseudonym(text, salt)
    assert re.fullmatch("[0-9a-f]{12}", name)
    assert name == pseudonym(text, salt)
    assert name != pseudonym(text + "x", salt)
    assert name != pseudonym(text, (salt + b"x")[-64:])
