"""The pages of a report: templates filled, scripts and styles inlined, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from volseg.errors import printable
from volseg.evaluation.tables import figure_text

# The reader's own words of a report: who finds them in a folder knows what made it.
GENERATOR = "volseg report"


def render(template: str, script: str, **content: Any) -> str:
    """A page: a template with the style sheet and one script, which its policy allows by their very bytes.

    Args:
        template: a file of ``volseg/report/viewer``.
        script: likewise.
        content: what the template shows; text is escaped.
    """
    code = _asset(script)
    digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(generator=GENERATOR, policy=policy, style=Markup(_asset("style.css")), script=Markup(code), **content)
    )


@cache
def _asset(name: str) -> str:
    return files("volseg.report").joinpath("viewer", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("volseg.report", "viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["figure"] = figure_text
    environment.filters["finite"] = math.isfinite
    environment.filters["line"] = printable
    environment.filters["sortable"] = _sortable
    return environment


def _sortable(value: float | None) -> str:
    """A figure as scripts sort by it; empty where nothing applies."""
    return "" if value is None or math.isnan(value) else f"{value:.9g}"
