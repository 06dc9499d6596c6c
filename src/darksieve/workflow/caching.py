"""The cache of a run, and what the command line says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from darksieve.config import CacheConfig
from darksieve.datasets.cache import OFF, VARIABLE, Cache, default_folder
from darksieve.errors import InputError


def open_cache(config: CacheConfig) -> Cache | None:
    """The cache that a config asks for; None where it is switched off."""
    default = default_folder()
    if not config.enabled or default is None:
        return None
    return Cache(default if config.folder is None else config.folder, config.max_gb)


def _cache(folder: Path | None) -> Cache:
    chosen = folder or default_folder()
    if chosen is None:
        raise InputError(f"the cache is switched off ({VARIABLE}={OFF}); name one with --folder")
    return Cache(chosen)


def describe_cache(folder: Path | None = None) -> Iterator[str]:
    """Lines for the user: every entry with its size, its last use, and whose it is."""
    cache = _cache(folder)
    entries = cache.entries()
    total = sum(entry.n_bytes for entry in entries)
    yield f"{cache.folder}: {len(entries)} entries, {total / 1e6:.1f} MB"
    for entry in entries:
        rows = entry.facts.get("n_rows")
        size = f"{entry.n_bytes / 1e6:9.1f} MB"
        used = entry.last_use.astimezone().strftime("%Y-%m-%d %H:%M")
        yield (
            f"{entry.key[:12]}  {entry.kind:<10} {size}  used {used}  {entry.about}"
            + (f", {rows} rows" if rows is not None else "")
        )


def clear_cache(folder: Path | None = None) -> str:
    """Remove what nobody reads; a line for the user."""
    cache = _cache(folder)
    removed, in_use = cache.clear()
    return f"{cache.folder}: {removed} entries removed" + (f", {in_use} in use stay" if in_use else "")
