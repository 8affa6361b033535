"""Reading an ONNX file that may be broken or hostile: every size is checked before memory is taken for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeq.errors import EdgeqError
from edgeq.graph import MAX_ELEMENTS

MAX_FILE_BYTES = (1 << 31) - 1
"""Protobuf's own limit."""
MAX_NODES = 100_000
IR_VERSION = 10  # onnxruntime reads at most 13, onnx 1.23 writes 14
TYPED_FIELDS = {
    TensorProto.FLOAT: "float_data", TensorProto.DOUBLE: "double_data", TensorProto.INT64: "int64_data",
    TensorProto.INT32: "int32_data", TensorProto.UINT8: "int32_data", TensorProto.INT8: "int32_data",
    TensorProto.UINT16: "int32_data", TensorProto.INT16: "int32_data", TensorProto.BOOL: "int32_data",
    TensorProto.FLOAT16: "int32_data", TensorProto.UINT32: "uint64_data", TensorProto.UINT64: "uint64_data",
}  # fmt: skip


def load_model(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file and take its external data in, so that the result stands alone.

    Raises EdgeqError: no file, too large, not ONNX or truncated, external data outside the file's folder, a tensor whose
    declared size is not that of its data.
    """
    if not path.is_file():
        raise EdgeqError("there is no such file", where=str(path), fix="give the path of an ONNX file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise EdgeqError(f"the file is larger than {MAX_FILE_BYTES:,} bytes", where=str(path))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:
        raise EdgeqError(f"not an ONNX file, or a truncated one ({error})", where=str(path), fix="export it again") from None
    if not model.graph.node:
        raise EdgeqError("the file holds no ONNX graph", where=str(path), fix="give a QONNX model")
    for tensor in tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            take_in(tensor, path.parent)
    model.ir_version = min(model.ir_version, IR_VERSION)
    check_model(model)
    return model


def tensors(model: onnx.ModelProto) -> Iterable[TensorProto]:
    """Every tensor that a model carries: initializers, and the attributes of nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t


def check_model(model: onnx.ModelProto) -> None:
    """Raises EdgeqError where the model is outside what can be looked at safely."""
    if len(model.graph.node) > MAX_NODES:
        raise EdgeqError(f"the model has {len(model.graph.node):,} nodes; the limit is {MAX_NODES:,}")
    if model.functions or model.graph.sparse_initializer:
        kind = "model-local functions" if model.functions else "sparse initializers"
        raise EdgeqError(f"the model has {kind}", fix="inline functions (onnx.inliner), store tensors densely")
    for tensor in tensors(model):
        check_size(tensor)


def check_size(tensor: TensorProto) -> int:
    """The bytes of a tensor's elements; raises EdgeqError where it does not carry that many."""
    where = f"tensor {tensor.name!r}"
    if tensor.data_type not in TYPED_FIELDS:
        known = tensor.data_type in TensorProto.DataType.values()
        kind = TensorProto.DataType.Name(tensor.data_type) if known else tensor.data_type
        raise EdgeqError(f"the element type {kind} is not supported", where=where, fix="float32 or integer tensors")
    dims = [int(d) for d in tensor.dims]
    count = int(np.prod(dims, dtype=object)) if dims else 1
    if min(dims, default=0) < 0 or count > MAX_ELEMENTS:
        raise EdgeqError(f"shape {dims} declares {count:,} elements; the limit is {MAX_ELEMENTS:,}", where=where)
    size = count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if tensor.data_location == TensorProto.EXTERNAL:
        return size
    typed = getattr(tensor, TYPED_FIELDS[tensor.data_type])
    held, needed = (len(tensor.raw_data), size) if tensor.HasField("raw_data") else (len(typed), count)
    if held != needed:
        unit = "bytes" if tensor.HasField("raw_data") else "elements"
        raise EdgeqError(f"shape {dims} needs {needed:,} {unit}, the file holds {held:,}", where=where, fix="export it again")
    return size


def take_in(tensor: TensorProto, folder: Path) -> None:
    """Replace a reference to a file in `folder` by the bytes it means."""
    where = f"external data of tensor {tensor.name!r}"
    found = {entry.key: entry.value for entry in tensor.external_data}
    name = found.get("location", "")
    target = (folder / name).resolve()
    if not name or not target.is_relative_to(folder.resolve()):
        raise EdgeqError(f"{name!r} lies outside the model's folder", where=where, fix="store the data inside the ONNX file")
    if not target.is_file():
        raise EdgeqError(f"there is no file {name!r}", where=where, fix="keep the data file beside the ONNX file")
    size = check_size(tensor)
    try:
        offset, length = int(found.get("offset", 0)), int(found.get("length", size))
    except ValueError:
        raise EdgeqError("offset and length are not integers", where=where) from None
    if length != size or offset < 0 or offset + length > target.stat().st_size:
        raise EdgeqError(
            f"{length:,} bytes at {offset:,} of {name!r} ({target.stat().st_size:,} bytes), {size:,} needed", where=where
        )
    with target.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(size)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def to_array(tensor: TensorProto) -> np.ndarray:
    """The elements of a checked tensor."""
    check_size(tensor)
    return numpy_helper.to_array(tensor)
