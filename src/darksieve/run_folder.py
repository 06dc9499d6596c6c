"""The folder of a run: its manifest, its log, and which stages are done with which inputs."""

from __future__ import annotations

import fcntl
import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from darksieve import __version__
from darksieve.atomic import sha256_of_file, sha256_of_json, write_json
from darksieve.errors import InputError

FORMAT = "darksieve-manifest/1"
_RECORDED = ("numpy", "scipy", "numba", "torch", "lightning", "xgboost", "scikit-learn", "uproot", "mlflow")


class StageRecord:
    """Collects what one stage writes, while it runs."""

    def __init__(self) -> None:
        self.outputs: list[Path] = []
        self.facts: dict[str, Any] = {}

    def wrote(self, *paths: str | Path) -> None:
        """Name files that this stage made; a later run redoes the stage if one is lost or altered."""
        self.outputs.extend(Path(path) for path in paths)


class RunFolder:
    """One run of one search. Open it with ``RunFolder.open``; use it as a context manager.

    A stage is done when the manifest holds its key (a hash of everything that it depends on) and all of its
    outputs are still what it wrote; everything else is done again.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], lock: IO[str]) -> None:
        self.path = path
        self.manifest = manifest
        self._lock = lock
        self._log_handler: logging.Handler | None = None

    @classmethod
    def open(cls, path: str | Path, search: str) -> RunFolder:
        """Open or begin the folder of a run.

        Raises:
            InputError: If the folder holds another search, something that is no run, or is in use.
        """
        path = Path(path)
        manifest_path = path / "manifest.json"
        if path.exists() and not path.is_dir():
            raise InputError(f"output {path}: this is a file; give the folder of a run, or a new name")
        foreign = path.is_dir() and any(entry.name not in (".lock", "log.txt") for entry in path.iterdir())
        if foreign and not manifest_path.exists():
            raise InputError(
                f"output {path} is not empty and holds no manifest.json of a run; give another folder"
            )
        if manifest_path.exists():
            _read_manifest(manifest_path, search)  # a folder of another search is left as it is
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / ".lock").open("w")
        except OSError as error:
            raise InputError(f"output {path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise InputError(
                f"output {path} is in use by another darksieve process; wait for it to end"
            ) from None
        manifest: dict[str, Any] = {"format": FORMAT, "search": search, "stages": {}}
        if manifest_path.exists():  # read under the lock: another process may have ended in between
            try:
                manifest = _read_manifest(manifest_path, search)
            except InputError:
                lock.close()
                raise
        run = cls(path, manifest, lock)
        run._log_handler = logging.FileHandler(path / "log.txt", encoding="utf-8")
        run._log_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger("darksieve").addHandler(run._log_handler)
        return run

    def close(self) -> None:
        """Release the folder."""
        if self._log_handler is not None:
            logging.getLogger("darksieve").removeHandler(self._log_handler)
            self._log_handler.close()
            self._log_handler = None
        self._lock.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def record(self, **facts: Any) -> None:
        """Keep facts of the whole run in the manifest."""
        self.manifest.update(facts)
        write_json(self.path / "manifest.json", self.manifest)

    def key_of(self, stage: str) -> str | None:
        """The key that a finished stage was done with."""
        done = self.manifest["stages"].get(stage)
        return None if done is None else str(done["key"])

    def is_done(self, stage: str, key: str) -> bool:
        """Whether a stage was finished with this key and its outputs are unchanged."""
        done = self.manifest["stages"].get(stage)
        if done is None or done["key"] != key:
            return False
        return all(
            (self.path / name).is_file() and sha256_of_file(self.path / name) == digest
            for name, digest in done["outputs"].items()
        )

    @contextmanager
    def stage(self, name: str, key: str, *, seed: int | None = None) -> Iterator[StageRecord]:
        """Run one stage: its record enters the manifest only when the block ends without an error."""
        record = StageRecord()
        started = time.perf_counter()
        begun = datetime.now(UTC).isoformat(timespec="seconds")
        self.forget(name)
        yield record
        self.manifest["stages"][name] = {
            "key": key,
            "begun": begun,
            "seconds": round(time.perf_counter() - started, 3),
            "seed": seed,
            "outputs": {str(p.relative_to(self.path)): sha256_of_file(p) for p in _files_in(record.outputs)},
            **record.facts,
        }
        self.record(versions=versions())

    def forget(self, name: str) -> None:
        """Drop the record of a stage, so that it is done again."""
        if self.manifest["stages"].pop(name, None) is not None:
            self.record()


def _read_manifest(path: Path, search: str) -> dict[str, Any]:
    """The manifest of a run of this search.

    Raises:
        InputError: If it is damaged, or of another search.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable ({error}); give another folder") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "stages" not in manifest:
        raise InputError(f"{path} is not the manifest of a run (format {FORMAT}); give another folder")
    held = manifest.get("search")
    if held != search:
        raise InputError(
            f"output {path.parent} holds the search {held!r}, not {search!r}; give another folder"
        )
    return manifest


def _files_in(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file())
        else:
            yield path


def versions() -> dict[str, str]:
    """Versions of darksieve and of what its numbers depend on."""
    return {"darksieve": __version__} | {name: metadata.version(name) for name in _RECORDED}


def stage_key(stage: str, depends_on: Any) -> str:
    """Hash of a stage's name, darksieve's version and everything the stage depends on (JSON-able)."""
    return sha256_of_json({"stage": stage, "version": __version__, "depends_on": depends_on})
