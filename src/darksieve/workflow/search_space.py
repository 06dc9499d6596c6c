"""Search space of a tuning: which options of a model are varied, and over which values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from darksieve.config import SpaceConfig
from darksieve.errors import InputError, nearest
from darksieve.models.estimator import Options, parse_options

# What is worth varying where the config says nothing; ranges around what works on B-factory searches.
DEFAULT_SPACES: dict[str, dict[str, dict[str, Any]]] = {
    "bdt": {
        "max_depth": {"low": 3, "high": 8},
        "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
        "min_child_weight": {"low": 1.0, "high": 100.0, "log": True},
        "row_fraction": {"low": 0.5, "high": 1.0},
        "feature_fraction": {"low": 0.3, "high": 1.0},
        "l2": {"low": 0.1, "high": 10.0, "log": True},
    },
    "photon_network": {
        "hidden": {"choices": [[24, 24], [48, 48], [64, 64], [48, 48, 48]]},
        "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True},
        "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
        "batch_size": {"choices": [2048, 4096, 8192]},
    },
}


class SearchSpace:
    """The varied options of one model, and the way from a trial's parameters to options.

    Args:
        model: Name in the registry of models.
        space: Option -> its values; empty for the model's default space.
        options: Values of the options that are not varied, and of the first trial.

    Raises:
        InputError: If an option is not known, or an end of its space is no value of it.
    """

    def __init__(self, model: str, space: Mapping[str, SpaceConfig], options: Options) -> None:
        self.model = model
        self.options = options
        given = dict(space) or {k: SpaceConfig(**v) for k, v in DEFAULT_SPACES[model].items()}
        known = {one.name for one in fields(options)}
        for name in given:
            if name not in known:
                raise InputError(f"tuning.space.{name}: {model} has no such option{nearest(name, known)}")
        self.space = given
        for name, values in given.items():
            for value in values.choices if values.choices is not None else (values.low, values.high):
                try:
                    self.with_values({name: self._encoded(name, value)})
                except InputError as error:
                    raise InputError(f"tuning.space.{name}: {error}") from None

    def _is_whole(self, name: str) -> bool:
        return isinstance(getattr(self.options, name), int)

    def _encoded(self, name: str, value: Any) -> Any:
        """As Optuna keeps it: a list is text."""
        if self.space[name].choices is not None:
            return json.dumps(value)
        return int(value) if self._is_whole(name) else float(value)

    def suggest(self, trial: Any) -> Options:
        """The options that an Optuna trial asks for."""
        found: dict[str, Any] = {}
        for name, values in self.space.items():
            if values.choices is not None:
                found[name] = trial.suggest_categorical(name, [json.dumps(c) for c in values.choices])
                continue
            assert values.low is not None
            assert values.high is not None
            if self._is_whole(name):
                found[name] = trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
            else:
                found[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        return self.with_values(found)

    def with_values(self, parameters: Mapping[str, Any]) -> Options:
        """The options with values from a trial.

        Raises:
            InputError: If a value is not allowed.
        """
        values = {
            name: json.loads(value) if self.space[name].choices is not None else value
            for name, value in parameters.items()
        }
        given = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self.options).items()}
        return parse_options(self.model, given | values)

    @property
    def start(self) -> dict[str, Any]:
        """Parameters of the first trial: the config's own options, as far as they lie in the space."""
        found = {}
        for name, values in self.space.items():
            own: Any = getattr(self.options, name)
            own = list(own) if isinstance(own, tuple) else own
            if values.choices is not None:
                inside = own in values.choices
            else:
                inside = (
                    values.low is not None and values.high is not None and values.low <= own <= values.high
                )
            if inside:
                found[name] = self._encoded(name, own)
        return found
