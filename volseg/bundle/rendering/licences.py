"""``LICENSE`` and ``docs/data_license.txt``: whose terms hold for the weights, and for the data they learnt from."""

from __future__ import annotations

from volseg.recipe import Recipe

_URLS = {
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "MIT": "https://opensource.org/license/mit",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC-BY-NC-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
    "CC-BY-NC-SA-4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
}
_NAMES = {
    "Apache-2.0": "the Apache License, Version 2.0",
    "MIT": "the MIT License",
    "CC0-1.0": "Creative Commons Zero 1.0 Universal",
    "CC-BY-4.0": "the Creative Commons Attribution 4.0 International License",
    "CC-BY-SA-4.0": "the Creative Commons Attribution-ShareAlike 4.0 International License",
    "CC-BY-NC-4.0": "the Creative Commons Attribution-NonCommercial 4.0 International License",
    "CC-BY-NC-SA-4.0": "the Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International License",
}


#: What SPDX calls it where nobody has said anything.
UNSTATED = "NOASSERTION"
_UNSTATED = "Nobody has said under which licence this bundle may be used: ask whoever made it."


def licence_url(identifier: str) -> str:
    """Where a licence's text is.

    >>> licence_url("CC-BY-SA-4.0")
    'https://creativecommons.org/licenses/by-sa/4.0/'
    """
    return _URLS.get(identifier, f"https://spdx.org/licenses/{identifier}.html")


def licence_name(identifier: str) -> str:
    """A licence in words."""
    return _NAMES.get(identifier, identifier)


def weights_licence(recipe: Recipe) -> str:
    """``LICENSE``: the legal notice of the bundle."""
    card = recipe.bundle
    lines = [f"SPDX-License-Identifier: {card.license or UNSTATED}", "", card.copyright, ""]
    if card.license is None:
        lines.append(_UNSTATED)
    else:
        named = licence_name(card.license)
        lines += [
            f"The weights, configurations and documents of this bundle are licensed under {named}.",
            f"The legal code is at {licence_url(card.license)}",
        ]
    if card.license and card.data_license == card.license and card.data_source:
        lines += [
            "",
            f"The weights were learnt from {card.data_source}, whose licence binds what is made of it.",
            "Name that source, and this bundle, in what you make of these weights.",
        ]
    if "-NC-" in (card.license or ""):
        lines += ["", "They may not be used for commercial purposes."]
    lines += ["", "The program that runs them, volseg, is a work of its own, under Apache-2.0.", "", _no_warranty()]
    return "\n".join(lines) + "\n"


def licence_told(recipe: Recipe) -> str:
    """The licence of the weights, in a sentence of a model card."""
    named = recipe.bundle.license
    return _UNSTATED if named is None else f"{licence_name(named)} (`{named}`, {licence_url(named)})."


def data_licence(recipe: Recipe) -> str:
    """``docs/data_license.txt``: the terms of the training data, none of which are in the bundle."""
    card = recipe.bundle
    terms = card.data_license or "not stated"
    known = card.data_license in _URLS
    lines = [
        f"Training data: {card.data_source or 'not stated'}",
        f"Licence: {terms}",
        *([licence_url(terms)] if known else []),
        "",
        "The bundle holds none of the data. Whoever trains it anew needs the data, and is bound by their licence.",
    ]
    if card.citations:
        lines += ["", "To be cited:", *(f"- {' '.join(citation.split())}" for citation in card.citations)]
    return "\n".join(lines) + "\n"


def _no_warranty() -> str:
    return "There is no warranty of any kind. For research only: this is not a medical device."
