"""motegpt export"""

from __future__ import annotations

import json

import click

from motegpt.cli.console import log, print_result
from motegpt.cli.options import RUN, checkpoint_option, json_option, run_argument
from motegpt.config.arguments import path_of
from motegpt.errors import UsageError
from motegpt.interchange.targets import DEFAULT, TARGETS


@click.command()
@run_argument
@click.option("--to", type=click.Choice(list(TARGETS)), default=DEFAULT, show_default=True, help="Format.")
@click.option("--out", type=RUN, required=True, metavar="PATH", help="What to write; never replaced.")
@checkpoint_option
@json_option
def command(run: str, to: str, out: str, checkpoint: str | None, as_json: bool) -> None:
    """Write the model in the folder RUN in the format of another program.

    hf is a folder for the library transformers: GPT2LMHeadModel or LlamaForCausalLM where the architecture is
    theirs, else with the code of the model, which is loaded with trust_remote_code=True. gguf is a file for
    llama.cpp, which has the architectures of the presets gpt2 and llama alone.

    Example: motegpt export runs/names --out names-hf
    """
    from motegpt.interchange.model import PortableModel
    from motegpt.interchange.targets import export
    from motegpt.training.run_folder import RunFolder

    model = PortableModel.of_run(RunFolder(run), checkpoint)
    first, *remarks = export(model, to, path_of("out", out, UsageError))
    print_result(json.dumps({"out": out, "to": to, "wrote": first, "remarks": remarks}) if as_json else first)
    for remark in remarks:
        log(remark)
