"""A study as it was found on disk: its slices, read one at a time so that memory does not grow with the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tagstrain.data.archive import ArchiveIdentity
from tagstrain.data.cine import TaggedCine


class SliceSource(Protocol):
    """A slice that can be read when it is needed."""

    @property
    def name(self) -> str:
        """Name of the slice within its study."""
        ...

    def load(self) -> TaggedCine:
        """Read the pixels.

        Raises
        ------
        tagstrain.errors.InputError
            If this slice cannot be read; the study's other slices are not affected.
        """
        ...


@dataclass(frozen=True, slots=True)
class LoadedSlice:
    """A slice whose pixels are in memory already."""

    cine: TaggedCine

    @property
    def name(self) -> str:
        """Name of the slice within its study."""
        return self.cine.name

    def load(self) -> TaggedCine:
        """Return the cine."""
        return self.cine


@dataclass(frozen=True, slots=True)
class Study:
    """All tagged slices of one subject and visit (for HDF5: one file, one slice per row)."""

    key: str
    """Names the study in outputs; from the file's name, never from a patient's name."""
    path: Path
    slices: tuple[SliceSource, ...]
    format: str
    """``"dicom"``, ``"nifti"``, ``"npz"`` or ``"hdf5"``."""
    skipped: tuple[str, ...] = ()
    """What was found and not used, with the reason."""
    identity: ArchiveIdentity | None = None
    """Patient and study, where the user keeps identities and the format stores them."""
