"""Branch names: basf2's own, as ``KSFWVariables(hso00)``, and what ROOT files make of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from darksieve.errors import InputError, nearest

# basf2, framework/utilities/src/MakeROOTCompatible.cc
_ESCAPES = {
    " ": "__sp",
    ",": "__cm",
    ":": "__cl",
    "=": "__eq",
    "<": "__st",
    ">": "__gt",
    ".": "__pt",
    "+": "__pl",
    "-": "__mi",
    "(": "__bo",
    ")": "__bc",
    "[": "__so",
    "]": "__sc",
    "{": "__co",
    "}": "__cc",
    "*": "__mu",
    "/": "__sl",
    "^": "__ha",
    "|": "__pi",
    "&": "__am",
    "!": "__em",
    "~": "__ti",
}
_CHARACTERS = {escape: character for character, escape in _ESCAPES.items()}
_ESCAPED = re.compile("|".join(_CHARACTERS))


@lru_cache(maxsize=10_000)  # the files of a sample have the same names
def root_name(name: str) -> str:
    """The ROOT-compatible form of a basf2 name; a name that is ROOT-compatible stays as it is."""
    escaped = "".join(_ESCAPES.get(character, character) for character in name)
    return re.sub(r"[^A-Za-z0-9_]", "", escaped)  # basf2 drops what it has no escape for


def basf2_name(name: str) -> str:
    """The basf2 form of a ROOT-compatible name: a guess where the original held a double underscore."""
    return _ESCAPED.sub(lambda found: _CHARACTERS[found.group()], name)


def _loose(name: str) -> str:
    """One form for all ways to write a name: ``daughter(0, p)`` and ``daughter(0,p)`` are the same."""
    return root_name(name).replace("__sp", "")


class BranchNames:
    """The names that a file or a table has, found by their basf2 or their ROOT form.

    Args:
        names: As the file has them.
        place: Where they are, for messages: ``run2.root:ntuple``.
    """

    def __init__(self, names: Iterable[str], place: str) -> None:
        self.names = tuple(names)
        self.place = place
        self._exact = set(self.names)
        self._by_root = {root_name(name): name for name in reversed(self.names)}
        self._by_loose = {_loose(name): name for name in reversed(self.names)}

    def find(self, wanted: str) -> str | None:
        """The file's own name for a wanted one, None if it has none."""
        if wanted in self._exact:
            return wanted
        return self._by_root.get(root_name(wanted)) or self._by_loose.get(_loose(wanted))

    def __contains__(self, wanted: object) -> bool:
        return isinstance(wanted, str) and self.find(wanted) is not None

    def with_more(self, names: Iterable[str]) -> BranchNames:
        """These names and others."""
        return BranchNames([*self.names, *names], self.place)

    def missing(self, wanted: str, needed_by: str = "") -> InputError:
        """The error for a name that is not there, with the nearest one that is."""
        why = f", which {needed_by} needs" if needed_by else ""
        hint = nearest(basf2_name(wanted), [basf2_name(name) for name in self.names])
        return InputError(f"{self.place} has no branch {wanted!r}{why}{hint}")

    def get(self, wanted: str, needed_by: str = "") -> str:
        """The file's own name for a wanted one.

        Raises:
            InputError: If there is none; offers the nearest.
        """
        found = self.find(wanted)
        if found is None:
            raise self.missing(wanted, needed_by)
        return found
