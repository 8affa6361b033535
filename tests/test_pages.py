"""BUILD/report.html: opened in Chromium, it shows what report.json and the runs say, and a model's names are text only."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import DESKTOP, PHONE, chromium, opened
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from edgeq import flow, records
from edgeq.board import board
from edgeq.bottleneck import bottleneck
from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.folding import Target, choose, ladders
from edgeq.graph import Graph, IntType, Node
from edgeq.lower import onnx as lower_onnx
from edgeq.ops.add import Add
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.threshold import Threshold
from edgeq.pages import percent, short
from edgeq.pages.network import Row, layout
from edgeq.ui import Ui

HOSTILE = (
    '<script>alert("x")</script>', '"><img src=x onerror=alert(1)>', "</title></style><script>alert(2)</script>",
    "{{ 7 * 7 }}{% raw %}", "' onmouseover='alert(3)", "]]><svg onload=alert(4)>", "javascript:alert(5)//", "&lt;b&gt;",
)  # fmt: skip
SHOWN = ("cycles", "lut", "ff", "bram36", "dsp")


def network() -> Graph:
    """A fork, a residual join and a binary layer that is unrolled; every name is an attack."""
    rng = np.random.default_rng(7)
    names = iter(HOSTILE * 9)
    graph = Graph(f"x{HOSTILE[0]}", IntType((2, 6, 6), -8, 7))

    def add(op: Any, *xs: str) -> str:
        name = f"{len(graph.nodes)}{next(names)}"
        graph.nodes.append(Node(name, op, xs, f"{name}.y"))
        return f"{name}.y"

    def conv(x: str, channels: int) -> str:
        y = add(Conv2d(rng.integers(-7, 8, (4, channels, 3, 3)), pads=(1, 1, 1, 1)), x)
        return add(Threshold(np.sort(rng.integers(-60, 60, (4, 3)), axis=1), np.zeros(4, np.int64), 0, 1), y)

    h = conv(graph.input, 2)
    h = add(Add(np.array([1]), np.array([1])), conv(conv(h, 4), 4), h)
    h = add(Threshold(rng.integers(1, 6, (4, 1)), np.zeros(4, np.int64), -1, 2), h)
    h = add(BinaryConv2d(rng.choice([-1, 1], (8, 4, 3, 3))), h)
    graph.output = add(Rearrange((8, 4, 4), (0, 1, 2), (128,)), h)
    graph.meta = {"nodes": {node.name: f"Conv '{next(names)}'" for node in graph.nodes}}
    graph.check()
    return graph


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `edgeq export` leaves it."""
    folder, graph = tmp_path_factory.mktemp("pages") / "export", network()
    folder.mkdir()
    lower_onnx.save(graph, folder / flow.INTEGER_FILE)
    codes = graph.input_type.random(np.random.default_rng(1), 12)
    outputs = ReferenceEngine(graph).run(codes)
    np.savez(folder / flow.VECTORS_FILE, codes=codes, floats=codes.astype(np.float32), outputs=outputs)
    record = {
        "source": HOSTILE[2], "command": f"edgeq export '{HOSTILE[1]}' -o EXPORT", "versions": {"onnx": HOSTILE[5]},
        "sha256": {flow.INTEGER_FILE: flow.digest(folder / flow.INTEGER_FILE)},
    }  # fmt: skip
    flow.write_json(folder / flow.EXPORT_FILE, record)
    return folder


@pytest.fixture(scope="module")
def build(export: Path) -> Path:
    target = Target(fps=board("ultra96").clock_mhz * 1e6 / 64)
    flow.synth(export, board("ultra96"), export.parent / "build", target=target, estimate="model", force=False, ui=Ui(True))
    return export.parent / "build"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def number(text: str) -> float:
    return float(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))


@pytest.fixture(scope="module")
def fresh(build: Path) -> str:
    """The page before anything ran."""
    return (build / "report.html").read_text()


def test_before_a_run_the_page_says_what_to_run(fresh: str) -> None:
    text = unescape(fresh)
    for command in ("edgeq verify EXPORT --build BUILD", *(f"edgeq sim BUILD --engine {e}" for e in ("hls", "rtl", "board"))):
        assert f"not run yet: <code>{command}</code>" in text
    assert "Not run yet: <code>edgeq prove BUILD</code>" in text and "✓" not in text


def test_the_page_in_a_browser(fresh: str, build: Path, browser: Browser) -> None:
    simulated = flow.sim(build, samples=None, seed=0, engine="rtl", stalls=None, trace=None, ui=Ui(True))["engines"]["rtl"]
    proofs = flow.prove(build, ui=Ui(True))["layers"]
    report = json.loads((build / "report.json").read_text())
    operators = [row for row in report["operators"] if row["op"] != "Fifo"]
    page, said = opened(browser, build / "report.html")
    assert report["cycles_per_frame"] == max(row["cycles"] for row in operators)

    boxes = page.eval_on_selector_all("#network .node", "all => all.map(b => b.dataset.operator)")
    assert boxes == [row["name"] for row in operators] and len(operators) >= 6
    forks, fifos = (page.locator(f"#network .{name}").count() for name in ("dot", "fifo"))
    assert forks == fifos == 1 == len(report["operators"]) - len(operators)

    slowest = page.get_attribute("[data-bottleneck]", "data-bottleneck")
    assert slowest == max(operators, key=lambda row: row["cycles"])["name"] == report["bottleneck"]["name"]
    assert report["bottleneck"]["advice"] in page.inner_text("#bottleneck").replace("\n", " ")

    for row, shown in zip(operators, page.query_selector_all("#operators tbody tr"), strict=True):
        assert shown.get_attribute("data-operator") == row["name"]
        for name in SHOWN:
            cell = shown.query_selector(f"td.{name}")
            assert cell and number(cell.inner_text()) == row[name]
            most = max(other[name] for other in operators)
            bar = cell.query_selector(".fill")
            assert (bar is not None) == bool(row[name])
            assert bar is None or abs(float(bar.get_attribute("width") or 0) - 100 * row[name] / most) < 0.01
    for name, value in {"cycles": report["cycles_per_frame"], **report["total"]}.items():
        cell = page.query_selector(f'#operators [data-total="{name}"]')
        assert cell is None if name == "uram" else cell and number(cell.inner_text()) == value
    for name in SHOWN[1:]:
        cell = page.query_selector(f'#operators [data-shell="{name}"]')
        assert cell and number(cell.inner_text()) == report["shell"][name]
    widths_of = "all => all.map(s => [...s.querySelectorAll('.part')].map(p => +p.getAttribute('width')))"
    parts = page.eval_on_selector_all("#budget svg", widths_of)
    for name, widths in zip(SHOWN[1:], parts, strict=True):
        assert abs(sum(widths) - 1000 * report["total"][name] / report["budget"][name]) < 0.1

    row = page.inner_text('#verification tr[data-engine="rtl"]').split()
    assert row[1:5] == ["12", f"{simulated['values']:,}", "0", "0"] and row[-1] == "equal"
    assert row[5] == f"{simulated['cycles_per_frame']:,}" and row[7] == f"{simulated['latency_cycles']:,}"
    assert "not run yet" in page.inner_text('#verification tr[data-engine="hls"]')
    assert page.locator("#verification tr[data-proof]").count() == len(proofs) == 1
    assert page.locator("#trees .tree svg circle").count() == 8
    assert "edgeq sim BUILD --engine rtl" in page.inner_text("#made pre")

    text = (page.text_content("body") or "") + page.title()
    assert [name for name in HOSTILE if name not in text] == []
    assert page.locator("script, img, iframe, object, [onerror], [onload], [onmouseover]").count() == 0
    assert page.eval_on_selector_all("a", "all => all.every(a => (a.getAttribute('href') || '').startsWith('#op'))")
    assert "49" not in page.title()
    for width in (DESKTOP, PHONE):
        narrow, complaints = opened(browser, build / "report.html", width, "dark")
        assert narrow.evaluate("document.documentElement.scrollWidth") == width
        said += complaints
    assert said == []


def test_verify_reaches_the_build_of_its_own_export_only(export: Path, build: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    report = json.loads((build / "report.json").read_text())
    flow.write_json(other / "report.json", report | {"made": report["made"] | {"sha256": {"model.int.onnx": "0"}}})
    with pytest.raises(EdgeqError, match="another export"):
        flow.verify(export, samples=None, seed=0, data=None, ui=Ui(True), build=other)


def test_a_mismatch_an_open_proof_and_place_and_route_are_told(build: Path, tmp_path: Path) -> None:
    for name in ("report.json", "sim.json", "prove.json"):
        (tmp_path / name).write_bytes((build / name).read_bytes() if (build / name).exists() else b"{}")
    wrong = {"engine": "rtl", "stalls": 3, "command": "c", "mismatches": 5, "near_ties": 0, "max_tie_distance": 0.0, "values": 9,
             "frames": 3, "first_difference": {"operator": HOSTILE[0]}}  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text())
    placed = {"used": {"lut4": 1234}, "available": {"lut4": 83640}, "fmax_mhz": 51.25, "clock_mhz": 50.0, "seed": 1,
              "attempts": ["80 MHz asked, 51.25 reached"], "bitstream": "ecp5/edgeq.bit", 
              "versions": {"nextpnr": "0.11"}}  # fmt: skip
    flow.write_json(tmp_path / "report.json", report | {"place_and_route": placed, "cycles_per_frame": 12345})
    records.write(tmp_path, "sim", {"runs": [wrong]})
    layer = {"name": "n", "channels": 1, "terms": 2, "counters": 3, "adders": 4, "proved": False, "refuted": True, "reason": "R"}
    records.write(tmp_path, "prove", {"command": "c", "layers": [layer]})
    flow.build_page.write(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "✗ differs" in text and "first difference" in text and "✗ refuted</span> R" in text and "✓" not in text
    assert HOSTILE[0] not in text
    assert (
        "allows 51.25 MHz" in text and '<td class="num">1,234</td><td class="num">83,640</td><td class="num">1.5 %</td>' in text
    )
    assert "Waiting for one another, all take 12,345." in text and text.count('<span class="kind">place and route</span>') == 3


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """A network in execution order: each operator reads one to three tensors made before it, each tensor is read."""
    found, made = [Row((), "t0")], ["t0"]
    for i in range(1, draw(st.integers(2, 14))):
        reads = draw(st.lists(st.sampled_from(made[-5:]), min_size=1, max_size=3))
        found.append(Row(tuple(reads), f"t{i}"))
        made.append(f"t{i}")
    unread = [name for name in made if all(name not in row.reads for row in found)]
    return [*found, Row(tuple(unread), None)]


@given(rows())
def test_every_operator_is_drawn_once_and_every_input_is_reached(network: list[Row]) -> None:
    pieces = layout(network)
    boxes = [box for piece in pieces for box in piece.boxes]
    assert [box.row for box in boxes] == list(range(len(network)))
    assert [label.tensor for piece in pieces for label in piece.labels] == [row.makes for row in network[:-1]]
    entries = {entry for piece in pieces for entry in piece.entries}
    assert entries == {(i, port) for i, row in enumerate(network) for port in range(len(row.reads))}
    arrows = sum(len(piece.arrows) for piece in pieces)
    straight = sum(len({n for n in row.reads if n == before.makes}) for before, row in itertools.pairwise(network))
    aside = sum(n != before.makes for before, row in itertools.pairwise(network) for n in row.reads)
    assert arrows == straight + aside
    for piece in pieces:
        spans: dict[float, list[tuple[float, float]]] = {}
        for line in piece.lines:  # M.. [V..q..] H x q.. V y: the lane of a stream
            if lane := re.search(r"H([\d.]+)q-6 0 -6 6V([\d.]+)", line):
                top = float(re.findall(r"^M\S+ ([\d.]+)", line)[0])
                spans.setdefault(float(lane[1]), []).append((top, float(lane[2])))
        for used in spans.values():
            used.sort()
            assert all(first[1] < second[0] for first, second in itertools.pairwise(used)), "two streams in one lane"


def two_layers() -> Graph:
    rng = np.random.default_rng(5)
    first, second = Conv2d(rng.integers(-7, 8, (8, 4, 3, 3))), Conv2d(rng.integers(-7, 8, (8, 8, 3, 3)))
    graph = Graph("x", IntType((4, 9, 9), 0, 3), [Node("a", first, ("x",), "h"), Node("b", second, ("h",), "y")], "y")
    graph.check()
    return graph


@pytest.mark.parametrize("fps", [None, 20_000])
def test_the_advice_holds(fps: float | None) -> None:
    """What the page says one could change, done, gives the rate that it says."""
    graph, ultra96 = two_layers(), board("ultra96")
    target = Target(fps=fps, max_utilization=0.03 if fps is None else 0.7)
    known = ladders(graph, ultra96, target)
    found = bottleneck(graph, choose(graph, ultra96, target), ultra96, target, known)
    option, value = re.findall(r"--(fps|max-util) ([\d.]+\d)", found["advice"])[0]
    assert option == ("max-util" if fps is None else "fps")
    better = Target(max_utilization=float(value)) if fps is None else Target(fps=float(value))
    cycles = bottleneck(graph, choose(graph, ultra96, better), ultra96, better, ladders(graph, ultra96, better))["cycles"]
    assert cycles <= found["next"]["cycles"] < found["cycles"]
    if fps:
        assert cycles == found["next"]["cycles"]


def test_the_fastest_form_is_called_so() -> None:
    graph, ultra96 = two_layers(), board("zcu104")
    target = Target(max_utilization=1)
    found = bottleneck(graph, choose(graph, ultra96, target), ultra96, target, ladders(graph, ultra96, target))
    assert found["name"] == "a" and found["cycles"] == 81 and "as fast as it can be" in found["advice"] and "next" not in found


def test_a_record_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    records.write(tmp_path, "sim", {"a": 1})
    with pytest.raises(UnicodeEncodeError):
        records.write_text(tmp_path / "sim.json", "half\ud800")
    assert records.read(tmp_path, "sim") == {"a": 1} and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "sim.json").write_text("{")
    with pytest.raises(EdgeqError, match="not JSON"):
        records.read(tmp_path, "sim")


def test_a_command_names_no_folder() -> None:
    data = Path("/home/me/a b.npz")
    typed = records.command("synth", "E x", board="b", data=data, no_mst=True, fps=None, share=False, o="B")
    assert typed == "edgeq synth 'E x' --board b --data 'a b.npz' --no-mst -o B"


def test_numbers_for_people() -> None:
    values = {3_703_703.7: "3.70 M", 73_242: "73.2 k", 999.9: "1000", 128: "128", 0.95: "0.95", 99_960: "100 k"}
    assert {value: short(value) for value in values} == values
    shares = {(1, 1000): "0.1 %", (10, 100): "10 %", (0, 5): "0 %", (1, 0): "–", (995, 1000): "100 %"}
    assert {pair: percent(*pair) for pair in shares} == shares


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_every_text_has_the_contrast_that_wcag_asks_for() -> None:
    css = files("edgeq.pages").joinpath("style.css").read_text()
    schemes = [
        dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\n *\}", css, re.S)
    ]
    assert len(schemes) >= 2
    for colours in schemes[:2]:
        for text in ("ink", "soft", "accent", "warm", "good", "bad"):
            for ground in ("paper", "card", *(("warm-wash",) if text in ("ink", "warm", "soft") else ())):
                light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
