"""Faults of a document in the words of its author: the place, the value, what would work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from darksieve.errors import nearest


def fault(message: str, *place: str | int) -> PydanticCustomError:
    # pydantic reads braces in a template: the message goes in as a value
    return PydanticCustomError("darksieve", "{message}", {"message": message, "place": list(place)})


def describe_faults(error: ValidationError, document: Any, source: str) -> str:
    """One line per fault of a pydantic error: source, place as a user writes it, value, what would work."""
    lines = []
    faults = error.errors(include_url=False)
    for found in faults[:5]:
        place = _place(found["loc"], document, found["type"] == "missing")
        if found["type"] == "darksieve":
            place += _join(found["ctx"]["place"], bool(place))
            lines.append(f"{source}: {place or 'document'}: {found['ctx']['message']}")
            continue
        value = found.get("input")
        shown = f", not {value!r}" if isinstance(value, str | int | float | bool | None) else ""
        message = found["msg"]
        context = found.get("ctx", {})
        if found["type"] == "missing":
            message, shown = "missing; it must be given", ""
        elif found["type"] in ("union_tag_invalid", "literal_error"):
            tag = str(context.get("tag", value))
            expected = str(context.get("expected_tags", context.get("expected", "")))
            names = [name.strip(" '\"") for name in expected.replace(" or ", ", ").split(",")]
            names = [name for name in names if name not in ("counting", "unbinned")]
            message, shown = f"{tag!r} is none of {', '.join(names)}{nearest(tag, names)}", ""
        elif found["type"] == "union_tag_not_found":
            key = "'family'" if context.get("discriminator") == "'family'" else "'shape'"
            message, shown = f"missing key {key}", ""
        lines.append(f"{source}: {place or 'document'}: {message}{shown}")
    if len(faults) > 5:
        lines.append(f"{source}: … and {len(faults) - 5} more")
    return "\n".join(lines)


def _place(location: tuple[int | str, ...], document: Any, missing: bool) -> str:
    """The place without the tags that pydantic puts in for unions; a missing key is not in the document."""
    keys: list[str | int] = []
    here = document
    for i, key in enumerate(location):
        in_list = isinstance(here, list | tuple) and isinstance(key, int) and key < len(here)
        if in_list or (isinstance(here, dict) and key in here):
            here = here[key]
            keys.append(key)
        elif missing and i == len(location) - 1:
            keys.append(key)
    return _join(keys)


def _join(keys: Sequence[str | int], after: bool = False) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else ("." if text or after else "") + str(key)
    return text
