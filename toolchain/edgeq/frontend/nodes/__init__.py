"""What each QONNX operator means on integers: one function an operator, registered under its ONNX name."""

from edgeq.frontend.nodes import affine, products, quantizers, shapes, windows
from edgeq.frontend.nodes.call import HANDLERS, Call

__all__ = ["HANDLERS", "QUANTIZERS", "QUANTIZER_DOMAINS", "Call", "affine", "products", "quantizers", "shapes", "windows"]

QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc")
QUANTIZER_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
