"""Maps between image, crop and millimetres: arrays in, arrays out."""

from tagstrain.geometry.crop import CropTransform
from tagstrain.geometry.grid import wall_grid

__all__ = ["CropTransform", "wall_grid"]
