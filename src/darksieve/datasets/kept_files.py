"""Files kept in a cache: a simulated sample that one run made is there for the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darksieve.atomic import atomic_path, sha256_of_file, sha256_of_json
from darksieve.datasets.cache import FORMAT, Cache, code_identity

_PACKAGES = ("numpy", "numba", "scipy", "pythia8mc")


def simulation_key(process: str, arguments: Mapping[str, Any]) -> str:
    """Key of a simulated sample: process, settings, size, seed, versions, and the code that simulates.

    Args:
        process: Its name.
        arguments: Everything JSON-able that its columns depend on.
    """
    here = Path(__file__).parent
    folders = [here, *sorted(p for p in (here / "simulation").rglob("*") if p.is_dir()), here / "simulation"]
    return sha256_of_json(
        {
            "format": FORMAT,
            "kind": "simulation",
            "code": code_identity(folders, _PACKAGES),
            "process": process,
            "arguments": dict(arguments),
        }
    )


def fetch_files(cache: Cache, key: str, paths: Sequence[Path]) -> bool:
    """Put kept files in their places, as hard links where the file system allows, else as copies.

    Args:
        cache: Where they are kept.
        key: Of the entry.
        paths: Where each is wanted; by its suffix it is known in the entry.

    Returns:
        Whether they were there. A damaged entry is dropped.
    """
    entry = cache.open(key)
    if entry is None:
        return False
    with entry:
        digests = entry.info.facts["sha256"]
        for path in paths:
            kept = entry.folder / _name(path)
            if sha256_of_file(kept) != digests.get(kept.name):
                cache.drop(key, f"{kept.name} is not what was kept")
                return False
        for path in paths:
            with atomic_path(path) as temporary:
                _link_or_copy(entry.folder / _name(path), temporary)
                path.unlink(missing_ok=True)  # a rename onto another link of the same file would do nothing
    return True


def keep_files(cache: Cache, key: str, about: str, paths: Sequence[Path]) -> None:
    """Keep files that were made; where that fails, one warning says so and the files stay as they are."""
    making = cache.begin(key, "simulation", about)
    if making is None:
        return
    try:
        digests = {}
        for path in paths:
            kept = making.folder / _name(path)
            _link_or_copy(path, kept)
            digests[kept.name] = sha256_of_file(kept)
        if making.is_too_large:
            making.abandon()
        else:
            making.commit({"sha256": digests})
    except OSError as error:
        cache.warn(error)
        making.abandon()


def _name(path: Path) -> str:
    return f"sample{path.suffix}"


def _link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
