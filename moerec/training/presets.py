"""From what a caller names to what is trained: presets by name, single knobs, and dense twins.

preset --single knobs--> mixture of experts --twin--> dense model of equal cost or size
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final, Literal, get_type_hints

from moerec.errors import UsageError
from moerec.models.config import ModelConfig
from moerec.models.flops import equal_active, equal_total
from moerec.training.config import LogSize, TrainConfig, presets

Setting = int | float | str
Configurations = tuple[ModelConfig, TrainConfig]

OF_THE_LOG: Final = {"items", "features", "feature_entries", "liked_factors", "liked_from"}
"""Facts about the data, and the head for "liked" that follows from its values: nobody may set them."""

OTHER_OPTIONS: Final = {"epochs", "seed"}
"""They have options of their own."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What a caller says of model and training, beside the log.

    * `preset`, a name in `PRESETS`;
    * `settings`, single knobs of `ModelConfig` and `TrainConfig` that replace the preset's (`KNOBS`);
    * `twin`: the dense model that has as many encoder parameters ("total") or as much work a token
      ("active") as the mixture that preset and settings give, or one expert of a given hidden width.

    UsageError for a preset or a knob that does not exist, and for a value of another type than the knob's.
    """

    preset: str = "auto"
    settings: Mapping[str, Setting] = field(default_factory=dict)
    twin: Literal["total", "active"] | int | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise UsageError(
                f"there is no preset {self.preset!r}", f"Choose one of: {', '.join(PRESETS)}."
            )
        object.__setattr__(self, "settings", _typed_all(self.settings))

    def to_dict(self) -> dict[str, object]:
        """Plain values for the manifest."""
        return {"preset": self.preset, "settings": dict(self.settings), "twin": self.twin}


def _compare(log: LogSize) -> Configurations:
    """A mixture of the same family, small enough that its dense twins can be trained beside it: half the
    layers for long histories, half the width for short ones."""
    model, training = presets(log)
    window = 100 if log.has_long_histories else 50
    return replace(model, dim=64, layers=2, window=window, expert_dim=256), training


def _sasrec(log: LogSize) -> Configurations:
    """SASRec (Kang & McAuley 2018, arXiv:1808.09781) as it does best: two dense layers, softmax over the
    whole catalogue (Klenitskiy & Vasilev 2023, arXiv:2309.07602).

    Neither experts, gates, times nor a table of transitions. Item vectors, norms and the feed-forward
    layer are those of our own models, so that what differs is the idea and not the code. On short
    histories it is better twice as wide as the mixture is.
    """
    model, training = presets(log)
    dim = model.dim if log.has_long_histories else 2 * model.dim
    model = replace(
        model.dense(2 * dim),
        dim=dim,
        layers=2,
        window=100 if log.has_long_histories else 50,
        gated=0,
        uses_time=0,
    )
    return model, replace(training, negatives=0, neighbors=0, covisits=0.0)


PRESETS: Final[Mapping[str, Callable[[LogSize], Configurations]]] = {
    "auto": presets,
    "compare": _compare,
    "sasrec": _sasrec,
}
"""Name -> model and training for a log of that size."""

_MODEL_TYPES: Final = get_type_hints(ModelConfig)
_TRAINING_TYPES: Final = get_type_hints(TrainConfig)
_TRAINING: Final = {each.name for each in fields(TrainConfig)} - OTHER_OPTIONS
# The model's number of neighbours follows from the training's, when the table has been counted.
_MODEL: Final = {each.name for each in fields(ModelConfig)} - OF_THE_LOG - _TRAINING

KNOBS: Final = tuple(sorted(_MODEL | _TRAINING))
"""Names that `Variant.settings` may have."""


def configurations(
    variant: Variant,
    log: LogSize,
    *,
    seed: int = 0,
    epochs: int | None = None,
    content: tuple[int, int, float] = (0, 0, 0.0),
) -> Configurations:
    """The model and the training that `variant` means for a log of this size.

    `content` are `features`, `feature_entries` and `id_dropout` of `ModelConfig`. UsageError for values
    that do not go together, or a twin of a model that is dense already.
    """
    model, training = PRESETS[variant.preset](log)
    features, entries, id_dropout = content
    model = replace(model, features=features, feature_entries=entries, id_dropout=id_dropout)
    training = replace(training, seed=seed)
    if epochs is not None:
        training = replace(training, epochs=epochs)
    model, training = _with_settings(model, training, variant.settings)
    if model.uses_time and not log.has_time:
        raise UsageError("uses_time=1, and the log has no times", "Leave uses_time out.")
    if variant.twin is not None:
        model = _twin(model, variant.twin)
    return model, training


def _typed_all(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """With values of their knobs' types: text, as from a command line, becomes a number."""
    if unknown := sorted(set(settings) - set(KNOBS)):
        own = ", ".join(f"--{name}" for name in sorted(OTHER_OPTIONS))
        raise UsageError(
            f"there is no setting {', '.join(map(repr, unknown))}",
            f"Settings are: {', '.join(KNOBS)}. Options of their own: {own}.",
        )
    return {name: _typed(name, value) for name, value in settings.items()}


def _typed(name: str, value: Setting) -> Setting:
    kind = (_TRAINING_TYPES if name in _TRAINING else _MODEL_TYPES)[name]
    if kind is int:
        number = _number(value)
        if number is not None and number.is_integer():
            return int(number)
        raise UsageError(f"{name}={value!r} is not a whole number", f"Give one, like {name}=2.")
    if kind is float:
        number = _number(value)
        if number is not None:
            return number
        raise UsageError(f"{name}={value!r} is not a number", f"Give one, like {name}=0.5.")
    if value in kind.__args__:
        return value
    raise UsageError(f"{name}={value!r} is not known", f"Use one of: {', '.join(kind.__args__)}.")


def _number(value: Setting) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _with_settings(
    model: ModelConfig, training: TrainConfig, settings: Mapping[str, Setting]
) -> Configurations:
    of_training = {name: value for name, value in settings.items() if name in _TRAINING}
    of_model = {name: value for name, value in settings.items() if name not in _TRAINING}
    try:
        model = replace(model, **of_model)  # type: ignore[arg-type]
        training = replace(training, **of_training)  # type: ignore[arg-type]
    except ValueError as error:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise UsageError(
            f"{given} cannot be: {error}",
            "Give values that go together; settings that are not given are the preset's.",
        ) from error
    if training.length < model.receptive_field:
        raise UsageError(
            f"length={training.length} is shorter than the {model.receptive_field} events that reach a "
            f"row through {model.layers} layers with a window of {model.window}",
            "What is served would not be what was trained: set length, or a smaller window.",
        )
    return model, training


def _twin(model: ModelConfig, twin: Literal["total", "active"] | int) -> ModelConfig:
    if isinstance(twin, int):
        if twin < 1:
            raise UsageError(f"the hidden width {twin} is not usable", "Use 1 or more.")
        return model.dense(twin)
    if model.is_dense:
        raise UsageError(
            "a dense model has no twin", "Name a preset with experts, or a hidden width."
        )
    if twin == "total":
        return equal_total(model)
    if twin == "active":
        return equal_active(model)
    raise UsageError(f"there is no twin {twin!r}", "Use total, active or a hidden width.")
