"""The one exception that means "your input is wrong": exit status 2, one message, no traceback."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from the user: names the place, the value and the mend.

    Raised where the input enters, before any long work. The command line prints its message and exits with 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name closest to a misspelt one, as ``"; did you mean 'x'?"``, or an empty string."""
    names = list(known)
    lower = {k.lower(): k for k in names}
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or [
        lower[k] for k in difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    ]
    return f"; did you mean {found[0]!r}?" if found else ""
