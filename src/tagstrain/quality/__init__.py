"""How far a slice can be trusted: looks at everything, never changes a number."""

from tagstrain.quality.flaws import Grade
from tagstrain.quality.second_opinion import Agreement, agreement
from tagstrain.quality.signals import Signals
from tagstrain.quality.slice_order import SliceOrder
from tagstrain.quality.slice_quality import SliceQuality, assess

__all__ = ["Agreement", "Grade", "Signals", "SliceOrder", "SliceQuality", "agreement", "assess"]
