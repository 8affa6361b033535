"""Pages for people: one HTML file each, which loads nothing and runs no script.

Names of a model are untrusted. All text goes through jinja2's autoescape; a Content-Security-Policy in each page forbids scripts
and loads of any kind, should that ever fail. `trusted` is for SVG that edgeq draws itself.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

MINUS = "\N{MINUS SIGN}"


def render(template: str, **values: Any) -> str:
    """A template of this folder. The same values give the same bytes."""
    return _environment().get_template(template).render(values)


def trusted(svg: str) -> Markup:
    """SVG written by edgeq, whose own text is escaped, as it is."""
    return Markup(svg)


def number(value: float) -> str:
    """1,234 or 0.5: whole numbers with commas, others with what they have, at most three digits behind the point."""
    text = f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"
    return text.replace("-", MINUS)


def short(value: float) -> str:
    """3 significant digits with a unit of thousands: 3.70 M, 950 k, 128."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {unit}"
    return f"{value:.0f}" if value >= 99.95 or value == int(value) else f"{value:.3g}"


def percent(part: float, whole: float) -> str:
    """12 %, 0.4 %; a dash where there is no whole."""
    if not whole:
        return "\N{EN DASH}"
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 9.95 or share == 0 else f"{share:.1f} %"


def _environment() -> jinja2.Environment:
    folder = files(__name__)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text()),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(n=number, short=short)
    environment.globals.update(percent=percent, style=Markup(folder.joinpath("style.css").read_text()))
    return environment
