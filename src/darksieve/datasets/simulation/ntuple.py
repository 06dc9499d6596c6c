"""The ntuple: branches that identify candidates as basf2 does, and the ROOT file that holds them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray]

EXPERIMENT = 1003  # basf2 numbers run-independent simulation so
_ROWS_PER_BASKET = 100_000


def key_columns(event: NDArray[np.uint32], *, run: int, production: int) -> Columns:
    """The branches that identify events, and basf2's sampling weight."""
    n = len(event)
    return {
        "__experiment__": np.full(n, EXPERIMENT, dtype=np.int32),
        "__run__": np.full(n, run, dtype=np.int32),
        "__event__": event.astype(np.uint32),
        "__production__": np.full(n, production, dtype=np.int32),
        "__candidate__": np.zeros(n, dtype=np.int32),
        "__ncandidates__": np.ones(n, dtype=np.int32),
        "__weight__": np.ones(n, dtype=np.float32),
    }


def rounded(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Values with their mantissa rounded to so many bits: they compress better."""
    drop = 23 - bits
    integers = values.view(np.uint32) + np.uint32(1 << (drop - 1))
    return (integers & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view(np.float32)


class NtupleWriter:
    """Writes a TTree in bounded memory, and hashes what it writes.

    The file appears under its name only when the writer closes without an exception.
    """

    def __init__(self, path: Path, tree: str) -> None:
        self.path = path
        self.n_rows = 0
        self._tree_name = tree
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._pending: list[Columns] = []
        self._n_pending = 0
        self._dtypes: dict[str, np.dtype] = {}
        self._hashes: dict[str, hashlib._Hash] = {}

    def __enter__(self) -> NtupleWriter:
        import uproot

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = uproot.recreate(self._temporary, compression=uproot.ZSTD(1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._file.close()
            if kind is not None:
                self._temporary.unlink(missing_ok=True)
        if kind is None:
            os.replace(self._temporary, self.path)

    def write(self, columns: Mapping[str, NDArray]) -> None:
        """Appends rows; the first call fixes the branches."""
        if not self._dtypes:
            self._dtypes = {name: values.dtype for name, values in columns.items()}
            self._hashes = {
                name: hashlib.sha256(f"{name}:{kind.str}".encode()) for name, kind in self._dtypes.items()
            }
            # mktree on purpose: assigning a dict writes an RNTuple since uproot 5.7, which older readers lack
            self._tree = self._file.mktree(self._tree_name, self._dtypes)
        if {name: values.dtype for name, values in columns.items()} != self._dtypes:
            raise ValueError("branches differ from those of the first rows")
        n = len(next(iter(columns.values())))
        if n == 0:
            return
        for name, values in columns.items():
            self._hashes[name].update(np.ascontiguousarray(values).tobytes())
        self._pending.append(dict(columns))
        self._n_pending += n
        self.n_rows += n
        if self._n_pending >= _ROWS_PER_BASKET:
            self._flush()

    def _flush(self) -> None:
        if self._n_pending:
            self._tree.extend(
                {name: np.concatenate([c[name] for c in self._pending]) for name in self._dtypes}
            )
        self._pending, self._n_pending = [], 0

    @property
    def columns(self) -> list[str]:
        return list(self._dtypes)

    @property
    def sha256(self) -> str:
        """SHA-256 over all columns in the order of their names, whatever the size of the pieces."""
        whole = hashlib.sha256()
        for name in sorted(self._hashes):
            whole.update(self._hashes[name].digest())
        return whole.hexdigest()
