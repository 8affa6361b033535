"""ONNX Runtime on an integer ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime


class OrtEngine:
    """Runs a file that `edgeq.lower.onnx.save` wrote in a plain session on the CPU.

    threads: intra-operator threads, 0 for one a core. batch: frames a call.
    """

    def __init__(self, path: Path, threads: int = 0, batch: int = 64) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.batch = batch
        (self._input,) = self.session.get_inputs()
        self._dtype = {"uint8": np.uint8, "int8": np.int8, "int32": np.int32, "int64": np.int64}[self._input.type[7:-1]]

    def run(self, x: np.ndarray) -> np.ndarray:
        """x: [N, *input shape] -> [N, *output shape], int64."""
        return np.concatenate([self.run_batch(x[i : i + self.batch]) for i in range(0, len(x), self.batch)]).astype(np.int64)

    def run_batch(self, x: np.ndarray) -> np.ndarray:
        """One call of the session; the result in its own element type."""
        return self.session.run(None, {self._input.name: x.astype(self._dtype)})[0]
