"""Latent parameters made what the forward pass makes of them."""

from __future__ import annotations

import torch
from torch import nn


def settle(module: nn.Module) -> None:
    """Replace the latent parameters of our layers in `module` by their codes, which the forward pass keeps.

    For export, in evaluation mode: Brevitas writes the latent weights and a plain quantizer, which is not BiPer's sign of a sine,
    nor a K-hot word or another rounding than half to even.
    """
    with torch.no_grad():
        for part in module.modules():
            if hasattr(part, "settle"):
                part.settle()
