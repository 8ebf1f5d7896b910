"""One architecture trained and judged: `train_variant`."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.controls.crops import Batch, Crops, drawn
from benchmarks.controls.variants import VARIANTS, follow
from tagstrain.training.examples import TrackerExamples
from tagstrain.training.tracker_loss import landmark_errors_mm, slice_strains, tracker_losses

SIGMA = -math.log(1 - 0.6827)
"""Spreads of a Laplace distribution within which 68.27 % of the errors lie."""
REPORT_EVERY = 25
LEARNING_RATE = 1.5e-3


@dataclass(frozen=True, slots=True)
class Settings:
    """How every variant is trained."""

    steps: int
    batch_size: int
    seed: int
    device: str
    seconds: float = math.inf
    """Training stops when they are over, wherever it is."""
    learning_rate: float = LEARNING_RATE
    warmup_steps: int = 100
    ema_decay: float = 0.99


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors on a test set."""

    rmse_mm: float
    """Of all frames but ED, mean over cines."""
    median_mm: float
    percentile_95_mm: float
    circumferential_mae: float
    """Of the slice at the true ES frame, as all strains here."""
    radial_mae: float
    radial_bias: float
    within_sigma: float
    """Share of coordinates; 0.68 is right."""


def train_variant(variant: str, crops: Crops, settings: Settings) -> dict[str, object]:
    """Train from scratch on batches that depend on the seed alone, judge the averaged weights, and say all about it."""
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    chosen = VARIANTS[variant]
    network = chosen.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))  # type: ignore[no-untyped-call]
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, settings))
    maker = TrackerExamples("default")
    rng = np.random.default_rng(settings.seed)
    batches = drawn(crops.training, settings.batch_size, rng, device)
    network.train()
    losses: list[torch.Tensor] = []
    start = time.perf_counter()
    while len(losses) < settings.steps and time.perf_counter() - start < settings.seconds:
        batch = maker.shorten(maker.vary(next(batches), rng), rng)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            motions = follow(network, batch)
        # Every iteration answers for what it adds.
        loss = torch.stack([chosen.minimized(tracker_losses(motion, batch)) for motion in motions]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        losses.append(loss.detach())
        if len(losses) % REPORT_EVERY == 0:
            recent = float(torch.stack(losses[-REPORT_EVERY:]).mean())
            if not math.isfinite(recent):
                raise FloatingPointError(
                    f"{variant}, seed {settings.seed}: the loss became {recent} by step {len(losses)}"
                )
            print(f"step {len(losses)}, {time.perf_counter() - start:.0f} s, loss {recent:.3f}", flush=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    judged = average.module
    peak_gib = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return {
        "variant": variant,
        "settings": {**asdict(settings), "seconds": None if math.isinf(settings.seconds) else settings.seconds},
        "steps": len(losses),
        "seconds": seconds,
        "first_losses": float(torch.stack(losses[: len(losses) // 10 + 1]).mean()),
        "last_losses": float(torch.stack(losses[-(len(losses) // 10 + 1) :]).mean()),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gflop_per_cine": _gflop(judged, crops.training, device),
        "peak_gib": peak_gib,
        "errors": {
            name: asdict(judge(judged, sets, device, settings.batch_size)) for name, sets in crops.tests.items()
        },
    }


def judge(network: nn.Module, batches: list[Batch], device: torch.device, batch_size: int) -> Errors:
    """Errors over all batches of a test set together, in single precision."""
    network.eval()
    rmse, distances, inside, strain_errors = [], [], [], []
    for whole in batches:
        for start in range(0, len(whole["images"]), batch_size):
            batch = {key: values[start : start + batch_size].to(device) for key, values in whole.items()}
            batch["images"] = batch["images"].float()
            with torch.no_grad():
                motion = follow(network, batch)[-1]
            error_mm, spread_mm = (values[:, 1:] for values in landmark_errors_mm(motion, batch))
            distance = error_mm.norm(dim=-1)
            rmse.append(distance.square().mean(dim=(1, 2, 3)).sqrt())
            distances.append(distance.flatten())
            inside.append((error_mm.abs() < SIGMA * spread_mm[..., None]).float().flatten())
            found, truth = slice_strains(motion, batch)
            es = truth[1].argmin(dim=1, keepdim=True)
            strain_errors.append(torch.cat([(a - b).gather(1, es) for a, b in zip(found, truth, strict=True)], dim=1))
    all_distances = torch.cat(distances).cpu().numpy()
    radial, circumferential = torch.cat(strain_errors).unbind(dim=1)
    return Errors(
        rmse_mm=float(torch.cat(rmse).mean()),
        median_mm=float(np.median(all_distances)),
        percentile_95_mm=float(np.percentile(all_distances, 95)),
        circumferential_mae=float(circumferential.abs().mean()),
        radial_mae=float(radial.abs().mean()),
        radial_bias=float(radial.mean()),
        within_sigma=float(torch.cat(inside).mean()),
    )


def _share_of_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine down to 1 % at the last step."""
    warmup = min(settings.warmup_steps, max(1, settings.steps // 10))
    progress = min(1.0, step / max(1, settings.steps - 1))
    return min(1.0, (step + 1) / warmup) * (0.505 + 0.495 * math.cos(math.pi * progress))


def _gflop(network: nn.Module, training: Batch, device: torch.device) -> float:
    """Of convolutions, products of matrices and attention, for one cine of the training data."""
    batch = {key: values[:1].to(device) for key, values in training.items()}
    batch["images"] = batch["images"].float()
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        follow(network, batch)
    return float(counter.get_total_flops()) / 1e9
