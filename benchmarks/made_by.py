"""Whether results kept on disk are still those of the code and the weights: `made_by`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import tagstrain

PACKAGE = Path(tagstrain.__file__).parent


def made_by(own_sources: Sequence[Path], weights: Mapping[str, str]) -> str:
    """Digest of what an analyzed simulation depends on: the code that draws, analyzes and keeps it, and the weights.

    Parameters
    ----------
    own_sources
        Modules of the benchmark; those of the package are known.
    weights
        As in `tagstrain.data.Provenance`.
    """
    sources = list(own_sources)
    for folder in ("simulation", "inference", "networks", "geometry", "mechanics"):
        sources += sorted((PACKAGE / folder).rglob("*.py"))
    digest = hashlib.sha256(json.dumps(dict(weights), sort_keys=True).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
