"""Links lead somewhere: within the project to what is there, to elsewhere by an address that can be one. Offline."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
# pages that the build of the docs makes
GENERATED = ("docs/reference/_generated/", "docs/_static/recipe.schema.json")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "bundles/**/*.md", "changelog.d/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).as_posix().startswith(("docs/_build", *GENERATED))
)
CODE = re.compile(r"^(```|~~~|:::).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:href|src)=\"([^\"]+)\"|<(https?://[^>\s]+)>")


def links(page: Path) -> list[str]:
    """What a page links to, code left out."""
    text = CODE.sub("", page.read_text())
    return [next(filter(None, groups)) for groups in LINK.findall(text)]


def anchors(page: Path) -> set[str]:
    """The places within a page, as GitHub and MyST name them: its headings' words with dashes, and its own labels."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


def test_there_are_links_to_follow() -> None:
    """Else the tests below would hold nothing."""
    assert sum(len(links(page)) for page in PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """A file or a heading of the project that is there; or a secure address with a host, of which nothing is asked."""
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            assert parts.scheme in ("https", "mailto"), link
            assert parts.scheme == "mailto" or re.fullmatch(r"([\w-]+\.)+[a-z]{2,}", parts.netloc), link
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if target.relative_to(ROOT).as_posix().startswith(GENERATED):
            continue
        if not target.exists() and not target.suffix:
            target = target.with_suffix(".md")  # as MyST finds pages
        assert target.exists(), f"{link} leads to {target}, which is not there"
        if parts.fragment and target.suffix == ".md":
            assert parts.fragment in anchors(target), f"{link}: {target.name} has no heading {parts.fragment}"
