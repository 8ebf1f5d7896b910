"""Immutable, self-validating objects that the stages hand to one another."""

from tagstrain.data.archive import ArchiveIdentity, SourceImage, SourceSeries
from tagstrain.data.cine import PixelSpacing, SliceLevel, TaggedCine
from tagstrain.data.followed import FollowedSlice
from tagstrain.data.grey_doubt import UNKNOWN_DOUBT, GreyDoubt
from tagstrain.data.insertion import LOW_INSERTION_CONFIDENCE, Insertion, Point
from tagstrain.data.landmarks import LandmarkTracks, PointTracks
from tagstrain.data.results import (
    Box,
    Localization,
    Peak,
    Provenance,
    SliceFailure,
    SliceResult,
    StrainResult,
    StudyResult,
)
from tagstrain.data.study import LoadedSlice, SliceSource, Study

__all__ = [
    "LOW_INSERTION_CONFIDENCE",
    "UNKNOWN_DOUBT",
    "ArchiveIdentity",
    "Box",
    "FollowedSlice",
    "GreyDoubt",
    "Insertion",
    "LandmarkTracks",
    "LoadedSlice",
    "Localization",
    "Peak",
    "PixelSpacing",
    "Point",
    "PointTracks",
    "Provenance",
    "SliceFailure",
    "SliceLevel",
    "SliceResult",
    "SliceSource",
    "SourceImage",
    "SourceSeries",
    "StrainResult",
    "Study",
    "StudyResult",
    "TaggedCine",
]
