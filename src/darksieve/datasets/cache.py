"""A folder of things that are costly to make, kept by content, bounded in size, and safe to share.

An entry is a folder ``entries/KEY`` with its files and an ``entry.json``; it is made under ``making/`` and
moved to its place in one step, so it is whole or absent whatever happens on the way. Who reads an entry
holds a shared lock (``flock``) on its ``entry.json``, who makes one a lock in its folder under ``making/``;
only what nobody holds is ever removed. Nothing here is needed for a result: where the folder cannot be
written or the disk is full, one warning is logged and the work goes on without it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from darksieve.atomic import sha256_of_json
from darksieve.errors import InputError

log = logging.getLogger("darksieve")

FORMAT = "darksieve-cache/1"
VARIABLE = "DARKSIEVE_CACHE"
OFF = "off"  # value of the variable that turns every cache off
_ABOUT = "entry.json"
_LOCK = ".lock"


class DamagedEntryError(Exception):
    """What an entry holds is not what was put there."""


def default_folder() -> Path | None:
    """Where the cache is by default: ``DARKSIEVE_CACHE``, or ``darksieve`` in the user's cache folder.

    Returns:
        The folder; None where the variable says ``off``.
    """
    given = os.environ.get(VARIABLE, "")
    if given == OFF:
        return None
    if given:
        return Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "darksieve"


@dataclass(frozen=True)
class EntryInfo:
    """What is known of one entry without reading its files.

    Attributes:
        key: Its name.
        kind: What was cached: ``events`` or ``simulation``.
        about: Whose it is, for people.
        facts: What its maker noted, for its reader.
        n_bytes: Size of its files.
        made: When it was made, UTC.
        last_use: When it was last used, UTC.
    """

    key: str
    kind: str
    about: str
    facts: Mapping[str, Any]
    n_bytes: int
    made: datetime
    last_use: datetime


class Entry:
    """An entry that is being read; it stays where it is until it is closed."""

    def __init__(self, folder: Path, lock: IO[str], info: EntryInfo) -> None:
        self.folder = folder
        self.info = info
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()


class Making:
    """An entry that is being made, in a folder of its own; whole at ``commit``, gone at ``abandon``.

    Attributes:
        folder: Where its files are written.
    """

    def __init__(self, cache: Cache, key: str, kind: str, about: str, folder: Path, lock: IO[str]) -> None:
        self.cache = cache
        self.key = key
        self.kind = kind
        self.about = about
        self.folder = folder
        self._lock = lock

    @property
    def is_too_large(self) -> bool:
        """Whether its files are already more than the whole cache may hold."""
        return _size(self.folder) > self.cache.max_bytes

    def commit(self, facts: Mapping[str, Any]) -> None:
        """Put the entry in its place, unless another process was first; either is right.

        Raises:
            OSError: If it cannot be written.
        """
        content = {
            "format": FORMAT,
            "key": self.key,
            "kind": self.kind,
            "about": self.about,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {p.name: p.stat().st_size for p in sorted(self.folder.iterdir()) if p.name != _LOCK},
            "facts": dict(facts),
        }
        text = json.dumps(content | {"sha256": sha256_of_json(content)}, indent=1, allow_nan=False)
        (self.folder / _ABOUT).write_text(text + "\n", encoding="utf-8")
        (self.folder / _LOCK).unlink()
        place = self.cache.place(self.key)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(self.folder, place)  # refused where an entry is already
        except OSError:
            if not (place / _ABOUT).is_file():
                raise
        self.abandon()
        self.cache.trim(keep=self.key)

    def abandon(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


class Cache:
    """A cache in a folder.

    Args:
        folder: Made when first something is kept.
        max_gb: Size in 1e9 bytes above which the entries that were used longest ago are removed.

    Raises:
        InputError: If the size is not positive.
    """

    def __init__(self, folder: str | Path, max_gb: float = 20.0) -> None:
        if not max_gb > 0:
            raise InputError(f"cache.max_gb is {max_gb}; it is a positive number of 1e9 bytes")
        self.folder = Path(folder).expanduser()
        self.max_bytes = int(max_gb * 1e9)
        self._warned = False

    def place(self, key: str) -> Path:
        """Folder of the entry of that key."""
        return self.folder / "entries" / key

    def warn(self, error: Exception) -> None:
        """Say once that something could not be kept."""
        if not self._warned:
            log.warning("the cache %s is not used: %s", self.folder, error)
            self._warned = True

    def open(self, key: str) -> Entry | None:
        """The entry of that key, to be closed after reading; None where there is none, or a damaged one."""
        place = self.place(key)
        try:
            lock = (place / _ABOUT).open(encoding="utf-8")
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if os.fstat(lock.fileno()).st_ino != (place / _ABOUT).stat().st_ino:
                raise FileNotFoundError  # another one by now
            info = _read(place, lock)
            with suppress(PermissionError):  # somebody else's cache, which may only be read
                os.utime(place / _ABOUT)
        except OSError:  # removed between opening and locking
            lock.close()
            return None
        except DamagedEntryError as error:
            lock.close()
            self.drop(key, str(error))
            return None
        return Entry(place, lock, info)

    def begin(self, key: str, kind: str, about: str) -> Making | None:
        """A new entry to be made; None, with a warning, where the folder cannot be written."""
        making = self.folder / "making"
        try:
            making.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=making))
            try:
                lock = (folder / _LOCK).open("w")
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        except OSError as error:
            self.warn(error)
            return None
        return Making(self, key, kind, about, folder, lock)

    def drop(self, key: str, why: str) -> None:
        """Remove a damaged entry, also where others read it: they find the damage, too."""
        log.warning("cache entry %s is damaged and is made again: %s", key[:12], why)
        self._remove(self.place(key))

    def entries(self) -> list[EntryInfo]:
        """All entries, the last used first; damaged ones are left out."""
        found = []
        for place in self._places():
            try:
                with (place / _ABOUT).open(encoding="utf-8") as file:
                    found.append(_read(place, file))
            except (OSError, DamagedEntryError):
                continue
        return sorted(found, key=lambda info: info.last_use, reverse=True)

    def trim(self, keep: str | None = None) -> list[str]:
        """Remove what was used longest ago until the size is within the bound, and what killed makers left.

        Args:
            keep: Key of an entry that stays.

        Returns:
            Keys of the removed entries. Entries that are being read stay.
        """
        self._remove_remains()
        sizes = {place: _size(place) for place in self._places()}
        total = sum(sizes.values())
        removed = []
        for place in sorted(sizes, key=_last_use):
            if total <= self.max_bytes:
                break
            if place.name != keep and self._remove_unused(place):
                total -= sizes[place]
                removed.append(place.name)
        return removed

    def clear(self) -> tuple[int, int]:
        """Remove every entry that nobody reads.

        Returns:
            How many were removed, and how many are in use and stay.
        """
        self._remove_remains()
        done = [self._remove_unused(place) for place in self._places()]
        return sum(done), len(done) - sum(done)

    def _places(self) -> list[Path]:
        try:
            return [place for place in (self.folder / "entries").iterdir() if place.is_dir()]
        except OSError:
            return []

    def _remove_unused(self, place: Path) -> bool:
        try:
            with (place / _ABOUT).open(encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._remove(place)
        except BlockingIOError:
            return False
        except OSError:
            self._remove(place)  # has no entry.json: nobody can read it
        return not place.exists()

    def _remove(self, place: Path) -> None:
        """Out of sight in one step, then gone."""
        try:
            (self.folder / "making").mkdir(parents=True, exist_ok=True)
            away = Path(tempfile.mkdtemp(dir=self.folder / "making"))
            os.rename(place, away / place.name)
        except OSError:  # another process was first, or the folder is not ours to write
            return
        shutil.rmtree(away, ignore_errors=True)

    def _remove_remains(self) -> None:
        """What processes left that were killed: nobody holds its lock."""
        try:
            folders = list((self.folder / "making").iterdir())
        except OSError:
            return
        for folder in folders:
            try:
                with (folder / _LOCK).open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                if datetime.now(UTC).timestamp() - _last_use(folder) > 3600:  # s: no step takes so long
                    shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue  # being made


def _read(place: Path, file: IO[str]) -> EntryInfo:
    try:
        content = json.loads(file.read())
        noted = content.pop("sha256")
        if content["format"] != FORMAT or noted != sha256_of_json(content):
            raise DamagedEntryError(f"its {_ABOUT} was altered")
        for name, size in content["files"].items():
            if (place / name).stat().st_size != size:
                raise DamagedEntryError(f"{name} has not {size} bytes")
        stat = os.fstat(file.fileno())
        return EntryInfo(
            key=content["key"],
            kind=content["kind"],
            about=content["about"],
            facts=content["facts"],
            n_bytes=sum(content["files"].values()),
            made=datetime.fromisoformat(content["made"]),
            last_use=datetime.fromtimestamp(stat.st_mtime, UTC),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedEntryError(f"its {_ABOUT} cannot be read: {error}") from None
    except FileNotFoundError as error:
        raise DamagedEntryError(f"{Path(str(error.filename)).name} is missing") from None


def _size(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # removed meanwhile
            continue
    return total


def _last_use(place: Path) -> float:
    for path in (place / _ABOUT, place):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


def file_identity(path: str | Path) -> list[Any]:
    """What a file is known by: its size, time of change, and a hash of its first 4 KiB and last 64 KiB.

    These hold a ROOT file's header with its UUID and its list of keys, and a Parquet file's footer. Where the
    file lies does not matter. A change in the middle of a file that keeps its size *and* its time of change
    is not seen: that much is trusted.
    """
    path = Path(path)
    stat = path.stat()
    with path.open("rb") as file:
        sha = hashlib.sha256(file.read(4096))
        file.seek(max(0, stat.st_size - 65536))
        sha.update(file.read())
    return [stat.st_size, stat.st_mtime_ns, sha.hexdigest()]


def code_identity(folders: Iterable[Path], packages: Iterable[str]) -> dict[str, str]:
    """Versions of packages, and a hash of the Python files in some folders of darksieve.

    An entry is thus never older than the code that would make it.
    """
    sha = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            sha.update(path.name.encode() + path.read_bytes())
    versions = {name: version for name in packages if (version := _version(name)) is not None}
    return versions | {"code": sha.hexdigest()}


@cache
def _version(package: str) -> str | None:
    """Version of a package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
