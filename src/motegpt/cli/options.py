"""Options shared by commands; flags and TOML keys derived from config/sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from motegpt.config.arguments import path_of
from motegpt.config.epochs import merge_settings
from motegpt.config.fields import Kind, checked_seed, kinds, unknown_setting
from motegpt.config.presets import PRESETS, REFERENCE_PRESET, base_settings, settings_of
from motegpt.config.sections import FOUND_FROM_DATA, REQUESTS, can_be_off, check_settable, section_of
from motegpt.config.synonyms import RENAMED, flag_of
from motegpt.config.text import shortened
from motegpt.engines import ENGINES
from motegpt.errors import DataError, SettingError, UsageError
from motegpt.views.text import setting_text

Command = TypeVar("Command", bound=Callable[..., Any])

ALIASES = {"n_layer": ("--layers",), "n": ("-n",)}
MAX_TOML_BYTES = 2**18
SOURCE = "source"  # of a settings file that a run wrote: its training data
TOP_LEVEL = {"preset", "engine", SOURCE}
HEADINGS = {None: "Options", "model": "Model", "data": "Data", "train": "Training", "sample": "Sampling"}


class OrNone(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """A value of the inner type, or `none`, which switches the setting off."""

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.inner = inner
        self.name = inner.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return NONE if value == "none" else self.inner.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        if isinstance(self.inner, click.Choice):
            return f"[{'|'.join([*self.inner.choices, 'none'])}]"
        return f"{self.name.upper()}|none"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        off = [CompletionItem("none")] if "none".startswith(incomplete) else []
        return [*self.inner.shell_complete(ctx, param, incomplete), *off]


class SeedType(click.types.IntParamType):
    """An integer in the range of seeds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return checked_seed(super().convert(value, param, ctx))


SEED = SeedType()


class RunPath(click.Path):
    """A run folder; shells complete folders only."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="dir")]


FILE = click.Path(readable=False)  # checked where it is read, so that all commands report errors alike
RUN = RunPath(readable=False)

run_argument = click.argument("run", type=RUN)
data_argument = click.argument("data", nargs=-1, type=FILE)


def preset_option(default: str, *more: str) -> Callable[[Command], Command]:
    """Decorate a command with --preset; more: names beside those of config/presets.py."""
    names = f"{more[0]}, or a known model" if more else "Known model"
    return click.option(
        "--preset", type=click.Choice([*more, *PRESETS]), help=f"{names.capitalize()}.  [{default}]"
    )


config_option = click.option(
    "--config",
    type=FILE,
    metavar="FILE.toml",
    help="Settings file, or a shipped one by name; flags take precedence.",
)
checkpoint_option = click.option(
    "--checkpoint", metavar="best|last|STEP", help="Checkpoint to load.  [best if validated, else last]"
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what already exists.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def engine_option(
    default: str, multiple: bool = False, choices: Iterable[str] = ENGINES
) -> Callable[[Command], Command]:
    """Decorate a command with --engine, as `engine`, or with `multiple` as `engines`."""
    return click.option(
        "--engine",
        "engines" if multiple else "engine",
        type=click.Choice(list(choices)),
        multiple=multiple,
        help=f"Compute engine.  [{default}]",
    )


def model_options(command: Command) -> Command:
    """Decorate a command with --engine and --checkpoint, which load a model."""
    return engine_option("the run's")(checkpoint_option(command))


class SettingFlag(click.Option):
    """The option of a setting."""


class Sectioned(click.Command):
    """A command whose help page lists each section of settings under a heading.

    preset: its values are shown as defaults.
    """

    def __init__(self, *args: Any, preset: str | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self.defaults = {} if preset is None else base_settings(preset)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS.values()}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                section = section_of(param.name or "") if isinstance(param, SettingFlag) else None
                groups[HEADINGS[section]].append((record[0], record[1] + self._default_of(param)))
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def _default_of(self, param: click.Parameter) -> str:
        default = self.defaults.get(param.name or "") if isinstance(param, SettingFlag) else None
        if default in (None, ""):
            return ""
        return f"  [{setting_text(default)}]"


NONE = object()  # the value of `none` on the command line; None means that the flag is absent


def setting_flags(sections: Iterable[str]) -> Callable[[Command], Command]:
    """Decorate a command with a flag for every setting of the given sections."""
    names = [name for section in sections for name in kinds(REQUESTS[section])]
    return named_flags(name for name in names if name not in FOUND_FROM_DATA)


def named_flags(names: Iterable[str]) -> Callable[[Command], Command]:
    """Decorate a command with a flag for each named setting."""

    def decorate(command: Command) -> Command:
        for name in reversed(list(names)):
            command = _flag(name, kinds(REQUESTS[section_of(name)])[name])(command)
        return command

    return decorate


def given_settings(flags: dict[str, Any]) -> dict[str, Any]:
    """The settings given on the command line."""
    return {name: None if value is NONE else value for name, value in flags.items() if value is not None}


def paths_given(words: Iterable[str]) -> list[Path] | None:
    """The files and folders given on the command line; None if there are none."""
    return [path_of("documents", word, DataError) for word in words] or None


def shipped_configs() -> dict[str, Path]:
    """Name to file of the settings that come with motegpt, such as names-200k."""
    import motegpt

    return {path.stem: path for path in sorted((Path(motegpt.__file__).parent / "configs").glob("*.toml"))}


def read_toml(path: str | None) -> dict[str, Any]:
    """The settings of a TOML file, flat; [model], [data], [train] and [sample] tables are optional.

    path: a file, or the name of a shipped one where there is no file of that name.
    """
    if path is None:
        return {}
    import tomllib

    try:
        file_of_name = None if Path(path).exists() else shipped_configs().get(path)
        with (file_of_name or Path(path)).open("rb") as file:
            data = file.read(MAX_TOML_BYTES + 1)
        if len(data) > MAX_TOML_BYTES:
            raise ValueError(f"more than {MAX_TOML_BYTES:,} bytes")
        values = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{path}: expected a TOML file, got {error}") from None
    except OSError as error:
        shipped = ", ".join(shipped_configs())
        raise SettingError(
            f"{path}: expected a TOML file to read, or one of {shipped}, got {error.strerror}"
        ) from None
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in REQUESTS and not isinstance(value, dict):
            raise SettingError(f"{path}: [{key}] is a table of settings, got {key} = {shortened(value)}")
        entries = value.items() if key in REQUESTS else [(key, value)]
        for written, setting in entries:
            name = RENAMED.get(written, written)
            _check_toml_name(path, key if key in REQUESTS else None, name)
            is_off = setting == "none" and name not in TOP_LEVEL and can_be_off(name)
            flat[name] = None if is_off else setting
    return flat


def settings_and_choices(
    config: str | None, flags: dict[str, Any], preset: str | None, engine: str | None
) -> tuple[dict[str, Any], str | None, str | None]:
    """The settings of a TOML file updated with the flags, the preset, and the engine."""
    file = read_toml(config)
    file_preset, file_engine, _ = (file.pop(name, None) for name in ("preset", "engine", SOURCE))
    return merge_settings(file, given_settings(flags)), preset or file_preset, engine or file_engine


def check_data_given(data: Sequence[str], config: str | None) -> None:
    """UsageError if there are no data, and the settings file is that of a run on some."""
    source = None if data else read_toml(config).get(SOURCE)
    if source is not None:
        from motegpt.data.source import shown_path

        raise UsageError(
            f"data: expected files, got none; {config} has the settings of a run on "
            f"{shown_path(str(source))}; give that or other data"
        )


def merge(preset: str | None, *layers: dict[str, Any]) -> dict[str, Any]:
    """The settings of a preset (default: REFERENCE_PRESET), updated with each layer in order."""
    return reduce(merge_settings, layers, settings_of(preset or REFERENCE_PRESET))


def _check_toml_name(path: str, table: str | None, name: str) -> None:
    """SettingError unless `name` is a setting and `table`, if any, is its section."""
    if table is None and name in TOP_LEVEL:
        return
    check_settable([name], f"{path}: ")
    known = [setting for section in REQUESTS.values() for setting in kinds(section)]
    if name not in known:
        listing = "motegpt train --help lists them"
        raise SettingError(f"{path}: {unknown_setting(name, [*known, *TOP_LEVEL, *REQUESTS], listing)}")
    if table is not None and section_of(name) != table:
        raise SettingError(f"{path}: {name} belongs in [{section_of(name)}], not in [{table}]")


def _flag(name: str, kind: Kind) -> Callable[[Command], Command]:
    """The click option of a setting; the settings check bounds themselves."""
    flag = flag_of(name)
    if kind.base is bool:
        names = [f"{flag}/{flag_of(name, on=False)}", name]
        return click.option(*names, cls=SettingFlag, default=None, help=kind.help)
    names = [flag, *ALIASES.get(name, ()), name]
    return click.option(*names, cls=SettingFlag, type=_click_type(kind), default=None, help=kind.help)


def _click_type(kind: Kind) -> click.ParamType[Any]:
    plain: click.ParamType[Any] = click.types.convert_type(str if kind.base is tuple else kind.base)
    if kind.choices and kind.base is str:
        plain = click.Choice([str(choice) for choice in kind.choices])
    return OrNone(plain) if kind.optional else plain
