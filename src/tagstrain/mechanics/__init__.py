"""Numbers from trajectories: NumPy in float64, no files, no pixels, no networks."""

from tagstrain.mechanics.strain import (
    circumferential_strain,
    end_systolic_frame,
    engineering,
    green_lagrange,
    radial_layer_strain,
    radial_strain,
)

__all__ = [
    "circumferential_strain",
    "end_systolic_frame",
    "engineering",
    "green_lagrange",
    "radial_layer_strain",
    "radial_strain",
]
