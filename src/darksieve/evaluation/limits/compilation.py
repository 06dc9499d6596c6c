"""Compilation of the numerical kernels, cached on disk and never stale, and the threads that run them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

_IMPORT = re.compile(rb"^from darksieve\.evaluation\.limits\.(\w+) import", re.MULTILINE)


@cache
def _sources(module: str) -> frozenset[str]:
    """The module and what it imports of the kernels, directly or not."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = Path(__file__).with_name(f"{name}.py")
        if name not in found and path.exists():
            found.add(name)
            waiting += [match.decode() for match in _IMPORT.findall(path.read_bytes())]
    return frozenset(found)


@cache
def _digest(module: str) -> str:
    digest = hashlib.sha256()
    for name in sorted(_sources(module)):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()


class _SourceCache(FunctionCache):
    """numba's cache, whose entries also depend on the text of every kernel module that is called.

    numba itself looks only at the file of the function that is called: after an update of another module,
    machine code with the old inlined callee would still be loaded.
    """

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        self._text = _digest(Path(py_func.__code__.co_filename).stem)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), self._text)


def compiled(*, inner: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile with numba, with a cache on disk that follows the source of every kernel.

    Args:
        inner: Whether only other kernels call the function: it then has no wrapper for Python.
        options: numba's own, such as ``fastmath``. The interpreter's lock is released by default.
    """
    options = {"nogil": True, "no_cpython_wrapper": inner, "no_cfunc_wrapper": inner} | options

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        dispatcher._cache = _SourceCache(function)
        return dispatcher

    return decorate


def thread_count(threads: int | None) -> int:
    """Threads to use: those asked for, or numba's default (NUMBA_NUM_THREADS, or all cores); not more."""
    available = int(numba.config.NUMBA_NUM_THREADS)
    return available if threads is None else max(1, min(int(threads), available))


def run_in_threads(kernel: Callable[[int, int], None], n: int, threads: int | None, portion: int = 1) -> None:
    """Call ``kernel(begin, end)`` over 0 … n in portions, on several threads if there is work for them.

    Plain threads around kernels without the interpreter's lock: unlike numba's own, they survive a fork and
    may be started from several threads at once (dask's workers do both).

    Args:
        portion: Portions begin at its multiples.
    """
    n_threads = thread_count(threads)
    if n_threads == 1 or n <= portion:
        kernel(0, n)
        return
    size = max(1, n // (8 * n_threads * portion)) * portion
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(kernel, i, min(i + size, n)) for i in range(0, n, size)]:
            done.result()
