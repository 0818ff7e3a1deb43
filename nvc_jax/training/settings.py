"""Read, override and compare training configurations."""

import dataclasses
import importlib.util
import inspect
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import nvc_jax
from nvc_jax.codec.descriptions import find_codec
from nvc_jax.errors import ConfigError, NvcError
from nvc_jax.models.config import CodecConfig
from nvc_jax.training import config as config_module
from nvc_jax.training.config import TrainConfig

# Keys, and prefixes of keys, that change no step.
NEUTRAL = ("logging.", "evaluation.", "data.threads", "data.prefetch", "data.memory_mb", "steps_per_call")
_OF_THE_EXPORT = "significant_bits", "int8_kernels"  # neutral too, unless a stage runs with rounded parameters

_RENAMED = {("train", "both"): "all", ("first_reference", "intra"): "coded"}  # (key, value) of older runs
_UNKNOWN_ARGUMENT = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")


def packaged_configs() -> dict[str, Path]:
    """Find the configurations that come with the package, by name."""
    package = Path(nvc_jax.__file__).parent
    folders = (package / "configs", package.parent / "configs")  # of a wheel, of a checkout
    folder = next((folder for folder in folders if (folder / "smoke.py").is_file()), folders[0])
    return {path.stem: path for path in sorted(folder.glob("[!_]*.py"))}


def load_config(name: str | Path) -> TrainConfig:
    """Run a configuration file, or the packaged one of a name; `NAME:VARIANT` calls its `get_config` with the variant.

    Raises:
        ConfigError: the file does not exist, fails, or gives no configuration.
    """
    packaged, variants = packaged_configs(), []
    text, colon, variant = str(name).rpartition(":")
    if colon and not Path(name).exists():
        name, variants = text, [variant]
    path = packaged.get(str(name), Path(name))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"{path}: no such configuration; give a Python file or one of: {', '.join(packaged)}.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        get_config = getattr(module, "get_config", None)
        if variants and get_config is not None and not inspect.signature(get_config).parameters:
            raise ConfigError(f"has no variants; leave out :{variant}.")
        config = get_config(*variants) if get_config is not None else None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except TypeError as error:
        unknown = _UNKNOWN_ARGUMENT.search(str(error))
        kind = getattr(config_module, unknown[1], None) if unknown else None
        if unknown is None or kind is None:
            raise ConfigError(f"{path}: {error}.") from None
        raise ConfigError(f"{path}: {unknown[1]} has no key {unknown[2]!r}; it has {_names(kind)}.") from None
    except Exception as error:  # user code
        raise ConfigError(f"{path}: {type(error).__name__}: {error}.") from None
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"{path}: get_config() must return a TrainConfig.")
    return config


def override(config: TrainConfig, assignments: Sequence[str]) -> TrainConfig:
    """Apply `key=value` arguments, e.g. `stages.0.steps=10`; later ones win.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or range.
    """
    plain = dataclasses.asdict(config) | {"codec": config.codec}  # its networks are of types that only it knows
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise ConfigError(f"{assignment!r} is not an override; write key=value, e.g. stages.0.steps=10.")
        plain = _assigned(plain, TrainConfig, key.split("."), text, key)
    result: TrainConfig = _built(plain, TrainConfig)  # checked once, so that dependent keys can be set together
    return result


def to_json(config: TrainConfig) -> str:
    """Serialise the configuration that is saved with a run."""
    return json.dumps(dataclasses.asdict(config) | {"codec": config.codec.to_dict()}, indent=1) + "\n"


def differences(saved: str, config: TrainConfig) -> Iterator[tuple[str, Any, Any]]:
    """Iterate over (key, saved value, new value) where configurations differ, except for `NEUTRAL` keys.

    Keys that an older saved configuration lacks have their defaults, and values their new names.
    """
    tree = _completed(json.loads(saved), TrainConfig)
    old = {key: _RENAMED.get((key.rpartition(".")[2], str(value)), value) for key, value in _leaves(tree)}
    new = dict(_leaves(json.loads(to_json(config))))
    neutral = NEUTRAL if any(stage.rounded for stage in config.stages) else (*NEUTRAL, *_OF_THE_EXPORT)
    for key in [*new, *(key for key in old if key not in new)]:
        if not key.startswith(neutral) and old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)


def _completed(tree: Any, kind: Any) -> Any:
    """Fill in the defaults of the declared type where a tree from JSON has no value."""
    if kind is CodecConfig:
        return CodecConfig.from_dict(tree).to_dict()
    if dataclasses.is_dataclass(kind) and isinstance(tree, dict):
        hints = get_type_hints(kind)
        defaults = {
            field.name: dataclasses.asdict(field.default)  # type: ignore[arg-type]
            if dataclasses.is_dataclass(field.default)
            else field.default
            for field in dataclasses.fields(kind)
            if field.default is not dataclasses.MISSING
        }
        missing = json.loads(json.dumps({name: value for name, value in defaults.items() if name not in tree}))
        return missing | {name: _completed(part, hints.get(name)) for name, part in tree.items()}
    if get_origin(kind) is tuple and isinstance(tree, list) and get_args(kind)[-1] is Ellipsis:
        return [_completed(part, _element(kind, i)) for i, part in enumerate(tree)]
    return tree


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield key, value
        return
    for name, part in items:
        yield from _leaves(part, f"{key}.{name}" if key else str(name))


def _names(kind: Any) -> str:
    return ", ".join(field.name for field in dataclasses.fields(kind))


def _assigned(value: Any, kind: Any, path: list[str], text: str, key: str) -> Any:
    """Set the part of a plain tree at `path`, parsed from `text`; `kind` is the tree's declared type."""
    if not path:
        return _parse(text, kind, key)
    name, *rest = path
    if isinstance(value, CodecConfig):
        networks = dict(value.networks)
        if name not in networks:
            raise ConfigError(f"{key}: the codec {value.name} has no network {name!r}; it has {', '.join(networks)}.")
        network = type(networks[name])
        return value.replace(
            name, _built(_assigned(dataclasses.asdict(networks[name]), network, rest, text, key), network)
        )
    if dataclasses.is_dataclass(kind):
        if name not in value:
            raise ConfigError(f"{key}: {kind.__name__} has no key {name!r}; it has {_names(kind)}.")  # type: ignore[union-attr]
        return value | {name: _assigned(value[name], get_type_hints(kind)[name], rest, text, key)}
    if isinstance(value, tuple):
        if not name.isdecimal() or int(name) >= len(value):
            raise ConfigError(f"{key}: has no element {name!r}; write a number from 0 to {len(value) - 1}.")
        number = int(name)
        part = _assigned(value[number], _element(kind, number), rest, text, key)
        return (*value[:number], part, *value[number + 1 :])
    raise ConfigError(f"{key}: {key.rsplit('.', len(rest) + 1)[0]} is a single value and has no key {name!r}.")


def _built(value: Any, kind: Any) -> Any:
    """Build dataclasses from a plain tree."""
    if dataclasses.is_dataclass(kind) and not isinstance(value, CodecConfig):
        hints = get_type_hints(kind)
        return kind(**{name: _built(part, hints[name]) for name, part in value.items()})  # type: ignore[operator]
    if get_origin(kind) is tuple:
        return tuple(_built(part, _element(kind, i)) for i, part in enumerate(value))
    return value


def _element(kind: Any, number: int) -> Any:
    kinds = get_args(kind)
    return kinds[0] if kinds[-1] is Ellipsis else kinds[number]


def _parse(text: str, kind: Any, key: str) -> Any:
    """Parse text as a value of a declared type."""
    if kind is CodecConfig:
        try:
            return find_codec(text)
        except NvcError as error:
            raise ConfigError(f"{key}: {error}") from None
    if get_origin(kind) is tuple and dataclasses.is_dataclass(_element(kind, 0)):
        raise ConfigError(f"{key}: is a list of groups; set {key}.N.KEY=VALUE, e.g. {key}.0.steps=10.")
    if dataclasses.is_dataclass(kind):
        raise ConfigError(f"{key}: holds several values; set one of {_names(kind)} by {key}.NAME=VALUE.")
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
    wanted = names.get(kind, "a list like [1,2]")
    raise ConfigError(f"{key} is {value!r}; it must be {wanted}.")
