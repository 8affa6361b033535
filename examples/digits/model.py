"""The digits network of `edgeq demo`, to be exported with the weights that `train.py` writes."""

from edgeq.train.digits import model

__all__ = ["model"]
