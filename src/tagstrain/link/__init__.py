"""The link to an archive: receives studies by C-STORE, has them analyzed, sends the results back."""

from tagstrain.link.config import ListenerConfig
from tagstrain.link.listener import Listener
from tagstrain.link.sender import Destination, DicomNode, DicomWeb
from tagstrain.link.spool import Spool
from tagstrain.link.stages import SpooledStudy, Stage

__all__ = [
    "Destination",
    "DicomNode",
    "DicomWeb",
    "Listener",
    "ListenerConfig",
    "Spool",
    "SpooledStudy",
    "Stage",
]
