"""Training examples of the insertion network: the placer's channels, and where the right ventricle really is."""

from __future__ import annotations

import numpy as np
import torch

from tagstrain.simulation.insertion import insertions_mm
from tagstrain.training.examples import Batch
from tagstrain.training.placer_examples import PlacerExamples


class InsertionExamples(PlacerExamples):
    """`PlacerExamples` with ``insertions`` (batch, 3, 2) in crop pixels: where the RV begins, its middle and its end.

    NaN where there is no RV. The crop is about as well centred as one around a placed wall; the wall that is shown
    with the varied channels is off by as much as placing is.
    """

    scale = (1.3, 2.0)
    shift = 0.10
    complementary_share = 0.0
    point_names = ("landmarks", "insertions")
    wall_shift_px = 2.0
    """Standard deviation of the wall's place along x and y."""
    wall_zoom = 0.06
    """Standard deviation of the logarithm of its size."""

    def simulate(self, n: int, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
        return {**super().simulate(n, seed, device), "insertions": self.insertions_px(n, seed, device)}

    def insertions_px(self, n: int, seed: int, device: torch.device) -> torch.Tensor:
        """What `simulate` gives as ``insertions``, without rendering."""
        scene, view = self.drawn(n, seed, device)
        return view.to_px(insertions_mm(scene.anatomy))

    def vary(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        varied = super().vary(batch, rng)
        walls = varied["landmarks"]
        center = walls.mean(dim=(1, 2), keepdim=True)

        def draw(sd: float, *shape: int) -> torch.Tensor:
            return torch.tensor(rng.standard_normal((len(walls), *shape)) * sd, dtype=walls.dtype, device=walls.device)

        zoomed = center + (walls - center) * draw(self.wall_zoom, 1, 1, 1).exp()
        return {**varied, "landmarks": zoomed + draw(self.wall_shift_px, 1, 1, 2)}
