"""`edgeq search`: the program against brute force, budgets that are kept, formats that come back, the command."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from edgeq.board import board
from edgeq.cli import cli
from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint
from edgeq.fold import Fold
from edgeq.folding import Choice
from edgeq.hardware import Cost
from edgeq.passes import hardware_passes
from edgeq.retype import Way
from edgeq.train import DenseShift, Formats, KHot, Recipe, Ternary, convert, fit, formats, quantizers
from edgeq.train.digits import split as digits
from edgeq.train.loop import seeded
from edgeq.train.search import Aim, Candidates, _Search, search, split
from edgeq.ui import Ui
from edgeq.width_program import Program

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.fc = nn.Linear(96, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)) + x)
        return self.fc(torch.flatten(x, 1))
"""
FEW = Candidates(weights=(3, 8), features=(3, 8), k=(1,))
PIXELS = FixedPoint(8, integer=1, signed=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A residual network for scikit-learn's digits, and a folder with its source, its weights and images."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "net.py").write_text(SOURCE)
    names: dict[str, Any] = {}
    exec(SOURCE, names)
    data = digits(0)
    with seeded(0):
        net: nn.Module = names["Net"]()
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    fit(net, images, labels, Recipe(8, batch=64, rate=0.02, logit_scale=1.0))
    torch.save(net.state_dict(), folder / "net.pt")
    np.savez(folder / "data.npz", x=data.test_images, y=data.test_labels)
    return net, folder
