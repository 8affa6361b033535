"""Fold files as a person may edit them: random legal ones build the same integers, any other text is refused in plain words."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import parity
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_networks import draw_network, varied_network

from edgeq import fold_file
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.folding import Choice, Target
from edgeq.graph import Draw, Graph, Node
from edgeq.hardware import Cost
from edgeq.ops._sample import choice
from edgeq.passes import hardware_passes

SETTINGS = ("mst", "share", "max_lut_levels", "max_depth")
SHAPE = ("pe", "simd", "block", "beat")
VALUES = st.one_of(
    st.integers(-2, 10),
    st.integers(),
    st.booleans().map(lambda value: str(value).lower()),
    st.floats(),
    st.sampled_from(['"folded"', '"tree"', "[]", "{}", "[[1]]", "1979-05-27", "0x4", "1e400"]),
)
TABLE = st.dictionaries(st.sampled_from([*SHAPE, *SETTINGS, "speed"]), VALUES, max_size=4)


def legal(graph: Graph, node: Node) -> list[Fold]:
    types = graph.types()
    xs = [types[name] for name in node.inputs]
    return node.op.legal_folds(*xs) + (node.op.input_folds(*xs) if [node] == graph.consumers()[graph.input] else [])


def draw_folds(graph: Graph, draw: Draw) -> dict[str, Fold]:
    """Each operator in any way that a file may ask for, the settings of an unrolled layer drawn as well."""

    def settled(fold: Fold) -> Fold:
        if fold.mode != "unrolled":
            return fold
        return replace(
            fold, mst=bool(draw(0, 2)), share=bool(draw(0, 1)), max_lut_levels=draw(2, 8), max_depth=draw(0, 3) or None
        )

    return {node.name: settled(choice(draw, legal(graph, node))) for node in graph.nodes}


def alone(folds: dict[str, Fold]) -> dict[str, list[Choice]]:
    """Of each operator that form and no other, at no cost."""
    return {name: [Choice(fold, 1, Cost())] for name, fold in folds.items()}


def shape(fold: Fold) -> Fold:
    """Without the settings."""
    default = Fold()
    return replace(fold, **{key: getattr(default, key) for key in SETTINGS})


@given(seed=st.integers(0, 1 << 32))
def test_every_legal_choice_of_folds_comes_back_from_its_file(seed: int) -> None:
    draw = parity.seeded(seed)
    graph = draw_network(draw)
    folds = draw_folds(graph, draw)
    with TemporaryDirectory() as folder:
        file = Path(folder, "fold.toml")
        fold_file.write(graph, folds, alone(folds), file)
        assert fold_file.read(file, graph, Target()) == folds


@given(
    seed=st.integers(0, 50),
    tables=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["folded", "unrolled", "tree", "pixel"]), TABLE), max_size=3),
    junk=st.one_of(st.just(""), st.text(max_size=8)),
)
def test_any_other_text_is_legal_folds_or_refused(seed: int, tables: list[tuple[int, str, dict[str, object]]], junk: str) -> None:
    graph = draw_network(parity.seeded(seed))
    nodes = {node.name: node for node in graph.nodes}
    text = junk + "\n"
    for index, mode, table in tables:
        text += f'[n{index}]\nmode = "{mode}"\n' + "".join(f"{key} = {value}\n" for key, value in table.items())
    with TemporaryDirectory() as folder:
        file = Path(folder, "fold.toml")
        file.write_text(text, encoding="utf-8")
        try:
            folds = fold_file.read(file, graph, Target())
        except EdgeqError as refused:
            assert str(file) in refused.where
            return
    for name, fold in folds.items():
        assert shape(fold) in legal(graph, nodes[name])
        written = tomllib.loads(text)[name]
        assert all(getattr(fold, key) == value and type(getattr(fold, key)) is type(value) for key, value in written.items())


@pytest.mark.parametrize("seed", range(100, 100 + max(1, parity.EXAMPLES // 2)))
def test_networks_built_by_a_fold_file_give_the_same_integers(seed: int, tmp_path: Path) -> None:
    graph, x, y = varied_network(seed)
    built = hardware_passes(graph)
    file = tmp_path / "fold.toml"
    folds = draw_folds(built, parity.seeded(seed))
    fold_file.write(built, folds, alone(folds), file)
    parity.check_verilog(built, fold_file.read(file, built, Target()), x, y, tmp_path)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fold.toml"
    file.write_text("n0 = " + "[" * 10_000)
    with pytest.raises(EdgeqError, match="not TOML") as refused:
        fold_file.read(file, draw_network(parity.seeded(1)), Target())
    assert str(file) in refused.value.where
