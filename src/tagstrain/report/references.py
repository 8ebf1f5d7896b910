"""What healthy adults reach in tagged MRI, for comparison: `CIRCUMFERENTIAL_PEAK`, `TORSION_PEAK`."""

from __future__ import annotations

from typing import NamedTuple


class ReferenceRange(NamedTuple):
    """95 % prediction interval of a quantity, all groups of a study together."""

    low: float
    high: float
    unit: str
    source: str


_MESA = (
    "Venkatesh et al., J Magn Reson Imaging 2015;42:153-159, doi:10.1002/jmri.24749: 129 adults of 45 to 84 years "
    "without risk factors, three short-axis slices analyzed by harmonic phase; the prediction intervals of both sexes "
    "and age groups taken together"
)
# Women 45-59 years -20.8 to -13.2 %, 60-84 years -20.6 to -12.8 %; men -21.3 to -13.5 % and -20.5 to -12.5 %.
CIRCUMFERENTIAL_PEAK = ReferenceRange(-21.3, -12.5, "%", _MESA)
"""Peak circumferential strain, mean of the slices, by harmonic phase; it lies around the mid-wall values of the source,
-15.1 % at the base and -17.5 % at the apex."""
# Women 45-59 years 2.1 to 6.3, 60-84 years 2.2 to 6.9; men 1.9 to 5.7 and 1.5 to 5.2.
TORSION_PEAK = ReferenceRange(1.5, 6.9, "°/cm", _MESA)
"""Peak torsion."""
