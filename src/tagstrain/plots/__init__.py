"""Static figures for papers, drawn on matplotlib axes of one's own, from the same parts as the reports."""

from tagstrain.plots.agreement import BlandAltman, draw_bland_altman
from tagstrain.plots.bulls_eye import draw_bulls_eye
from tagstrain.plots.overlay_strip import draw_overlay_strip
from tagstrain.report.heart_view import heart_view
from tagstrain.report.panels import CinePanel, draw_circumferential, draw_radial
from tagstrain.report.strain_colors import ColorScale, circumferential_scale, radial_scale, time_scale

__all__ = [
    "BlandAltman",
    "CinePanel",
    "ColorScale",
    "circumferential_scale",
    "draw_bland_altman",
    "draw_bulls_eye",
    "draw_circumferential",
    "draw_overlay_strip",
    "draw_radial",
    "heart_view",
    "radial_scale",
    "time_scale",
]
