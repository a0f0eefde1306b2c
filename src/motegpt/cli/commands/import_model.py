"""motegpt import"""

from __future__ import annotations

import json

import click

from motegpt.cli.console import print_result
from motegpt.cli.options import RUN, json_option
from motegpt.config.arguments import path_of
from motegpt.errors import RunFolderError, UsageError


@click.command()
@click.argument("folder", metavar="DIR", type=RUN)
@click.option("--out", type=RUN, required=True, metavar="RUN", help="Folder to write the run to.")
@json_option
def command(folder: str, out: str, as_json: bool) -> None:
    """Make a run of the model in DIR, a folder of the library transformers.

    GPT-2 and Llama, with safetensors and a tokenizer.json, and what motegpt export writes. A part that
    motegpt's models do not have is named, and nothing is written. Nothing in the folder is executed. The run
    is like any other, without training data.

    Example: motegpt import names-hf --out runs/names-again
    """
    from motegpt.interchange.imports import import_hf
    from motegpt.model.spec import parameter_count

    model = import_hf(path_of("import", folder, RunFolderError), path_of("out", out, UsageError)).config
    facts = {
        "out": out,
        "parameters": parameter_count(model.model),
        "vocab_size": model.model.vocab_size,
        "block_size": model.model.block_size,
        "dtype": model.train.dtype,
    }
    text = f"{out}: {facts['parameters']:,} parameters, {facts['vocab_size']:,} tokens, {facts['dtype']}"
    print_result(json.dumps(facts) if as_json else text)
