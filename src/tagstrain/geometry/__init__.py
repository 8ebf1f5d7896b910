"""Maps between image, crop and millimetres: arrays in, arrays out."""

from tagstrain.geometry.crop import CropTransform
from tagstrain.geometry.grid import wall_grid
from tagstrain.geometry.original_crop import OriginalCrop

__all__ = ["CropTransform", "OriginalCrop", "wall_grid"]
