"""Reading a config: a path or a preset, ``--set`` overrides, errors that name place, value and mend."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from darksieve.config import SearchConfig
from darksieve.errors import InputError, nearest


def preset_names() -> list[str]:
    """Names of the packaged presets."""
    folder = resources.files("darksieve.configs")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def _read_text(source: str | Path) -> tuple[str, str, Path]:
    """Text, a name for messages and the folder that relative file names start from."""
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or path.is_file():  # a folder may be named as a preset is
        if not path.is_file():
            raise InputError(f"config {path}: no such file; presets are {', '.join(preset_names())}")
        try:
            return path.read_text(encoding="utf-8"), str(path), path.resolve().parent
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"config {path} cannot be read as text: {error}") from None
    if str(source) not in preset_names():
        raise InputError(
            f"config {str(source)!r} is neither a file nor a preset{nearest(str(source), preset_names())}"
            f" (presets: {', '.join(preset_names())})"
        )
    text = (resources.files("darksieve.configs") / f"{source}.yaml").read_text(encoding="utf-8")
    return text, f"preset {source}", Path.cwd()


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice: the first value would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict | set):
                line = key_node.start_mark.line + 1
                raise InputError(f"config error: line {line} has a list or mapping as key; use one word")
            if key in seen:
                raise InputError(
                    f"config error: key {key!r} is given twice (line {key_node.start_mark.line + 1})"
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def apply_overrides(tree: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The config tree with ``a.b=c`` applied; ``c`` is read as YAML, list positions are numbers.

    Raises:
        InputError: If an override is not of that form or goes through something that is not a section.
    """
    out: dict[str, Any] = copy.deepcopy(dict(tree))
    for override in overrides:
        path, sep, text = override.partition("=")
        keys = path.strip().split(".")
        if not sep or not all(keys):
            raise InputError(f"--set {override!r}: write it as key.key=value, for example scan.step_sigma=1")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {override!r}: the value is not valid YAML ({error})") from None
        node: Any = out
        for depth, key in enumerate(keys):
            last = depth == len(keys) - 1
            if isinstance(node, list):
                if not key.isdigit() or int(key) >= len(node):
                    raise InputError(
                        f"--set {override!r}: {'.'.join(keys[:depth])} has positions 0 to {len(node) - 1}"
                    )
                if last:
                    node[int(key)] = value
                else:
                    node = node[int(key)]
            elif isinstance(node, dict):
                if last:
                    node[key] = value
                else:
                    if node.get(key) is None:
                        node[key] = {}
                    node = node[key]
            else:
                raise InputError(f"--set {override!r}: {'.'.join(keys[:depth])} is a value, not a section")
    return out


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    """Config sections that a type annotation may hold, whatever it is wrapped in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, list, dict, tuple, typing.Annotated):
        for inner in typing.get_args(annotation):
            yield from _models_in(inner)


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys that the section at ``location`` (without its last element) knows."""
    current: list[type[BaseModel]] = [model]
    for step in location[:-1]:
        following = [
            m for c in current if step in c.model_fields for m in _models_in(c.model_fields[step].annotation)
        ]
        current = following or current  # a name in a dict or a position in a list keeps the section
    return sorted({key for c in current for key in c.model_fields})


def _describe(model: type[BaseModel], error: Any) -> str:
    location = error["loc"]
    place = ".".join(
        str(step) for step in location if not str(step).startswith(("tuple[", "function-", "list["))
    )
    if error["type"] == "extra_forbidden":
        return (
            f"config error at {place}: unknown key{nearest(str(location[-1]), _known_keys(model, location))}"
        )
    if error["type"] == "missing":
        return f"config error at {place}: this key is required"
    message = error["msg"].removeprefix("Value error, ")
    value = error.get("input")
    shown = "" if isinstance(value, dict | BaseModel) or value is None else f" (value: {value!r})"
    return f"config error at {place or 'the top level'}: {message}{shown}"


def validate(tree: Any, origin: str = "config") -> SearchConfig:
    """The typed config of a tree read from YAML.

    Raises:
        InputError: One line for each thing that is wrong, with its place, its value and what would work.
    """
    if not isinstance(tree, Mapping):
        raise InputError(f"{origin}: the top level must be a mapping of keys, not {type(tree).__name__}")
    try:
        return SearchConfig.model_validate(tree)
    except ValidationError as errors:
        raise InputError("\n".join(_describe(SearchConfig, error) for error in errors.errors())) from None


def load_config(source: str | Path, overrides: Iterable[str] = (), seed: int | None = None) -> SearchConfig:
    """Config from a path or a preset's name, with overrides; file patterns become absolute.

    Raises:
        InputError: If there is no such config, it is not YAML, or a key or value is wrong.
    """
    text, origin, folder = _read_text(source)
    try:
        tree = _UniqueKeyLoader(text).get_single_data()
    except yaml.YAMLError as error:
        raise InputError(f"{origin} is not valid YAML: {error}") from None
    if not isinstance(tree, Mapping):
        raise InputError(f"{origin}: the top level must be a mapping of keys, not {type(tree).__name__}")
    tree = apply_overrides(tree, overrides)
    if seed is not None:
        tree["seed"] = seed
    config = validate(tree, origin)
    samples = {}
    for name, sample in config.samples.items():
        if sample.files is None:
            samples[name] = sample
            continue
        anchored = [str(folder / pattern) for pattern in sample.files]  # an absolute pattern stays itself
        samples[name] = sample.model_copy(update={"files": anchored})
    corrections = {
        name: correction.model_copy(update={"file": str(folder / correction.file)})
        for name, correction in config.corrections.items()
    }
    return config.model_copy(update={"samples": samples, "corrections": corrections})


def to_yaml(config: SearchConfig) -> str:
    """The resolved config as YAML, which ``load_config`` reads back to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def json_schema() -> dict[str, Any]:
    """JSON schema of the config, as packaged in ``configs/search.schema.json``."""
    return SearchConfig.model_json_schema()
