"""Files in and out: readers that give `TaggedCine`, writers that are whole or absent."""

from tagstrain.io.atomic import (
    atomic_file,
    atomic_folder,
    prepare_folder,
    prepare_output,
    remove_leftovers,
    sync_folder,
    write_durably,
)
from tagstrain.io.dicom_export import write_dicom_study
from tagstrain.io.hdf5 import iterate_cropped_sequences, iterate_first_frames, read_hdf5_study
from tagstrain.io.landmark_file import LandmarkFile, LandmarkRow
from tagstrain.io.landmark_writer import LandmarkFileWriter
from tagstrain.io.study import read_study

__all__ = [
    "LandmarkFile",
    "LandmarkFileWriter",
    "LandmarkRow",
    "atomic_file",
    "atomic_folder",
    "iterate_cropped_sequences",
    "iterate_first_frames",
    "prepare_folder",
    "prepare_output",
    "read_hdf5_study",
    "read_study",
    "remove_leftovers",
    "sync_folder",
    "write_dicom_study",
    "write_durably",
]
