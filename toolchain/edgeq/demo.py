"""`edgeq demo`: a binary CNN trained on scikit-learn's digits, through every stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeq import flow
from edgeq.board import Board
from edgeq.errors import EdgeqError
from edgeq.folding import Target
from edgeq.ui import Ui


def run(out: Path, board: Board, *, seed: int, force: bool, ui: Ui) -> dict[str, Any]:
    """Train, export, verify, synth, sim over the whole test split; every engine's result and the report.

    out: gets train/, export/ and build/.
    """
    try:
        from edgeq.train import digits
    except ImportError as error:
        raise EdgeqError(f"the demo trains a network and needs {error.name}", fix="pip install 'edgeq[train]'") from None
    if out.exists() and not force:
        raise EdgeqError("the output directory exists", where=str(out), fix="choose another, or add --force to replace it")
    out.mkdir(parents=True, exist_ok=True)
    with ui.stage("training a binary CNN on scikit-learn's digits"):
        trained = digits.prepare(out / "train", seed)
    images = out / "train" / "test.npz"
    np.savez_compressed(images, x=trained.test_images, y=trained.test_labels)
    count = len(trained.test_images)
    flow.export(
        "edgeq.train.digits:model", out / "export", weights=trained.weights_path, input_shape=(1, *trained.test_images.shape[1:]),
        input_type=None, samples=count, seed=seed, data=images, force=force, ui=ui,
    )  # fmt: skip
    verified = flow.verify(out / "export", samples=count, seed=seed, data=images, ui=ui)
    report = flow.synth(out / "export", board, out / "build", target=Target(), estimate="auto", force=force, ui=ui)
    simulated = flow.sim(out / "build", samples=None, seed=seed, engine="both", stalls=None, trace=None, ui=ui)
    return {
        "engines": verified["engines"] | simulated["engines"],
        "accuracy": verified["accuracy"]["onnxruntime"],
        "test_images": count,
        "report": report,
    }
