"""motegpt export"""

from __future__ import annotations

import json

import click

from motegpt.cli.console import log, print_result
from motegpt.cli.options import RUN, checkpoint_option, json_option, run_argument
from motegpt.config.arguments import path_of
from motegpt.errors import UsageError
from motegpt.interchange.targets import DEFAULT, FILE, TARGETS
from motegpt.views.output import REVEALS


@click.command()
@run_argument
@click.option("--to", type=click.Choice([*TARGETS, FILE]), default=DEFAULT, show_default=True, help="Format.")
@click.option("--out", type=RUN, required=True, metavar="PATH", help="What to write; never replaced.")
@checkpoint_option
@json_option
def command(run: str, to: str, out: str, checkpoint: str | None, as_json: bool) -> None:
    """Write the model in the folder RUN in the format of another program, or in one file to send to someone.

    hf is a folder for the library transformers: GPT2LMHeadModel or LlamaForCausalLM where the architecture is
    theirs, else with the code of the model, which is loaded with trust_remote_code=True. gguf is a file for
    llama.cpp, which has the architectures of the presets gpt2 and llama alone.

    file is a run as one file *.motegpt, a zip of the folder without the state of the training: every command
    reads it as a run, but it cannot be resumed.

    Example: motegpt export runs/names --out names-hf

    Example: motegpt export runs/names --to file --out names.motegpt
    """
    from motegpt.interchange.model import PortableModel
    from motegpt.interchange.targets import export
    from motegpt.training.run_archive import archive_run
    from motegpt.training.run_folder import RunFolder

    path = path_of("out", out, UsageError)
    if to == FILE:
        archive_run(RunFolder(run), path, checkpoint)
        first, *remarks = [f"written to {path}: {path.stat().st_size / 1000:,.0f} kB", REVEALS]
    else:
        first, *remarks = export(PortableModel.of_run(RunFolder(run), checkpoint), to, path)
    print_result(json.dumps({"out": out, "to": to, "wrote": first, "remarks": remarks}) if as_json else first)
    for remark in remarks:
        log(remark)
