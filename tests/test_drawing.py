"""Pictures of spanning trees."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeq.drawing import RING, TITLE_HEIGHT, tree_svg
from edgeq.mst import direct, spanning_tree

SVG = "{http://www.w3.org/2000/svg}"


@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 1 << 32), st.booleans())
def test_a_drawing_holds_every_channel_once_on_the_ring_of_its_level(channels: int, terms: int, seed: int, tree: bool) -> None:
    weight = 2 * np.random.default_rng(seed).integers(0, 2, (channels, terms)) - 1
    drawn = spanning_tree(weight) if tree else direct(weight)
    root = ElementTree.fromstring(tree_svg(drawn, "</text><script>alert(1)</script> & more"))
    assert not list(root.iter(f"{SVG}script"))
    assert next(root.iter(f"{SVG}text")).text == "</text><script>alert(1)</script> & more"
    circles = list(root.iter(f"{SVG}circle"))
    assert len(circles) == channels and len(list(root.iter(f"{SVG}line"))) == int((drawn.parent >= 0).sum())
    half = RING * (drawn.depth + 1)
    level = np.zeros(channels)
    for c in drawn.order:
        if drawn.parent[c] >= 0:
            level[c] = level[drawn.parent[c]] + 1
    centre = np.array([half, half + TITLE_HEIGHT])
    at = np.array([[float(c.attrib["cx"]), float(c.attrib["cy"])] for c in circles])
    assert np.allclose(np.linalg.norm(at - centre, axis=1), RING * level, atol=0.2)
    assert sum("root" in (c[0].text or "") for c in circles) == (drawn.parent < 0).sum()


def test_leaves_do_not_cover_each_other() -> None:
    star = np.ones((9, 40), np.int64)
    for c in range(1, 9):
        star[c, 4 * c : 4 * c + 4] = -1
    root = ElementTree.fromstring(tree_svg(spanning_tree(star), "star"))
    places = {(c.attrib["cx"], c.attrib["cy"]) for c in root.iter(f"{SVG}circle")}
    assert len(places) == 9
