"""edgeq: quantized neural networks on FPGAs and edge devices, the same integers everywhere."""

__version__ = "0.1.0"
