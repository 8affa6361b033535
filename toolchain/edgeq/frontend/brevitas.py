"""Brevitas modules: loading, export to QONNX, and execution with every quantizer and layer in view.

Torch and Brevitas are imported inside the functions: the compiler works without them.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import EdgeqError

if TYPE_CHECKING:
    from torch import nn

OPSET = 20
IR_VERSION = 10
BATCH = 64


def load_module(source: str, weights: Path | None = None) -> nn.Module:
    """The module that `package.module:function` or `file.py:function` returns, in evaluation mode.

    weights: a state dictionary that torch.load reads with weights_only=True, or a packed .npz of edgeq.train.packed. Raises
    EdgeqError where the source cannot be imported or called, does not return an nn.Module, or does not fit the weights.
    """
    torch = _torch()
    place, _, name = source.rpartition(":")
    if not place or not name.isidentifier():
        raise EdgeqError(f"the source {source!r} names no function", fix="package.module:function or file.py:function")
    try:
        module = _import(place)
        made = getattr(module, name)()
    except EdgeqError:
        raise
    except Exception as error:
        fix = "a function without arguments that returns the module"
        raise EdgeqError(f"{type(error).__name__}: {error}", where=source, fix=fix) from error
    if not isinstance(made, torch.nn.Module):
        raise EdgeqError(f"the function returned a {type(made).__name__}", where=source, fix="return a torch.nn.Module")
    if weights is not None and weights.suffix == ".npz":
        from edgeq.train.packed import load_packed

        load_packed(made, weights)
    elif weights is not None:
        try:
            made.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:
            fix = "torch.save(model.state_dict(), FILE)"
            raise EdgeqError(f"the weights do not load: {error}", where=str(weights), fix=fix) from error
    return made.eval()


def _torch() -> Any:
    try:
        import brevitas  # noqa: F401
        import torch
    except ImportError as error:
        raise EdgeqError(f"modules need torch and brevitas: {error}", fix="pip install 'edgeq[train]'") from None
    return torch


def _import(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise EdgeqError("there is no such file", where=place)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise EdgeqError("not a Python file", where=place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def export_module(module: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """Write a module as QONNX: the same module and shape give the same bytes.

    input_shape: with the batch, (1, C, H, W) or (1, F). A copy is exported (a failed export leaves a module broken), by
    TorchScript: it takes every layer that was tried, where the dynamo exporter fails on some (QuantUpsamplingNearest2d)
    and is five times slower; dynamo is the second try.
    """
    torch = _torch()
    with quiet():
        from brevitas.export import export_qonnx

        from edgeq.train.settle import settle

    if len(input_shape) < 2 or min(input_shape) < 1:
        raise EdgeqError(f"the input shape is {input_shape}", fix="with the batch, as in 1,3,32,32")
    failures = []
    for dynamo in (False, True):
        with tempfile.TemporaryDirectory() as folder, quiet(), torch.no_grad():
            made = Path(folder) / "model.onnx"
            try:
                fresh = copy.deepcopy(module).eval()
                settle(fresh)
                export_qonnx(fresh, torch.zeros(input_shape), str(made), dynamo=dynamo, opset_version=OPSET)
            except Exception as error:
                failures.append(f"{'dynamo' if dynamo else 'TorchScript'}: {type(error).__name__}: {error}")
                continue
            path.write_bytes(_canonical(made))
            return
    raise EdgeqError("the module cannot be exported to QONNX: " + "; ".join(failures), fix="use Brevitas layers")


def _canonical(path: Path) -> bytes:
    """The model without what depends on the machine or on the run: doc strings, source positions, metadata."""
    from edgeq.frontend.load import load_model

    model = load_model(path)
    model.ir_version = IR_VERSION
    model.producer_version = ""
    del model.metadata_props[:]
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    return model.SerializeToString(deterministic=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' progress messages and deprecation warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


Feed = Callable[[int, np.ndarray, np.ndarray | None], np.ndarray]


class ModuleEngine:
    """PyTorch evaluation of a Brevitas module, with its quantizers and layers numbered in the order they run."""

    def __init__(self, module: nn.Module) -> None:
        self._module = copy.deepcopy(module).eval()
        self._order: list[str] = []

    def run(self, floats: np.ndarray, quantizer: Feed | None = None, layer: Feed | None = None) -> np.ndarray:
        """[N, *input shape] float32 -> the module's output, float.

        quantizer(i, y, None) sees the output y of the i-th activation quantizer of a batch, layer(i, y, bias) the
        accumulators of the i-th layer with weights and its bias (None without one); what they return is used instead.
        """
        torch = _torch()
        results = []
        for start in range(0, len(floats), BATCH):
            with torch.no_grad(), quiet(), self._hooks(quantizer, layer):
                y = self._module(torch.from_numpy(np.ascontiguousarray(floats[start : start + BATCH])))
                results.append(_plain(y).numpy())
        return np.concatenate(results)

    @contextlib.contextmanager
    def _hooks(self, quantizer: Feed | None, layer: Feed | None) -> Iterator[None]:
        from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
        from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase, TruncQuantProxyFromInjector
        from torch.nn import Parameter

        counts = {"quantizer": 0, "layer": 0}
        undo: list[Callable[[], None]] = []

        def replaced(kind: str, feed: Feed, y: Any, bias: np.ndarray | None) -> Any:
            import torch

            index = counts[kind]
            counts[kind] += 1
            new = torch.from_numpy(np.ascontiguousarray(feed(index, _plain(y).numpy(), bias)))
            return new if isinstance(y, torch.Tensor) else y.set(value=new)

        def watch_quantizer(proxy: Any, feed: Feed) -> None:
            def seen(_module: Any, given: Any, y: Any) -> Any:
                """What an activation quantizer makes of a parameter, such as a position, is a constant."""
                return y if isinstance(given[0], Parameter) else replaced("quantizer", feed, y, None)

            handle = proxy.register_forward_hook(seen)
            undo.append(handle.remove)

        def watch_layer(module: Any, feed: Feed) -> None:
            inner = module.inner_forward_impl

            def forward(x: Any, weight: Any, bias: Any) -> Any:
                return replaced("layer", feed, inner(x, weight, bias), None if bias is None else _plain(bias).numpy())

            module.inner_forward_impl = forward
            undo.append(lambda: delattr(module, "inner_forward_impl"))

        for part in self._module.modules():
            quantizes = isinstance(part, (ActQuantProxyFromInjectorBase, TruncQuantProxyFromInjector)) and part.is_quant_enabled
            if quantizer and quantizes:
                watch_quantizer(part, quantizer)
            if layer and isinstance(part, QuantWeightBiasInputOutputLayer):
                watch_layer(part, layer)
        try:
            yield
        finally:
            for action in undo:
                action()


def _plain(y: Any) -> Any:
    """A QuantTensor's values, or the tensor itself."""
    return (y.value if hasattr(y, "value") else y).detach().contiguous()
