"""Flags and TOML keys, derived from the settings: their names, types and help stand in config.py alone."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from motegpt.config import SECTIONS, section_of, unknown_setting
from motegpt.errors import SettingError
from motegpt.presets import PRESETS, settings_of

Command = TypeVar("Command", bound=Callable[..., Any])

ALIASES = {"n_layer": ("--layers",), "n": ("-n",)}
FOUND_FROM_DATA = {"vocab_size"}
TOP_LEVEL = {"preset", "engine"}


class OrNone(click.ParamType[Any]):
    """A value, or the word none, which switches the setting off."""

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.inner = inner
        self.name = inner.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return NONE if value == "none" else self.inner.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"{self.name.upper()}|none"


NONE = object()  # said on the command line; None there means not said


def setting_flags(sections: Iterable[str]) -> Callable[[Command], Command]:
    """Decorate a command with a flag for every setting of some sections."""

    def decorate(command: Command) -> Command:
        for section in reversed(list(sections)):
            for name, field in reversed(SECTIONS[section].model_fields.items()):
                if name not in FOUND_FROM_DATA:
                    command = _flag(name, field)(command)
        return command

    return decorate


def given_settings(flags: dict[str, Any]) -> dict[str, Any]:
    """The settings that were said on the command line."""
    return {name: None if value is NONE else value for name, value in flags.items() if value is not None}


def read_toml(path: str | None) -> dict[str, Any]:
    """The settings of a TOML file, flat; [model], [data], [train] and [sample] tables are welcome."""
    if path is None:
        return {}
    try:
        values = tomllib.loads(Path(path).read_bytes().decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingError(f"{path}: expected a TOML file, got {error}") from None
    except OSError as error:
        raise SettingError(f"{path}: expected a TOML file to read, got {error.strerror}") from None
    flat: dict[str, Any] = {}
    for key, value in values.items():
        entries = value.items() if key in SECTIONS and isinstance(value, dict) else [(key, value)]
        for name, setting in entries:
            _check_toml_name(path, key if name != key else None, name)
            flat[name] = None if setting == "none" else setting
    return flat


def merge(preset: str, *layers: dict[str, Any]) -> dict[str, Any]:
    """The preset's settings with the layers laid over it, the last on top."""
    merged = settings_of(preset)
    for layer in layers:
        merged.update(layer)
    return merged


def preset_names() -> list[str]:
    """The presets, for a choice."""
    return list(PRESETS)


def _check_toml_name(path: str, table: str | None, name: str) -> None:
    """SettingError unless `name` is a setting, and stands in its own table if it stands in one."""
    if table is None and name in TOP_LEVEL:
        return
    known = [field for section in SECTIONS.values() for field in section.model_fields]
    if name not in known or name in FOUND_FROM_DATA:
        error = unknown_setting(name, [*known, *TOP_LEVEL, *SECTIONS])
        raise SettingError(f"{path}: {error}")
    if table is not None and section_of(name) != table:
        raise SettingError(f"{path}: {name} belongs in [{section_of(name)}], not in [{table}]")


def _flag(name: str, field: FieldInfo) -> Callable[[Command], Command]:
    """The click option of one setting."""
    kebab = name.replace("_", "-")
    names = [f"--{kebab}", *ALIASES.get(name, ()), name]
    kind = _click_type(field.annotation)
    if kind is click.BOOL:
        return click.option(f"--{kebab}/--no-{kebab}", name, default=None, help=field.description)
    return click.option(*names, type=kind, default=None, help=field.description)


def _click_type(annotation: Any) -> click.ParamType[Any]:
    """int, float, str, bool, Literal and `… | None` as click sees them."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        inner = next(part for part in get_args(annotation) if part is not NoneType)
        return OrNone(_click_type(inner))
    if origin is Literal:
        choices = get_args(annotation)
        return click.INT if isinstance(choices[0], int) else click.Choice(choices)
    if hasattr(annotation, "__metadata__"):
        return _click_type(get_args(annotation)[0])
    kinds: dict[Any, click.ParamType[Any]] = {
        bool: click.BOOL,
        int: click.INT,
        float: click.FLOAT,
        str: click.STRING,
    }
    return kinds[annotation]
