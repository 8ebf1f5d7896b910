"""Settings of a training run, saved beside what it produced: `TrainingConfig`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tagstrain.simulation.config import PRESETS

Task = Literal["localizer", "rnncnn", "tracker", "placer", "insertion"]
Architecture = Literal["unet", "original"]
Device = Literal["auto", "cpu", "cuda"]
TASKS: tuple[Task, ...] = ("localizer", "rnncnn", "tracker", "placer", "insertion")
READS_MOTION: tuple[Task, ...] = ("placer", "insertion")
"""Tasks whose examples are what a tracker saw."""
ARCHITECTURES: tuple[Architecture, ...] = ("unet", "original")
DEVICES: tuple[Device, ...] = ("auto", "cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed")
"""Of Lightning's, those that all of our networks train in."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One training run.

    Raises
    ------
    ValueError
        If a setting cannot work; says which and why.
    """

    task: Task
    out: str
    architecture: Architecture = "unet"
    """Network of the localizer: ours or the predecessor's; of no meaning to the other tasks."""
    data: tuple[str, ...] = ()
    """HDF5 files in the predecessor's layout; empty: the simulator alone."""
    simulation_share: float = 0.5
    """Share of every batch that is simulated when files are given."""
    preset: str = "default"
    tracker_weights: str | None = None
    """Of the tracker whose motion placer and insertion read; None for the shipped ones."""
    init: str | None = None
    """Weights to start from: a file, or ``"shipped"``; None for random ones."""
    start_share: float = 0.0
    """Share of the weights that the run started from in those that it exports, 0 to 1: fine-tuned networks forget less
    that way (Wortsman et al., CVPR 2022, doi:10.1109/CVPR52688.2022.00780)."""
    seed: int = 1
    steps: int = 20_000
    batch_size: int = 16
    replay: int = 4
    """How often a simulated cine is used, each time flipped, turned and disturbed anew."""
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema_decay: float = 0.0
    """Decay per step of the moving average of the weights that is validated and exported; 0 for none."""
    dropout: float = 0.2
    refinements: int | None = None
    """Refinements of the tracker that are trained; None for all, 0 for the part that follows alone."""
    keep_following: bool = False
    """Whether the tracker's part that follows stays as it is: placer and insertion network read what it finds."""
    as_used: bool = False
    """Whether the tracker's refinements learn from what they see in use: three of them, from the second on with frames
    mixed with their neighbors, the last against the first frame or the mean of all others; one learns from a batch."""
    precision: str = "32-true"
    devices: int = 1
    device: Device = "auto"
    workers: int = 1
    """Processes that make batches on the run's device; 0 makes them in the training process."""
    validation_scenes: int = 64
    validate_every: int = 250
    eight_bits: bool = False
    """Whether the exported weights are stored in 8 bits, a quarter of the size; the checkpoints keep all of them."""
    patience: int = 40
    """Validations without improvement before the run stops early."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task: expected one of {', '.join(TASKS)}, got {self.task!r}")
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture: expected one of {', '.join(ARCHITECTURES)}, got {self.architecture!r}")
        if self.preset not in PRESETS:
            raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {self.preset!r}")
        if self.device not in DEVICES:
            raise ValueError(f"device: expected one of {', '.join(DEVICES)}, got {self.device!r}")
        if self.task == "insertion" and self.data:
            raise ValueError("data: files hold no right ventricle; the insertion network trains on the simulator alone")
        if not 0 <= self.simulation_share <= 1:
            raise ValueError(f"simulation_share: expected 0 to 1, got {self.simulation_share}")
        if not 0 <= self.start_share <= 1:
            raise ValueError(f"start_share: expected 0 to 1, got {self.start_share}")
        if self.start_share and self.init is None:
            raise ValueError(f"start_share: expected weights to start from (init) with a share of {self.start_share}")
        if self.replay < 1 or self.batch_size % self.replay:
            raise ValueError(f"batch_size: expected a multiple of replay ({self.replay}), got {self.batch_size}")
        for name in ("steps", "validation_scenes", "validate_every", "patience", "devices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.data:
            self.check_simulation_share()
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: expected 0 to below 1, got {self.ema_decay}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected 0 to below 1, got {self.dropout}")
        if self.workers < 0:
            raise ValueError(f"workers: expected at least 0, got {self.workers}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate: expected more than 0, got {self.learning_rate}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay: expected at least 0, got {self.weight_decay}")
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, got {self.seed}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.refinements is not None and self.refinements < 0:
            raise ValueError(f"refinements: expected at least 0, got {self.refinements}")
        if self.keep_following and (self.task != "tracker" or self.init is None or self.refinements == 0):
            raise ValueError(
                "keep_following: expected the task tracker, weights to start from (init) and refinements to train"
            )
        if self.as_used and not (self.keep_following and self.refinements is None):
            raise ValueError("as_used: expected the part that follows to stay (keep_following), and all refinements")
        if self.keep_following and self.eight_bits:
            raise ValueError(
                "eight_bits: expected not to be asked for with keep_following, which leaves a part as it is"
            )

    @property
    def init_path(self) -> Path | None:
        """File of the weights to start from; None for the shipped ones, or for random ones."""
        return None if self.init in (None, "shipped") else Path(str(self.init))

    @property
    def weights_path(self) -> Path:
        """File of the weights that `train` exports."""
        return Path(self.out) / f"{self.task}.safetensors"

    def earlier_run(self, resume: Path | None = None) -> list[Path]:
        """Weights and checkpoints that lie where those of this run would; none of the run that is resumed there."""
        if resume is not None and resume.resolve().parent.parent == Path(self.out).resolve():
            return []
        found = [self.weights_path, *(Path(self.out) / "checkpoints").glob("*.ckpt")]
        return [path for path in found if path.exists()]

    @property
    def simulated_groups(self) -> int:
        """Simulated cines that enter with every step where there are others too; each is used ``replay`` times."""
        return round(self.batch_size * self.simulation_share / self.replay)

    def check_simulation_share(self) -> None:
        """Raise ValueError where simulated cines and others do not both find room in a batch, as asked for."""
        if self.simulation_share > 0 and not self.simulated_groups:
            raise ValueError(
                f"simulation_share: batches of {self.batch_size} with a share of {self.simulation_share:g} hold no "
                f"simulated cine for the {self.task}, each of which is used {self.replay} times; expected larger "
                "batches or a larger share"
            )
        if self.simulated_groups * self.replay >= self.batch_size:
            raise ValueError(
                f"simulation_share: batches of {self.batch_size} with a share of {self.simulation_share:g} are all "
                f"simulated, for each such cine is used {self.replay} times for the {self.task}; expected larger "
                "batches or a smaller share, so that other cines are learned from"
            )

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read what `save` wrote."""
        record = json.loads(path.read_text())
        return cls(**{**record, "data": tuple(record["data"])})


def check_start(start: Path | None, exported: Path) -> None:
    """Raise ValueError where what a run exports would replace the weights that it starts from."""
    if start is not None and start.resolve() == exported.resolve():
        raise ValueError(f"{start}: would be replaced by this run. Give another --out")
