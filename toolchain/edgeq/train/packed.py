"""A trained network as a small file: one bit a binary weight, a code a fixed-point weight, float32 for what else there is.

An .npz that loads without pickle. Each entry of the state dictionary is an array of its name; the weights of a binary layer are
two: `NAME.bits` (uint8, np.packbits of weight > 0 in C order) and `NAME.shape` (int64); those of a fixed-point layer are
`NAME.codes` (the narrowest integers that hold its words). Equal modules give equal bytes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.train.binary import BinaryConv2d, BinaryLinear
from edgeq.train.fixed import FixedQuant
from edgeq.train.statsq import StatsQuant
from edgeq.train.tree import binary_weight

BITS, SHAPE, CODES = ".bits", ".shape", ".codes"
WordQuant = FixedQuant | StatsQuant
"""Quantizers whose words are codes times a unit."""


def save_packed(module: nn.Module, path: Path) -> None:
    """Write the module's state, weights as bits and codes: what is lost is how far a latent weight is from its code's change.

    Binary layers: ours, and Brevitas layers with a 1-bit weight quantizer.
    """
    packed: dict[str, np.ndarray] = {}
    binary = {f"{name}.weight".lstrip("."): signs for name, part in module.named_modules() if (signs := _signs(part)) is not None}
    fixed = _fixed(module)
    for name, value in module.state_dict().items():
        if name in fixed:
            packed[name + CODES] = _codes(fixed[name], value)
        elif name in binary:
            signs = binary[name].detach().numpy()
            packed[name + BITS], packed[name + SHAPE] = np.packbits(signs > 0), np.array(signs.shape, np.int64)
        else:
            packed[name] = value.numpy()
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **packed)


def load_packed(module: nn.Module, path: Path) -> None:
    """Set the module's state from a file of `save_packed`; the same outputs follow, exactly.

    Raises EdgeqError where the file cannot be read or is another network's.
    """
    layers = {f"{name}.weight".lstrip("."): part for name, part in module.named_modules() if _signs(part) is not None}
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise EdgeqError(f"the file cannot be read: {error}", where=str(path), fix="a file of save_packed") from error
    fixed = _fixed(module)
    state = {}
    for name, value in module.state_dict().items():
        parts = (name + BITS, name + SHAPE) if name in layers else (name + CODES,) if name in fixed else (name,)
        if missing := [part for part in parts if part not in arrays]:
            raise EdgeqError(f"the file has no {missing[0]}", where=str(path), fix="the module that was saved")
        found = [arrays.pop(part) for part in parts]
        shape = tuple(found[-1].tolist()) if name in layers else found[0].shape
        if shape != tuple(value.shape):
            raise EdgeqError(f"{name} is {shape} in the file, {tuple(value.shape)} in the module", where=str(path))
        if name in layers:
            state[name] = _latent(layers[name], found[0], value, path)
        else:
            state[name] = torch.from_numpy(found[0])
    if arrays:
        raise EdgeqError(f"the module has no {min(arrays)}", where=str(path), fix="the module that was saved")
    module.load_state_dict(state)
    with torch.no_grad():
        for name, quantizer in _fixed(module).items():  # Brevitas makes quantizers anew when it loads
            weight = module.get_parameter(name)
            weight.mul_(quantizer.unit(weight))


def _fixed(module: nn.Module) -> dict[str, WordQuant]:
    """The quantizers of the weights of fixed-point layers, by the weight's name."""
    parts = ((name, _quantizer(part)) for name, part in module.named_modules())
    return {f"{name}.weight".lstrip("."): quantizer for name, quantizer in parts if isinstance(quantizer, WordQuant)}


def _quantizer(part: nn.Module) -> Any:
    return getattr(getattr(part, "weight_quant", None), "tensor_quant", None)


def _codes(quantizer: WordQuant, weight: Tensor) -> np.ndarray:
    """The words of latent weights, as integers."""
    bits = quantizer.kind.hi.bit_length() + 1
    with torch.no_grad():
        return (quantizer(weight)[0] / quantizer.unit(weight)).numpy().astype(f"int{max(8, 1 << (bits - 1).bit_length())}")


def _signs(module: nn.Module) -> Tensor | None:
    binary = hasattr(module, "weight_quant") and not isinstance(_quantizer(module), WordQuant)
    return binary_weight(module) if binary else None


def _latent(layer: nn.Module, bits: np.ndarray, like: Tensor, path: Path) -> Tensor:
    """Latent weights of these signs: far from 0 for the layer's estimator, or 1."""
    if bits.dtype != np.uint8 or bits.size != -(-like.numel() // 8):
        what = f"{bits.size} bytes of {bits.dtype} for {like.numel()} bits"
        raise EdgeqError(what, where=str(path), fix="a file of save_packed")
    ones = torch.from_numpy(np.unpackbits(bits, count=like.numel()).reshape(like.shape))
    ours = isinstance(layer, BinaryConv2d | BinaryLinear)
    size = layer.weight_quant.tensor_quant.estimator.start if ours else 1.0
    return torch.where(ones > 0, size, -size).to(like.dtype)
