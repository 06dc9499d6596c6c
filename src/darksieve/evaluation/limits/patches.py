"""Workspaces and patches of pyhf's JSON: told apart, and one applied to the other."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from darksieve.errors import InputError


def is_workspace(document: Any) -> bool:
    """Whether parsed JSON looks like a HistFactory workspace."""
    return (
        isinstance(document, dict)
        and {"channels", "measurements"} <= set(document)
        and "points" not in document
    )


def is_patch(document: Any) -> bool:
    """Whether parsed JSON looks like a pyhf patch set or a bare JSON patch."""
    if isinstance(document, list):
        return bool(document) and all(isinstance(item, dict) and "op" in item for item in document)
    return isinstance(document, dict) and "patches" in document


def patched(
    workspace: Mapping[str, Any], document: Any, *, source: str = "patch"
) -> Iterator[tuple[str, Any]]:
    """Name and patched workspace for every patch of a patch set (one, without a name, for a bare JSON patch).

    The workspace itself is not changed.

    Raises:
        InputError: If a patch is malformed or does not apply to the workspace.

    References:
        JSON Patch, RFC 6902; the patch sets of pyhf, whose digests are for pyhf to verify.
    """
    import jsonpatch
    import jsonpointer

    patches = (
        [{"metadata": {"name": ""}, "patch": document}] if isinstance(document, list) else document["patches"]
    )
    for i, entry in enumerate(patches):
        try:
            name, operations = str(entry["metadata"]["name"]), entry["patch"]
        except (KeyError, TypeError):
            raise InputError(
                f"{source}: patches[{i}]: a patch needs 'patch' and 'metadata' with a 'name'"
            ) from None
        try:
            yield name, jsonpatch.apply_patch(copy.deepcopy(dict(workspace)), operations)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
            raise InputError(
                f"{source}: patch {name or i!r} does not apply to the workspace: {error}"
            ) from None
