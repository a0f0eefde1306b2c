"""preset="auto": complete settings from the data, the settings that are given, and a budget.

`choose` is a pure function. Its rules run in the order of RULES; each sees what is settled so far and adds
settings, but never replaces a given one, so that the rest is chosen around it. docs/quality.md has the
measurements behind the numbers. Budgets are operations (engines/budget.py), so the same data, settings,
engine and level give the same choice on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motegpt.config.epochs import epochs_of, epochs_to_steps, merge_settings
from motegpt.config.fields import kinds
from motegpt.config.presets import CONSTANTS
from motegpt.config.sections import LengthRequest, ModelConfig, TrainConfig, section_values
from motegpt.engines.budget import operations_per_step
from motegpt.errors import SettingError
from motegpt.ngrams.average import EVEN, FEW_TARGETS, MIN_FITTED, MOSTLY
from motegpt.training.facts import SOME, Facts, Tuning

if TYPE_CHECKING:
    from fractions import Fraction

    from motegpt.training.state import Check

SECONDS = 10.0  # the default budget
BATCH, ORDERS = 32, 5
EPOCHS, LARGE_EPOCHS, MIN_STEPS = 10, 4, 150
FEW_STEPS, FEW_LR = 75, 0.004
LR_TIMES_WIDTH, MAX_LR, SMALL_BATCH_LR = 0.512, 0.02, 0.75
SGD_LR, FEW_SGD_LR = 3.0, 0.3  # without momentum, which makes a step 1 / (1 - momentum) times as large
NARROW, WIDE = {"n_layer": 1, "n_embd": 32}, {"n_layer": 2, "n_embd": 64}
MIN_SHARE = 0.6  # of its epochs that a wide model needs to be better than a narrow one
LONGEST_BLOCK, STREAM_BLOCK = 512, 64
FEW, SMALL_LIST, THOUSAND = 50, 400, 1000  # documents
SHORT_STREAM, SMALL_TEXT, LARGE_TEXT = 2000, 10_000, 150_000  # tokens
HELD_OUT, MOST_HELD_OUT = 1 / 8, 2000  # fraction, and documents
MOST_TOKENS_OF_PAIRS = 1_000_000  # of a larger text, contexts seen twice get no row
PROSE_WORDS = 8  # mean words per document from which they look like running text
RELATED, UNRELATED = Tuning(5, 1 / 6, 0.15), Tuning(10, 1 / 4, EVEN)  # data that the model knows, or not
MORE = 0.3  # least weight from SMALL_LIST documents on
Values = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """settings: complete, but for those found from the data; seconds: the budget, None where the length of
    the training is given; reasons: lines to print; fits_weight: whether the check gives the weight of the
    n-grams.
    """

    settings: Values
    check: Check
    seconds: float | None
    reasons: list[str]
    fits_weight: bool = True


def trainings(check: Check | None) -> float:
    """The trainings of a run with its check, as a multiple of its own."""
    return 2 - HELD_OUT if check == "second model" else 1


def choose(facts: Facts, given: Mapping[str, Any], speed: float) -> Choice:
    """Complete settings. speed: operations per second; SettingError if no step fits the budget."""
    seconds = kinds(LengthRequest)["seconds"].check("seconds", given.get("seconds")) or SECONDS
    case = _Case(facts, {k: v for k, v in given.items() if k not in ("seconds", "epochs")}, seconds, speed)
    settings = merge_settings(CONSTANTS, case.given)
    for rule in RULES:
        settings = {**settings, **rule(case, {**settings, "epochs": epochs_of(given)}), **case.given}
    check = _check(case, settings)
    settings = {**settings, **_averaging(case, settings, check), **case.given}
    is_given = "steps" in case.given or epochs_of(given) is not None
    budget = None if is_given else seconds
    fits_weight = "kneser_ney_weight" not in given and case.fits_weight(settings)
    return Choice(settings, check, budget, _reasons(case, settings, check, budget), fits_weight)


@dataclass(frozen=True)
class _Case:
    """What the rules see beside the settings. seconds: the budget; speed: operations per second."""

    facts: Facts
    given: Values
    seconds: float
    speed: float

    @property
    def operations(self) -> float:
        """The budget as operations."""
        return self.seconds * self.speed

    @property
    def is_few(self) -> bool:
        """Whether there is too little to learn an n-gram embedding from."""
        return self.facts.tokens < FEW_TARGETS or (self.facts.documents < FEW and not self.facts.is_stream)

    @property
    def is_measured(self) -> bool:
        """Whether there is enough to hold a part out: duplicates stay together, so different ones count."""
        if self.facts.is_stream:
            return self.facts.tokens >= SHORT_STREAM
        return min(self.facts.documents, self.facts.distinct) >= SOME

    def fits_weight(self, settings: Values) -> bool:
        """Whether enough is held out to fit the weight of the n-grams; with a new model, EVEN will do."""
        held_out = self.facts.tokens * (settings.get("val_fraction") or HELD_OUT)
        return self.facts.tuning is None or held_out >= MIN_FITTED

    def trainings(self, settings: Values) -> float:
        """How many trainings the budget must have room for: a list that misses an eighth wants a second."""
        is_free = not settings.get("val_fraction") and "steps" not in self.given
        is_free = is_free and not self.facts.is_ids
        both = self.is_measured and self.is_short and is_free and settings.get("epochs") is None
        return trainings("second model" if both else None)

    @property
    def is_short(self) -> bool:
        """Whether an eighth of the data would be missed."""
        if self.facts.is_stream:
            return self.facts.tokens < SMALL_TEXT
        return self.facts.documents < MOST_HELD_OUT / HELD_OUT

    @property
    def is_large(self) -> bool:
        """Whether there is so much data that less of it is repeated, and regularized."""
        return self.facts.tokens > LARGE_TEXT

    def step(self, settings: Values) -> float:
        """Operations of a step."""
        orders = (settings["ngram_orders"] or 1) - 1
        values = {**section_values(settings, "model"), "vocab_size": self.facts.vocab_size, "ngram_rows": ()}
        positions = self._positions(settings["block_size"])
        return operations_per_step(ModelConfig.of(values), settings["batch_size"], positions, orders)

    def epoch(self, settings: Values) -> Fraction:
        """Steps per pass over the data."""
        from fractions import Fraction

        facts, batch = self.facts, settings["batch_size"]
        if facts.is_stream:
            return Fraction(facts.tokens, batch * settings["block_size"])
        kept = 1 - Fraction(str(settings.get("val_fraction", 0.0)))
        return Fraction(facts.documents, batch) * kept

    def _positions(self, block_size: int) -> float:
        """Mean tokens per sequence."""
        facts = self.facts
        return block_size if facts.is_stream else min(block_size, facts.tokens / facts.documents)


def _block(case: _Case, settings: Values) -> Values:
    """The longest document fits, up to LONGEST_BLOCK."""
    longest = min(STREAM_BLOCK, case.facts.tokens) if case.facts.is_stream else case.facts.longest
    return {"block_size": max(2, min(longest, LONGEST_BLOCK))}


def _n_grams(case: _Case, settings: Values) -> Values:
    """Contexts of 2 to 5 tokens seen twice; more often in a large text, to bound the number of rows."""
    off = case.is_few or case.facts.is_ids or settings.get("clip_node") is not None
    rare = max(2, math.ceil(2 * case.facts.tokens / MOST_TOKENS_OF_PAIRS))
    return {"ngram_orders": None if off else ORDERS, "ngram_min_count": rare}


def _shape(case: _Case, settings: Values) -> Values:
    """The wide model if the budget has MIN_SHARE of its epochs, else the narrow one."""
    operations = case.operations / case.trainings(settings)
    for shape in (WIDE, NARROW):
        found = {**shape, **case.given, **_heads(shape, case.given)}
        candidate = {**settings, **found, "batch_size": case.given.get("batch_size", BATCH)}
        epochs = operations / case.step(candidate) / float(case.epoch(candidate))
        if epochs >= MIN_SHARE * (LARGE_EPOCHS if case.is_large else EPOCHS) and not case.is_few:
            break
    return {**{name: found[name] for name in (*shape, "n_head")}, **_position(case, {**settings, **found})}


def _position(case: _Case, settings: Values) -> Values:
    """RoPE and QK norm for wide models; a narrow one loses nothing with learned positions."""
    fits = settings["n_embd"] // settings["n_head"] % 2 == 0 and settings.get("clip_node") is None
    if not fits or not is_wide(settings):
        return {"position": "learned", "qk_norm": False}
    return {"position": "rope", "qk_norm": True}


def _heads(shape: Mapping[str, int], given: Values) -> Values:
    """Width and heads that fit each other."""
    width: int = given.get("n_embd", shape["n_embd"])
    heads: int = given.get("n_head", 0)
    if not heads:
        heads = next(count for count in (4, 2, 1) if width % count == 0)
    elif "n_embd" not in given:
        width = -(-width // heads) * heads
    return {"n_embd": width, "n_head": heads}


def _batch(case: _Case, settings: Values) -> Values:
    """Small batches for small lists; a window of a stream counts as several documents."""
    if case.facts.is_stream or case.facts.documents < THOUSAND:
        return {"batch_size": BATCH // 2}
    return {"batch_size": 2 * BATCH if case.is_large and is_wide(settings) else BATCH}


def _length(case: _Case, settings: Values) -> Values:
    """The given length; else the epochs that suit the data, as far as the budget goes."""
    if "steps" in case.given:
        return {}
    epoch, epochs = case.epoch(settings), settings["epochs"]
    if epochs is not None:
        return {"steps": epochs_to_steps(epochs, epoch)}
    affordable = int(case.operations / case.trainings(settings) / case.step(settings))
    if affordable < 1:
        share = case.trainings(settings) * case.step(settings) / case.operations
        raise SettingError(
            f"seconds: expected enough for one step, {share * case.seconds:.2g}, got {case.seconds:g}; "
            "try `steps=1`"
        )
    wanted, tuning = FEW_STEPS, case.facts.tuning
    if tuning is not None:
        wanted = math.ceil(tuning.epochs * epoch)
    elif not case.is_few:
        wanted = math.ceil((LARGE_EPOCHS if case.is_large and is_wide(settings) else EPOCHS) * epoch)
        wanted = wanted if is_wide(settings) else max(MIN_STEPS, wanted)
    return {"steps": min(wanted, affordable)}


def _adam_lr(case: _Case, settings: Values) -> float:
    """Adam's rate, which falls with the width."""
    if case.is_few and case.facts.tuning is None:
        return FEW_LR
    is_small = is_wide(settings) and settings["batch_size"] < BATCH
    lr: float = min(MAX_LR, LR_TIMES_WIDTH / settings["n_embd"])
    return lr * SMALL_BATCH_LR if is_small else lr


def _sgd_lr(case: _Case, settings: Values) -> float:
    """SGD's rate, which a width of 32 or 64 does not change."""
    lr = FEW_SGD_LR if case.is_few else SGD_LR
    return lr * (1 - float(settings.get("momentum", TrainConfig.momentum)))


def _learning(case: _Case, settings: Values) -> Values:
    """The rate of the optimizer, a warm-up of 5 %, a cosine to 2 %."""
    lr = _sgd_lr(case, settings) if _is_sgd(settings) else _adam_lr(case, settings)
    lr *= 1.0 if case.facts.tuning is None else case.facts.tuning.rate
    lr = case.given.get("lr", round(lr, 6))
    return {"lr": lr, "lr_min": lr / 50, "warmup_steps": settings["steps"] // 20}


def _is_sgd(settings: Values) -> bool:
    """Whether SGD was asked for."""
    return bool(settings.get("optimizer") == "sgd")


def _regularization(case: _Case, settings: Values) -> Values:
    """Less of it for more data; the tables' decay from lr · decay = min(0.08, 5 / steps per epoch), which in
    a model that is trained already would erase what they hold.
    """
    dropout = 0.0
    if is_wide(settings) and not case.is_large and settings.get("clip_node") is None:
        dropout = 0.2 if case.facts.tokens < SMALL_TEXT else 0.1
    is_small = not case.facts.is_stream and case.facts.documents <= SMALL_LIST
    decay = 0.05 if is_small else min(0.08, 5 / float(case.epoch(settings)))
    decay = decay if case.facts.tuning is None else 0.0
    weight_decay = 0.1 if case.is_large else 0.3
    if _is_sgd(settings):  # per step as much as Adam's
        weight_decay = round(weight_decay * _adam_lr(case, settings) / settings["lr"], 6)
    return {
        "dropout": dropout,
        "weight_decay": weight_decay,
        "ngram_dropout": (0.3 if case.is_large else 0.5) if settings["ngram_orders"] else 0.0,
        "ngram_weight_decay": round(decay / settings["lr"], 4) if settings["ngram_orders"] else 0.0,
    }


def _reporting(case: _Case, settings: Values) -> Values:
    """Ten lines; samples that are new, for which a stream has no documents to compare with."""
    is_list = not (case.facts.is_stream or case.facts.is_ids)
    return {"log_every": max(1, settings["steps"] // 10), "unique": is_list, "novel": is_list}


Rule = Callable[[_Case, Values], Values]
RULES: tuple[Rule, ...] = (
    _block, _n_grams, _shape, _batch, _length, _learning, _regularization, _reporting,
)  # fmt: skip


def is_wide(settings: Values) -> bool:
    """Whether a model is large enough to need dropout and long trainings."""
    return bool(settings["n_layer"] * settings["n_embd"] >= WIDE["n_layer"] * WIDE["n_embd"])


def _check(case: _Case, settings: Values) -> Check:
    """How the run measures itself: see Check."""
    facts = case.facts
    if facts.is_ids:
        return "none"
    if settings.get("val_fraction"):
        return "held out"
    if not case.is_measured:
        return "none"
    both = trainings("second model") * settings["steps"] * case.step(settings)
    if both <= case.operations and (case.is_short or not facts.is_stream):
        return "second model"
    return "none" if "val_fraction" in case.given else "held out"


def _averaging(case: _Case, settings: Values, check: Check) -> Values:
    """The order and weight of the n-grams, and the held-out fraction that the weight is fitted on."""
    weight, tuning = MOSTLY if case.is_few else EVEN, case.facts.tuning
    if tuning is not None:
        weight = max(tuning.weight, MORE if case.facts.documents > SMALL_LIST else 0.0)
    found: Values = {"kneser_ney": case.given.get("kneser_ney", case.facts.kneser_ney) or None}
    if found["kneser_ney"] is not None and (check != "held out" or not case.fits_weight(settings)):
        found["kneser_ney_weight"] = weight
    if check == "held out" and not settings.get("val_fraction"):
        most = MOST_HELD_OUT / case.facts.documents
        if case.facts.is_stream:
            most = MOST_HELD_OUT * STREAM_BLOCK / 4 / case.facts.tokens
        found["val_fraction"] = min(HELD_OUT, most)
    return found


def _reasons(case: _Case, settings: Values, check: Check, budget: float | None) -> list[str]:
    """What was chosen, and why, in a few lines."""
    facts, s = case.facts, settings
    data = _count(facts.tokens, "token") if facts.is_stream else _count(facts.documents, "document")
    needed = s["steps"] * case.step(s) / case.speed
    epochs = s["steps"] / float(case.epoch(s))
    passes = f"{epochs:,.0f}" if epochs >= 10 else f"{epochs:.2g}"
    of_budget = "" if budget is None else f" of a budget of {budget:,.10g} s"
    n_grams = f", n-grams of 2 to {s['ngram_orders']} tokens" if s["ngram_orders"] else ""
    sgd = " for SGD" if _is_sgd(s) else ""
    lines = [
        f"auto: {data}, about {needed:.2g} s{of_budget}; `preset` and settings change it",
        f"model: {s['n_layer']} x {s['n_embd']}, block_size {s['block_size']}{n_grams}",
        f"training: {s['steps']:,} steps, {passes} epochs, batch_size {s['batch_size']}, "
        f"lr {s['lr']:g}{sgd}, dropout {s['dropout']:g}",
    ]
    if facts.words >= PROSE_WORDS and not facts.is_stream:
        lines.append("the documents look like running text; `format='stream'` learns them as one text")
    if s["kneser_ney"] is not None:
        lines.append(f"averaged with Kneser-Ney n-grams of order {s['kneser_ney']}; {_how(case, s, check)}")
    return lines


def whole(is_stream: bool) -> str:
    """The data of a run, in a message."""
    return "the text" if is_stream else "the list"


def _count(number: int, name: str) -> str:
    """1 document, 2,000 documents."""
    return f"{number:,} {name}" + "s" * (number != 1)


def _how(case: _Case, settings: Values, check: Check) -> str:
    """How the weight of the average is found."""
    if case.given.get("kneser_ney_weight") is not None:
        return f"their weight is {case.given['kneser_ney_weight']:g}, as given"
    match check if case.fits_weight(settings) else "none":
        case "second model":
            return f"a second model, of 7/8 of {whole(case.facts.is_stream)}, gives the weight"
        case "held out":
            return "a part held out of the training gives the weight"
        case "none":
            return "their weight is fixed, as there is too little data to measure"
