"""Numbers from trajectories: NumPy in float64, no files, no pixels, no networks."""

from tagstrain.mechanics.dense import dense_strain
from tagstrain.mechanics.slice_deformation import SliceMotion
from tagstrain.mechanics.slice_mechanics import SliceMechanics, slice_mechanics
from tagstrain.mechanics.strain import (
    circumferential_strain,
    end_systolic_frame,
    engineering,
    green_lagrange,
    radial_layer_strain,
    radial_strain,
)
from tagstrain.mechanics.study_mechanics import StudyMechanics, study_mechanics

__all__ = [
    "SliceMechanics",
    "SliceMotion",
    "StudyMechanics",
    "circumferential_strain",
    "dense_strain",
    "end_systolic_frame",
    "engineering",
    "green_lagrange",
    "radial_layer_strain",
    "radial_strain",
    "slice_mechanics",
    "study_mechanics",
]
