"""What a simulated study may look like: the ranges that chance draws from (`SimulatorConfig`) and named presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """Ranges of the simulator; every one is drawn uniformly unless its comment says otherwise.

    Raises
    ------
    ValueError
        If a range is empty or a probability lies outside 0 to 1.
    """

    # anatomy
    outer_radius_mm: Range = (20.0, 38.0)
    wall_fraction: Range = (0.24, 0.66)
    """Wall thickness over outer radius; readers of tagged images draw the endocardium inside the trabeculae."""
    right_ventricle_probability: float = 0.85
    # motion
    midwall_shortening: Range = (0.10, 0.32)
    weak_heart_probability: float = 0.15
    """Hearts whose shortening is drawn from 0 to 0.15 instead."""
    infarct_probability: float = 0.25
    dyssynchrony_probability: float = 0.4
    es_time_ms: Range = (230.0, 430.0)
    cycle_span_ms: Range = (650.0, 980.0)
    """Time from ED until relaxation has run its course."""
    bulk_motion_sd_mm: float = 2.5
    # inside of the wall: trabeculae and papillary muscles
    inner_loss: Range = (0.0, 0.0)
    inner_loss_extent: Range = (1.0, 1.0)
    """How much more of its area the innermost layer loses at ES than the wall, as blood is squeezed out of it, and the
    share of the wall's area over which that falls off."""
    exchange_depth: Range = (0.0, 0.0)
    exchange_share: Range = (0.0, 0.0)
    exchange_blood: Range = (0.0, 0.0)
    """Innermost layer whose tags do not last, since it leaves the slice as the heart shortens along its axis; here it
    leaves when blood does. Its depth is a share of the wall's. The share of tissue that leaves falls from the
    endocardium outwards; above 1 there, the inside of the layer leaves as a whole, with any muscle in the cavity. Last,
    how much of what comes in its place is blood."""
    solid_wall_probability: float = 0.0
    """Hearts that have none of this."""
    # tags
    tag_spacing_mm: Range = (4.0, 10.0)
    common_spacing_mm: Range = (5.5, 7.0)
    """Half of all scenes draw their spacing, from dark line to dark line, from here, where protocols cluster."""
    diagonal_tag_probability: float = 0.7
    """Scenes whose tags lie near 45 degrees to the image axes; the others have any angle."""
    line_tag_probability: float = 0.06
    complementary_probability: float = 0.0
    """Scenes of complementary SPAMM, tagged at twice their dark lines' spacing (`complementary_magnetization`)."""
    blood_mixing: Range = (0.0, 0.0)
    """Share of the blood that was tagged too, elsewhere, when it takes the place of blood that was tagged here: mixed,
    it is as bright as tagged muscle in the mean, and not as what was never tagged."""
    # acquisition
    n_frames: int = 20
    frame_interval_ms: Range = (30.0, 46.0)
    snr: Range = (7.0, 45.0)
    """Mean signal of the wall in the first frame over the noise's standard deviation; drawn log-uniformly."""
    readout_resolution_mm: Range = (1.1, 1.9)
    phase_resolution_mm: Range = (1.2, 2.6)
    ghost_probability: float = 0.2

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, tuple) and not value[0] <= value[1]:
                raise ValueError(f"{name}: expected (low, high), got {value}")
            if name.endswith("_probability") and not 0 <= value <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {value}")
        if not (self.inner_loss[0] >= 0 and self.inner_loss[1] < 1):
            raise ValueError(f"inner_loss: expected shares from 0 to below 1, got {self.inner_loss}")
        for name in ("exchange_depth", "exchange_blood", "blood_mixing"):
            low, high = getattr(self, name)
            if not (low >= 0 and high <= 1):
                raise ValueError(f"{name}: expected shares from 0 to 1, got {(low, high)}")
        if self.exchange_share[0] < 0 or (self.exchange_share[1] > 0 and self.exchange_depth[0] <= 0):
            raise ValueError(
                f"exchange_share, exchange_depth: expected no negative share and a layer of some depth, "
                f"got {self.exchange_share}, {self.exchange_depth}"
            )
        if not (self.inner_loss_extent[0] > 0 and self.inner_loss_extent[1] <= 1):
            raise ValueError(f"inner_loss_extent: expected shares above 0 up to 1, got {self.inner_loss_extent}")
        if self.n_frames < 2:
            raise ValueError(f"n_frames: expected at least 2, got {self.n_frames}")


PRESETS: dict[str, SimulatorConfig] = {
    "default": SimulatorConfig(),
    # Grid tags 6 mm apart at 45 degrees and 20 frames, as in UK Biobank field 20211.
    "ukb": replace(
        SimulatorConfig(),
        common_spacing_mm=(5.9, 6.1),
        tag_spacing_mm=(5.9, 6.1),
        diagonal_tag_probability=1.0,
        line_tag_probability=0.0,
        frame_interval_ms=(38.0, 42.0),
        snr=(12.0, 35.0),
    ),
    "cspamm": replace(SimulatorConfig(), complementary_probability=1.0),
}
