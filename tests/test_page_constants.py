"""Numbers and names that the page's modules repeat are those of Python."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from motegpt.config.epochs import LENGTHS
from motegpt.config.fields import kinds
from motegpt.config.presets import expected_settings
from motegpt.config.sections import FOUND_FROM_DATA, SECTIONS
from motegpt.config.sections.bounds import LARGEST_ORDER
from motegpt.config.sections.model import GATED_MULTIPLE, HIDDEN_RATIO, LARGEST_CACHE, NEED_A_NORM
from motegpt.data.corpus import BUILT_IN, IN_MEMORY
from motegpt.data.formats.base import OPENINGS
from motegpt.data.tokenizers import FRAMINGS, SYMBOLS
from motegpt.engines.node_clip import SIZES, TRAINING
from motegpt.generation.filters import MIN_LOGIT
from motegpt.model.spec import DECAYED, FINAL_NORM
from motegpt.ngrams.contexts import TOKEN_BITS
from motegpt.ngrams.kneser_ney import MARGIN, MIN_DISCOUNT, UNDEFINED
from motegpt.optim import OPTIMIZERS
from motegpt.page.boot import FRAMINGS_OF_TEXT
from motegpt.training.averaging import MAX_COUNT
from motegpt.training.losses import MIN_TAIL_STEPS, TAIL_FRACTION
from motegpt.training.run_files import CONFIG, MAX_JSON_BYTES, METRICS
from motegpt.training.run_folder import CONTEXTS, KNESER_NEY, KNOWN, MODEL, SETTINGS, TOKENIZER, TRAINER
from motegpt.training.state import FORMAT, FORMATS
from motegpt.training.tensor_files import ENTRY, MAX_HEADER
from motegpt.training.validation import SAMPLE
from tests.page_node import JS, NODE, needs_node

MICROGPT, OXIDIZED = expected_settings("microgpt"), expected_settings("oxidized")
# Of no effect with learned positions, and in ONLY_OF_RUNS.
NOT_OF_OXIDIZED = {"rope_base", "ngram_orders"}
NO_N_GRAMS, READING = ("ngram_orders", "kneser_ney"), ("column", "header", "delimiter", "encoding")
NOT_IN_PAGE = (
    "repetition_penalty", "typical_p", "min_new_tokens", "max_new_tokens", "min_length", "max_length", "stop",
    "allow", "forbid", "beams",
)  # fmt: skip
REPEATED: dict[str, dict[str, Any]] = {
    "data.js": {
        "OPENINGS": list(OPENINGS),
        "FRAMINGS": {
            name: {"before": list(one.before), "after": list(one.after)}
            for name, one in FRAMINGS.items()
            if name in FRAMINGS_OF_TEXT
        },
    },
    "draw.js": {"SYMBOLS": SYMBOLS},
    "files.js": {
        "FORMAT": FORMAT, "FORMATS": list(FORMATS), "CONFIG": CONFIG, "TOKENIZER": TOKENIZER,
        "METRICS": METRICS, "TRAINER": TRAINER, "MODEL": MODEL, "CONTEXTS": CONTEXTS,
        "KNESER_NEY": KNESER_NEY, "CARRIED": [CONTEXTS, KNESER_NEY, KNOWN, SETTINGS],
        "MAX_JSON": MAX_JSON_BYTES, "MAX_COUNT": MAX_COUNT,
        "SLOT_NAMES": {name: list(one.slots) for name, one in OPTIMIZERS.items()},
        "BUILT_IN": BUILT_IN, "IN_MEMORY": IN_MEMORY,
    },
    "generation.js": {
        "MIN_LOGIT": MIN_LOGIT, "SMALLEST": sys.float_info.min,
        "NOT_IN_PAGE": {name: MICROGPT[name] for name in NOT_IN_PAGE},
    },
    "kneser_ney.js": {"UNDEFINED": list(UNDEFINED), "MIN_DISCOUNT": MIN_DISCOUNT, "MARGIN": MARGIN},
    "records.js": {"TAIL_FRACTION": TAIL_FRACTION, "MIN_TAIL_STEPS": MIN_TAIL_STEPS},
    "run_config.js": {"TOKEN_BITS": 2**TOKEN_BITS, "MOST_ORDERS": LARGEST_ORDER - 1},
    "settings.js": {
        "SECTION_NAMES": list(SECTIONS), "FOUND_FROM_DATA": sorted(FOUND_FROM_DATA, reverse=True),
        "OTHER_LENGTHS": list(LENGTHS[1:]), "LARGEST_CACHE": LARGEST_CACHE,
        "ONLY_OF_RUNS": {name: MICROGPT[name] for name in NO_N_GRAMS},
        "NEED_A_NORM": list(NEED_A_NORM),
        "PLAIN_READING": {name: MICROGPT[name] for name in READING},
        "OF_OXIDIZED": {
            name: OXIDIZED[name]
            for name in {*kinds(SECTIONS["model"]), *TRAINING} - SIZES - FOUND_FROM_DATA - NOT_OF_OXIDIZED
        },
    },
    "spec.js": {
        "DECAYED_ROLES": sorted(role.value for role in DECAYED), "HIDDEN_RATIO": HIDDEN_RATIO,
        "GATED_MULTIPLE": GATED_MULTIPLE, "FINAL_NORM": FINAL_NORM,
    },
    "tensor_file.js": {"ENTRY": ENTRY, "MAX_HEADER": MAX_HEADER},
    "validation.js": {"SAMPLED_TARGETS": SAMPLE},
}  # fmt: skip


def constants(module: str) -> dict[str, Any]:
    """The values of a module's constants that are compared; a set is a list."""
    source = (JS / module).read_text(encoding="utf-8")
    names = REPEATED[module]
    found = [
        one[0]
        for one in re.finditer(r"^(?:export )?const ([A-Z_0-9]+) =[^;]*;", source, re.MULTILINE)
        if one[1] in names
    ]
    code = "\n".join(one.removeprefix("export ") for one in found)
    shown = f"JSON.stringify({{{', '.join(names)}}}, (_, one) => one instanceof Set ? [...one] : one)"
    assert NODE is not None
    command = [NODE, "--eval", f"{code}\nconsole.log({shown})"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@needs_node
@pytest.mark.parametrize("module", REPEATED)
def test_constants_of_the_page_are_those_of_python(module: str) -> None:
    assert constants(module) == REPEATED[module]
