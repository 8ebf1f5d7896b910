"""Convolutions in bfloat16, where the processor does them twice as fast: `halve`, `has_native_bfloat16`."""

from __future__ import annotations

import torch
from torch import nn

from tagstrain.networks.flow import Pyramid
from tagstrain.networks.unet import UNet


def has_native_bfloat16(device: torch.device | str) -> bool:
    """Whether a device multiplies bfloat16 by itself; others would only imitate it, slowly. GPUs stay as they are."""
    # There is no public way to ask; where this one is gone, nothing gets faster.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.device(device).type == "cpu" and bool(supported())


def halve(network: nn.Module) -> bool:
    """Let the bodies of a network of ours, nearly all of its work, compute in bfloat16; False where it has none.

    Training on a GPU does the same (``--precision bf16-mixed``). Positions, images, what is compared and what is
    answered stay in float32: landmarks move by less than 0.02 mm.
    """
    bodies = [module for module in network.modules() if isinstance(module, Pyramid | UNet)]
    for body in bodies:
        body.to(torch.bfloat16)
    return bool(bodies)
