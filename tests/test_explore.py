"""`edgeq explore`: each point is what its command builds, and what is marked as dominated is."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import DESKTOP, PHONE, chromium, opened
from click.testing import CliRunner

from edgeq import flow
from edgeq.cli import cli
from edgeq.engines.reference import ReferenceEngine
from edgeq.graph import Graph, IntType, Node
from edgeq.lower import onnx as lower_onnx
from edgeq.ops.add import Add
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import Threshold

COSTS = ("lut", "ff", "bram36", "uram", "dsp")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual block, whose skip needs a FIFO, then a binary layer that is unrolled where the budget lets it."""
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("explore") / "export"
    nodes = [
        Node("a", Conv2d(rng.integers(-32, 32, (8, 8, 3, 3)), pads=(1, 1, 1, 1)), ("x",), "h"),
        Node("q", Requantize(np.array([1]), np.array([0]), 10, "floor", -128, 127), ("h",), "g"),
        Node("add", Add(np.array([1]), np.array([1])), ("g", "x"), "r"),
        Node("s", Threshold(rng.integers(-40, 40, (8, 1)), np.zeros(8, np.int64), -1, 2), ("r",), "b"),
        Node("<script>", BinaryConv2d(rng.choice([-1, 1], (16, 8, 3, 3))), ("b",), "y"),
    ]
    graph = Graph("x", IntType((8, 5, 5), -128, 127), nodes, "y")
    graph.check()
    folder.mkdir()
    lower_onnx.save(graph, folder / flow.INTEGER_FILE)
    codes = graph.input_type.random(rng, 8)
    np.savez(folder / flow.VECTORS_FILE, codes=codes, floats=codes, outputs=ReferenceEngine(graph).run(codes))
    record = {"source": "two.onnx", "command": "edgeq export two.onnx -o EXPORT", "sha256": {}, "versions": {}}
    flow.write_json(folder / flow.EXPORT_FILE, record)
    return folder


@pytest.fixture(scope="module")
def found(export: Path) -> dict[str, Any]:
    options = "--board ultra96 --board kv260 --fps 1e12 --fps 4e5 --fps 3e6 --max-util 0.04"
    arguments = [str(export), *options.split(), "--max-util", "0.7", "-o", str(export.parent / "sweep"), "--json"]
    done = CliRunner().invoke(cli, ["explore", *arguments])
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    assert result == json.loads((export.parent / "sweep" / "explore.json").read_text())
    return result


def test_each_point_is_what_its_command_builds(found: dict[str, Any], export: Path, tmp_path: Path) -> None:
    """The slowest, the fastest, and one of each other style."""
    points = [p for p in found["points"] if p["board"] == "ultra96v2"]
    assert len(points) >= 5 and {p["style"] for p in points} == {"shared", "tree", "direct"}
    chosen = {p["style"]: p for p in points} | {"first": points[0], "last": points[-1]}
    for name, point in chosen.items():
        words = shlex.split(point["command"])
        assert words[:3] == ["edgeq", "synth", "EXPORT"] and words[-1] == "BUILD"
        done = CliRunner().invoke(
            cli, ["synth", str(export), *words[3:-1], str(tmp_path / name), "--estimate", "model", "--json"]
        )
        assert done.exit_code == 0, done.output
        report = json.loads(done.stdout)
        assert report["cycles_per_frame"] == point["cycles_per_frame"]
        assert report["frames_per_second"] == point["frames_per_second"]
        assert {c: report["total"][c] for c in COSTS} == {c: point[c] for c in COSTS}
        fifos = [row for row in report["operators"] if row["op"] == "Fifo"]
        assert {row["name"]: row["fold"] for row in report["operators"] if row not in fifos} == point["folds"] and fifos


def test_dominated_points_and_no_others_are_marked(found: dict[str, Any]) -> None:
    for name in ("ultra96v2", "kv260"):
        points = [(p["frames_per_second"], -p["share"], p["dominated"]) for p in found["points"] if p["board"] == name]
        front = [p[:2] for p in points if not p[2]]
        assert len(front) == len(set(front)) >= 3
        for *point, dominated in points:
            as_good = [other for other in front if other[0] >= point[0] and other[1] >= point[1]]
            assert as_good if dominated else as_good == [tuple(point)]
    assert any(p["dominated"] for p in found["points"])


def test_what_does_not_fit_is_listed_with_its_reason(found: dict[str, Any]) -> None:
    reasons = {(row["board"], *row["asked"].items()): row for row in found["refused"]}
    assert len(reasons) == len(found["refused"]) == 2
    for name in ("ultra96v2", "kv260"):
        row = reasons[name, ("fps", 1e12)]
        assert "0 cycles a frame" in row["reason"] and row["operator"]


def test_processes_find_the_same(found: dict[str, Any], export: Path) -> None:
    arguments = ["--board", "ultra96", "--max-util", "0.7", "--workers", "2", "--json"]
    done = CliRunner().invoke(cli, ["explore", str(export), *arguments])
    assert done.exit_code == 0, done.output
    same = [
        p | {"point": 0, "dominated": 0} for p in found["points"] if p["board"] == "ultra96v2" and p["asked"] == {"max_util": 0.7}
    ]
    points = [p | {"point": 0, "dominated": 0} for p in json.loads(done.stdout)["points"]]
    assert same and all(point in points for point in same)


def test_the_page_shows_every_point(found: dict[str, Any], export: Path) -> None:
    with chromium() as browser:
        for width in (DESKTOP, PHONE):
            page, said = opened(browser, export.parent / "sweep" / "explore.html", width)
            assert page.evaluate("document.documentElement.scrollWidth") == width and said == []
            assert page.locator("script").count() == 0
            shown = page.eval_on_selector_all(".plot [data-point]", "all => all.map(m => +m.dataset.point).sort((a, b) => a - b)")
            assert shown == [p["point"] for p in found["points"]]
            assert page.locator(".plot .best").count() == sum(not p["dominated"] for p in found["points"])
            for row, point in zip(page.query_selector_all("#points tbody tr"), found["points"], strict=True):
                for name in ("lut", "ff"):
                    cell = row.query_selector(f".{name}")
                    assert cell and cell.inner_text().replace(",", "").split()[-1] == str(point[name])
                assert point["command"] in row.inner_text()
            assert page.locator("[data-refused]").count() == len(found["refused"])
            # a mark is where its numbers say: the front rises to the right
            places = page.eval_on_selector_all(
                '.plot[data-board="ultra96v2"] .best',
                "all => all.map(m => m.getAttribute('transform').match(/[\\d.]+/g).map(Number))",
            )
            places.sort()
            assert all(a[1] >= b[1] for a, b in itertools.pairwise(places)) and len(places) >= 3
