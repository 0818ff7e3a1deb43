"""Configurations as files and on the command line: reading, overriding, comparing."""

import dataclasses
import importlib.util
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from nvc_jax.errors import ConfigError
from nvc_jax.models.config import CONFIGS, CodecConfig
from nvc_jax.training import config as config_module
from nvc_jax.training.config import TrainConfig

_UNKNOWN_ARGUMENT = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")


def load_config(path: Path) -> TrainConfig:
    """Run a configuration file.

    Raises:
        ConfigError: there is no such file, or it gives no configuration.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"{path}: no such configuration; those of the project are in configs/.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config() if hasattr(module, "get_config") else None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except TypeError as error:
        unknown = _UNKNOWN_ARGUMENT.search(str(error))
        kind = getattr(config_module, unknown[1], None) if unknown else None
        if unknown is None or kind is None:
            raise ConfigError(f"{path}: {error}.") from None
        raise ConfigError(f"{path}: {unknown[1]} has no key {unknown[2]!r}; it has {_names(kind)}.") from None
    except Exception as error:  # it is the user's program
        raise ConfigError(f"{path}: {type(error).__name__}: {error}.") from None
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"{path}: get_config() must return a TrainConfig.")
    return config


def override(config: TrainConfig, assignments: Sequence[str]) -> TrainConfig:
    """Apply `key=value` arguments, such as `stages.0.steps=10`; later ones win.

    Raises:
        ConfigError: a key is not known, or a value is not of its type or range.
    """
    result = config
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise ConfigError(f"{assignment!r} is not an override; write key=value, such as stages.0.steps=10.")
        result = _replace(result, TrainConfig, key.split("."), text, key)
    return result


def to_json(config: TrainConfig) -> str:
    """The configuration as it is saved with a run."""
    return json.dumps(dataclasses.asdict(config), indent=1) + "\n"


def differences(saved: str, config: TrainConfig) -> Iterator[tuple[str, Any, Any]]:
    """(key, saved value, new value) where a saved configuration is another one; `logging` may differ."""
    old, new = (dict(_leaves(json.loads(text))) for text in (saved, to_json(config)))
    for key in [*new, *(key for key in old if key not in new)]:
        if not key.startswith("logging.") and old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield key, value
        return
    for name, part in items:
        yield from _leaves(part, f"{key}.{name}" if key else str(name))


def _names(kind: Any) -> str:
    return ", ".join(field.name for field in dataclasses.fields(kind))


def _replace(value: Any, kind: Any, path: list[str], text: str, key: str) -> Any:
    """`value` with the part at `path` parsed from `text`; `kind` is its declared type."""
    if not path:
        return _parse(text, kind, key)
    name, *rest = path
    if dataclasses.is_dataclass(value):
        hints = get_type_hints(type(value))
        if name not in {field.name for field in dataclasses.fields(value)}:
            raise ConfigError(f"{key}: {type(value).__name__} has no key {name!r}; it has {_names(value)}.")
        part = _replace(getattr(value, name), hints[name], rest, text, key)
        return dataclasses.replace(value, **{name: part})  # type: ignore[type-var]
    if isinstance(value, tuple):
        if not name.isdecimal() or int(name) >= len(value):
            raise ConfigError(f"{key}: there is no {name!r}; write a number from 0 to {len(value) - 1}.")
        number = int(name)
        part = _replace(value[number], _element(kind, number), rest, text, key)
        return (*value[:number], part, *value[number + 1 :])
    raise ConfigError(f"{key}: {key.rsplit('.', len(rest) + 1)[0]} is a single value and has no key {name!r}.")


def _element(kind: Any, number: int) -> Any:
    kinds = get_args(kind)
    return kinds[0] if kinds[-1] is Ellipsis else kinds[number]


def _parse(text: str, kind: Any, key: str) -> Any:
    """Text to a value of a declared type."""
    if kind is CodecConfig:
        if text not in CONFIGS:
            raise ConfigError(f"{key}: there is no codec {text!r}; there are {', '.join(CONFIGS)}.")
        return CONFIGS[text]
    if dataclasses.is_dataclass(kind):
        raise ConfigError(f"{key}: holds several values; set one of {_names(kind)}, such as {key}.NAME=VALUE.")
    if kind is str:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return _checked(value, kind, key)


def _checked(value: Any, kind: Any, key: str) -> Any:
    origin = get_origin(kind)
    if origin is Literal:
        if value in get_args(kind):
            return value
        raise ConfigError(f"{key} is {value!r}; it must be one of {', '.join(map(str, get_args(kind)))}.")
    if origin is tuple and isinstance(value, list):
        kinds = get_args(kind)
        if kinds[-1] is not Ellipsis and len(value) != len(kinds):
            raise ConfigError(f"{key} has {len(value)} values; it must have {len(kinds)}.")
        return tuple(_checked(part, _element(kind, i), f"{key}.{i}") for i, part in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    if kind in (int, float, bool, str) and type(value) is kind and (kind is not float or math.isfinite(value)):
        return value
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    wanted = names.get(kind, "a list such as [1,2]")
    raise ConfigError(f"{key} is {value!r}; it must be {wanted}.")
