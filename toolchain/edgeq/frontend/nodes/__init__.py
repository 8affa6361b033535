"""What each QONNX operator means on integers: one function an operator, registered under its ONNX name."""

from edgeq import fixed_point
from edgeq.frontend.nodes import affine, fixed, lookup, operator, products, quantizers, shapes, tokens, windows
from edgeq.frontend.nodes.call import HANDLERS, Call

__all__ = [
    "HANDLERS", "QUANTIZERS", "QUANTIZER_DOMAINS", "Call", "affine", "fixed", "lookup", "operator", "products", "quantizers",
    "shapes", "tokens", "windows",
]  # fmt: skip

QUANTIZER_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
QUANTIZERS: dict[str, tuple[str, ...]] = dict.fromkeys(("Quant", "IntQuant", "BipolarQuant", "Trunc"), QUANTIZER_DOMAINS)
QUANTIZERS |= dict.fromkeys((fixed_point.OPERATOR, fixed_point.LOOKUP, fixed_point.INTEGER), (fixed_point.DOMAIN,))
"""The quantizers, and what else is not of ONNX, with the domains in which they are known."""
