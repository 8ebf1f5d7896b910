"""Maps between image, crop and millimetres: arrays in, arrays out."""

from tagstrain.geometry.crop import CropTransform
from tagstrain.geometry.grid import wall_grid
from tagstrain.geometry.original_crop import ORIGINAL_CROP_SIZE, original_crop

__all__ = ["ORIGINAL_CROP_SIZE", "CropTransform", "original_crop", "wall_grid"]
