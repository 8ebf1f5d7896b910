"""How the simulated cines differ that trackers are judged on: `SETTINGS`, and the seeds they are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.scene import Scene

SEED_A, SEED_B, SEED_C = 771_001, 772_001, 773_001
"""Training draws its seeds from 62 bits, so that it does not come across these."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A way in which cines of set B differ from those of training."""

    name: str
    config: SimulatorConfig
    edit: Callable[[Scene], Scene] = lambda scene: scene
    """What no range of the simulator can say."""


def _config(**changes: object) -> SimulatorConfig:
    """The default preset with some ranges changed; grid tags, so that all motion leaves a trace."""
    return replace(PRESETS["default"], line_tag_probability=0.0, **changes)  # type: ignore[arg-type]


def _spaced(low_mm: float, high_mm: float) -> SimulatorConfig:
    return _config(tag_spacing_mm=(low_mm, high_mm), common_spacing_mm=(low_mm, high_mm))


def _sharpness(value: float) -> Callable[[Scene], Scene]:
    return lambda scene: replace(scene, tags=replace(scene.tags, sharpness=torch.tensor(value)))


def _infarct(depth: float) -> Callable[[Scene], Scene]:
    """A third of the wall that contracts ``1 - depth`` times as much as it would."""
    return lambda scene: replace(
        scene,
        motion=replace(
            scene.motion,
            infarct_depth=torch.tensor(depth),
            infarct_sharpness=torch.tensor(2.0),
            regional_amplitude=0.5 * scene.motion.regional_amplitude,
        ),
    )


def _tags_gone_early(scene: Scene) -> Scene:
    """Pulses so strong that the tags are gone after 150 to 200 ms (Look and Locker 1970, T1* of about 50 ms)."""
    pulses = {"flip_angle_rad": torch.tensor(math.radians(25)), "repetition_ms": torch.tensor(5.0)}
    return replace(scene, tags=replace(scene.tags, **pulses))


_CONTRACTING = {"weak_heart_probability": 0.0, "infarct_probability": 0.0}
SETTINGS = (
    Setting("tag spacing 4 mm", _spaced(4.0, 4.0)),
    Setting("tag spacing 9-10 mm", _spaced(9.0, 10.0)),
    Setting("any tag angle", _config(diagonal_tag_probability=0.0)),
    Setting("broad tag lines", _config(), _sharpness(0.45)),
    Setting("sharp tag lines", _config(), _sharpness(3.0)),
    Setting("frames 15 ms apart", _config(frame_interval_ms=(15.0, 15.0), n_frames=40)),
    Setting("frames 70 ms apart", _config(frame_interval_ms=(70.0, 70.0), n_frames=13)),
    Setting("SNR 5-8", _config(snr=(5.0, 8.0))),
    Setting(
        "strong motion",
        _config(midwall_shortening=(0.33, 0.40), bulk_motion_sd_mm=4.0, **_CONTRACTING),
        # A thin wall can shorten so far before its cavity is empty.
        lambda scene: replace(
            scene, anatomy=replace(scene.anatomy, wall_fraction=scene.anatomy.wall_fraction.clamp_max(0.40))
        ),
    ),
    Setting("akinetic infarct", _config(midwall_shortening=(0.16, 0.28), **_CONTRACTING), _infarct(1.0)),
    Setting("dyskinetic infarct", _config(midwall_shortening=(0.16, 0.28), **_CONTRACTING), _infarct(1.6)),
    Setting("12 frames", _config(n_frames=12, frame_interval_ms=(50.0, 54.0))),
    Setting("50 frames", _config(n_frames=50, frame_interval_ms=(16.0, 19.0))),
    Setting("inner wall squeezed", _config(inner_loss=(0.3, 0.3))),
    Setting(
        "spongy inside",  # like the one real case looked at, and more so: a little beyond what training draws
        _config(
            inner_loss=(0.86, 0.9),
            inner_loss_extent=(0.25, 0.35),
            exchange_depth=(0.5, 0.6),
            exchange_share=(1.6, 1.8),
            exchange_blood=(0.2, 0.6),
            blood_mixing=(1.0, 1.0),
        ),
    ),
    Setting("tags gone early", _config(), _tags_gone_early),
)
GROUPS_A: dict[str, Callable[[Scene], bool]] = {
    "grid tags": lambda scene: bool(scene.tags.depth[1] > 0),
    # Motion along the lines leaves no trace.
    "line tags": lambda scene: bool(scene.tags.depth[1] == 0),
}
"""What set A is made of."""
