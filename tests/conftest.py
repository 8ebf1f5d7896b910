"""What tests of several layers share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from pipeline_fakes import FakeLocalizer, FakePlacer, FakeTracker
from tagstrain.data import Provenance
from tagstrain.inference.models import Models

settings.register_profile("tagstrain", deadline=None)  # machines differ in speed, claims do not
settings.load_profile("tagstrain")


@pytest.fixture
def fake_models() -> Models:
    """Localizer, placer and tracker with known answers."""
    provenance = Provenance("0", "fake", {"localizer": "1 sha256:00"}, "cpu")
    return Models(FakeLocalizer(), FakePlacer(), FakeTracker(), provenance)
