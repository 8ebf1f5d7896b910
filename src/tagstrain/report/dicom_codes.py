"""The coded concepts of our DICOM objects: the standard's where it has them, else our own."""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from tagstrain.data import SliceLevel

OWN_SCHEME = "99TAGSTRAIN"

# The standard's Lagrangian strain is the relative change in length, l / L - 1, which we call linear.
CIRCUMFERENTIAL_LINEAR: Code = codes.DCM.CircumferentialLagrangianStrain
RADIAL_LINEAR: Code = codes.DCM.RadialLagrangianStrain
CIRCUMFERENTIAL_MEAN = Code("ECC_GL_MEAN", OWN_SCHEME, "Circumferential Green-Lagrange strain, mean of rings")
CIRCUMFERENTIAL_MIDWALL = Code("ECC_GL_MIDWALL", OWN_SCHEME, "Circumferential Green-Lagrange strain, mid-wall ring")
RADIAL_WALL = Code("ERR_GL_WALL", OWN_SCHEME, "Radial Green-Lagrange strain across the wall")
END_SYSTOLE_TIME = Code("ES_TIME", OWN_SCHEME, "Time of end-systole after the R wave")
END_DIASTOLE_FRAME = Code("ED_FRAME", OWN_SCHEME, "End-diastolic frame, counted from 1")
END_SYSTOLE_FRAME = Code("ES_FRAME", OWN_SCHEME, "End-systolic frame, counted from 1")

MAXIMUM: Code = codes.SCT.Maximum
MINIMUM: Code = codes.SCT.Minimum
PERCENT: Code = codes.UCUM.Percent
MILLISECOND: Code = codes.UCUM.Millisecond
NO_UNITS: Code = codes.UCUM.NoUnits
COMMENT: Code = codes.DCM.Comment
HEART_MRI: Code = codes.SCT.MagneticResonanceImagingOfHeart
ANATOMICAL_STRUCTURE: Code = codes.SCT.AnatomicalStructure
LEFT_VENTRICLE_MYOCARDIUM: Code = codes.SCT.LeftVentricleMyocardium
ARTIFICIAL_INTELLIGENCE: Code = codes.DCM.ArtificialIntelligence
SEGMENTATION_DERIVATION: Code = codes.DCM.SegmentationImageDerivation
SOURCE_IMAGE: Code = codes.DCM.SourceImageForImageProcessingOperation

LEVELS = {
    SliceLevel.BASAL: codes.SCT.Basal,
    SliceLevel.MID: Code("255562008", "SCT", "Mid"),
    SliceLevel.APICAL: codes.SCT.Apical,
}
"""Where along the long axis a slice lies; a slice of unknown level has no code."""


def own_scheme() -> CodingSchemeIdentificationItem:
    """Declaration of `OWN_SCHEME`, which every object with one of its codes carries."""
    return CodingSchemeIdentificationItem(
        OWN_SCHEME, name="tagstrain measurements", responsible_organization="tagstrain"
    )
