"""Compilation of the numerical kernels, cached on disk and never stale."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_bytes()
        if b"compiled(" in text:
            digest.update(text)
    return digest.hexdigest()


_DIGEST = _digest_of_sources()


class _SourceCache(FunctionCache):
    """numba's cache, whose entries also depend on the text of every kernel module.

    numba itself looks only at the file of the function that is called: after an update of another module,
    machine code with the old inlined callee would still be loaded.
    """

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), _DIGEST)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile with numba, with a cache on disk that follows the source of every kernel.

    Args:
        options: numba's own, such as ``parallel`` or ``fastmath``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        dispatcher._cache = _SourceCache(function)
        return dispatcher

    return decorate
