"""The animation of a slice as a DICOM secondary capture, which any viewer plays: `write_movie`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from highdicom.frame import encode_frame
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, RLELossless

from tagstrain.data import SliceResult
from tagstrain.report.animation import draw_frames
from tagstrain.report.dicom_study import MOVIE_SERIES, DicomStudy, reference_to

_FRAME_TIME_VECTOR = Tag("FrameTimeVector")
_RGB = {
    "SamplesPerPixel": 3,
    "PhotometricInterpretation": "RGB",
    "PlanarConfiguration": 0,
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "PixelRepresentation": 0,
}


def write_movie(path: Path, result: SliceResult, study: DicomStudy, instance_number: int) -> None:
    """Write the pictures of the GIF, in full color and without loss, at the speed of the heart."""
    pictures = draw_frames(result)
    movie = study.new_object(
        result.cine, MOVIE_SERIES, instance_number, MultiFrameTrueColorSecondaryCaptureImageStorage, "OT"
    )
    movie.ImageType = ["DERIVED", "SECONDARY"]
    movie.ConversionType = "WSD"
    movie.BurnedInAnnotation = "NO"  # which is about the patient's identity
    movie.ImageComments = f"Slice {result.name}. {study.provenance.disclaimer}"
    movie.BodyPartExamined = "HEART"
    movie.PatientOrientation = None
    movie.LossyImageCompression = "00"
    movie.NumberOfFrames = len(pictures)
    movie.FrameIncrementPointer = _FRAME_TIME_VECTOR
    movie.FrameTimeVector = [0.0, *np.diff(result.strain.frame_times_ms).round(3).tolist()]
    movie.Rows, movie.Columns = pictures[0].shape[:2]
    for keyword, value in _RGB.items():
        setattr(movie, keyword, value)
    if result.cine.source_series is not None:
        movie.SourceImageSequence = [reference_to(image) for image in result.cine.source_series.images]
    frames = [
        encode_frame(
            picture,
            transfer_syntax_uid=RLELossless,
            bits_allocated=8,
            bits_stored=8,
            photometric_interpretation="RGB",
            pixel_representation=0,
            planar_configuration=0,
        )
        for picture in pictures
    ]
    movie.file_meta.TransferSyntaxUID = RLELossless
    movie.PixelData = encapsulate(frames)
    movie["PixelData"].VR = "OB"
    movie.save_as(path, enforce_file_format=True)
