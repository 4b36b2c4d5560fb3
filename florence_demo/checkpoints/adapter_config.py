"""What an ``adapter_config.json`` says of a LoRA adapter, as far as a merge needs it.

Knows PEFT's fields. A pattern that names modules is a stranger's text and is compared with their
names, never run as a regular expression: ``re`` could be kept busy for ever, and holds the
interpreter meanwhile. Knows no tensors and no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from florence_demo.checkpoints.config import Rule, real, whole
from florence_demo.checkpoints.info import listed
from florence_demo.errors import CheckpointError, plain

MAX_PATTERNS = 1_000
MAX_PATTERN = 200
"""Characters of a pattern; the longest name of a module of Florence-2 has 63."""
MAX_RANK = 8_192

_UNMERGEABLE = {
    "lora_bias": "biases of its own",
    "layer_replication": "layers that are used twice",
    "target_parameters": "parameters outside of modules",
    "trainable_token_indices": "single rows of the token embedding",
    "alora_invocation_tokens": "tokens that switch it on",
    "megatron_config": "a model that is spread over machines",
    "arrow_config": "a router between adapters",
    "kasa_config": "KaSA's third factor",
    "monteclora_config": "random factors",
}
_KNOWN_VARIANTS = ("use_rslora", "use_dora")
_CHANGED_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
# What PEFT and people write: a name or its end, "^" before a whole name, ".*" before an end.
_FORM = re.compile(r"(?P<whole>\^?)(?P<inner>(?:\.\*)?)(?P<name>(?:[\w.-]|\\[.\-_])+)\$?", re.ASCII)


@dataclass(frozen=True)
class Pattern:
    """Hold which modules a rank or an alpha is of.

    Attributes:
        name: A module's path, or the end of one.
        kind: "path" names all of it, "parts" its last parts, "end" its last characters.
        value: The rank or the alpha.
    """

    name: str
    kind: str
    value: float

    def names(self, module: str) -> bool:
        """Say whether a module is meant, by PEFT's rule."""
        if self.kind == "end":
            return module.endswith(self.name)
        return module == self.name or (self.kind == "parts" and module.endswith(f".{self.name}"))


@dataclass(frozen=True)
class AdapterConfig:
    """Hold what an adapter's configuration says.

    Attributes:
        base: Its base by name, as it stands there; short and plain. "owner/name@revision" where a
            revision is told.
        rank: Rank of its factors.
        alpha: Its scale, before the division by the rank.
        stabilised: Whether the rank's root divides it.
        ranks: Modules of another rank.
        alphas: Modules of another scale.
        targets: The modules it changes, as it names them; for a person to read.
        problems: Sentences about what cannot be merged.
    """

    base: str | None
    rank: int | None
    alpha: float | None
    stabilised: bool
    ranks: tuple[Pattern, ...]
    alphas: tuple[Pattern, ...]
    targets: tuple[str, ...]
    problems: tuple[str, ...]

    def rank_of(self, module: str) -> float | None:
        """Return the rank that a module's factors should have."""
        return _value(self.ranks, module, self.rank)

    def alpha_of(self, module: str) -> float | None:
        """Return a module's scale."""
        return _value(self.alphas, module, self.alpha)


def read_adapter_config(values: Mapping[str, Any]) -> AdapterConfig:
    """Return what the object of an ``adapter_config.json`` says.

    Raises:
        CheckpointError: It is of no LoRA, or a pattern in it is of a form that is not known here.
        ValueError: A value is of another kind than PEFT writes.
    """
    kind = values.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"This is an adapter of the kind {plain(kind)}, not a LoRA.")
    base, targets = values.get("base_model_name_or_path"), values.get("target_modules") or ()
    return AdapterConfig(
        base=_base(base, values.get("revision")),
        rank=_number(values.get("r"), whole(1, MAX_RANK), "r"),
        alpha=_number(values.get("lora_alpha"), real(-1e6, 1e6), "lora_alpha"),
        stabilised=bool(values.get("use_rslora")),
        ranks=_patterns(values.get("rank_pattern"), whole(1, MAX_RANK)),
        alphas=_patterns(values.get("alpha_pattern"), real(-1e6, 1e6)),
        targets=_targets(targets),
        problems=tuple(_unmergeable(values)),
    )


def _base(name: Any, revision: Any) -> str | None:
    if not name:
        return None
    told = isinstance(name, str) and isinstance(revision, str) and "@" not in name
    # A path has no revision, whatever is told.
    whole = f"{name}@{revision}" if told and revision and _HUB_ID.fullmatch(name) else name
    # Longer than what is shown of it: a folder's path must be found again.
    return plain(whole, 1_000)


def _targets(targets: Any) -> tuple[str, ...]:
    names = [targets] if isinstance(targets, str) else sorted(map(str, targets))
    return tuple(plain(name) for name in names)


def _number(value: Any, rule: Rule, name: str) -> Any:
    if value is None:
        return None
    try:
        return rule(value)
    except ValueError as exc:
        raise ValueError(f"{name} is {plain(value, 40)}, not {exc}") from exc


def _patterns(table: Any, rule: Rule) -> tuple[Pattern, ...]:
    if not table:
        return ()
    if len(table) > MAX_PATTERNS:
        raise CheckpointError(
            f"adapter_config.json has {len(table):,} patterns, more than {MAX_PATTERNS:,}."
        )
    return tuple(_pattern(text, _number(value, rule, text)) for text, value in table.items())


def _pattern(text: str, value: float) -> Pattern:
    form = _FORM.fullmatch(text) if len(text) <= MAX_PATTERN else None
    if form is None:
        raise CheckpointError(
            f"adapter_config.json has a pattern that is too involved: {plain(text, 60)}. Write the "
            "names of the modules instead, or the ends of their names."
        )
    name = form["name"].replace("\\", "")
    if form["inner"]:
        return Pattern(name, "end", value)
    return Pattern(name, "path" if form["whole"] else "parts", value)


def _value(patterns: Sequence[Pattern], module: str, usual: float | None) -> float | None:
    return next((pattern.value for pattern in patterns if pattern.names(module)), usual)


def _unmergeable(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the configuration asks for that cannot be merged into a base."""
    for field, what in _UNMERGEABLE.items():
        if values.get(field):
            yield f"The adapter has {what} ({field}), which cannot be merged here."
    # A kind of LoRA that came after this was written must not be merged as a plain one.
    used = [field for field, value in values.items() if field.startswith("use_") and value]
    unknown = [field for field in used if field not in _KNOWN_VARIANTS]
    if unknown:
        yield f"The adapter is of a kind that cannot be merged here ({listed(unknown)})."
    start = values.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGED_BASES):
        yield (
            f"The adapter began from a changed base ({plain(start)}); convert it to a plain LoRA "
            "where it was trained."
        )
