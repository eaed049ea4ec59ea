"""How a model is trained, and the presets that fit model and training to the size of a log."""

import math
from dataclasses import asdict, dataclass
from typing import Final, Literal

from moerec.models.config import ModelConfig

FULL_SOFTMAX_LOGITS: Final = 50_000_000
"""Up to this many logits a step every item is a negative; above, `SHARED_NEGATIVES`."""

SHARED_NEGATIVES: Final = 2_048

TRAINED_EVENTS: Final = 30_000_000
"""Events that a training reads in all, epochs times the log's, up to the epochs of its shape."""

NEIGHBORS: Final = 100
"""Likely next items that the bundle stores of each item."""

ID_DROPOUT: Final = 0.2
"""The share of items that a training step knows by their content alone, where there is content."""

COVISITS: Final = 0.4
"""The share of the table of transitions for what the same users visited, where counts are few."""

MOST_COVISITED: Final = 300_000
"""Events of a log of long histories up to which its counts are few."""

LARGEST_SEED: Final = 2**32 - 1

LONG_HISTORY: Final = 30
"""Mean events a user from which on a log counts as one of long histories."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Knobs of the loop.

    * `epochs` at most; training stops early after `patience` epochs without a better validation NDCG@10;
    * `length` L, the events of one training segment; longer histories are cut at places that move
      from epoch to epoch;
    * `batch_events`, padded events of a step, at most;
    * `learning_rate`, reached after `warmup_steps` and then falling in a line to `final_rate` of itself;
    * `negatives`, 0 for the full softmax;
    * `neighbors`, likely next items of each item in the table beside the network; 0 for none;
    * `covisits` in [0, 1): the share of that table, if validation likes it, for what the same users
      visited in any order; 0 counts what followed alone;
    * `balance_rate`, the step of the router's balance bias;
    * `mask_rate`, the share of steps in which an expert a layer does not run for half of the batch;
    * `average_steps`, about how many last steps the weights that are kept are averaged over;
    * `validation_users`, at most so many are ranked after an epoch;
    * `precision`, "fast" (`moerec/training/precision.py`) or "float32";
    * `seed` of everything random: same seed, same machine, same weights.
    """

    epochs: int = 30
    patience: int = 5
    length: int = 200
    batch_events: int = 6_400
    learning_rate: float = 2e-3
    final_rate: float = 0.1
    weight_decay: float = 0.01
    warmup_steps: int = 100
    negatives: int = 0
    neighbors: int = NEIGHBORS
    covisits: float = 0.0
    balance_rate: float = 5e-3
    mask_rate: float = 0.1
    average_steps: int = 100
    validation_users: int = 3_000
    precision: Literal["fast", "float32"] = "fast"
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.epochs, self.patience, self.length, self.batch_events, self.average_steps)
        rules = {
            "epochs, patience, length, batch_events and average_steps must be positive": min(counts)
            >= 1,
            "learning_rate must be positive": self.learning_rate > 0,
            "final_rate and mask_rate must lie in [0, 1]": 0 <= self.final_rate <= 1
            and 0 <= self.mask_rate <= 1,
            "weight_decay and balance_rate must not be negative": min(
                self.weight_decay, self.balance_rate
            )
            >= 0,
            "warmup_steps, negatives and neighbors must not be negative": min(
                self.warmup_steps, self.negatives, self.neighbors
            )
            >= 0,
            "covisits must lie in [0, 1)": 0 <= self.covisits < 1,
            "validation_users must be positive": self.validation_users >= 1,
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise ValueError("; ".join(broken))

    def to_dict(self) -> dict[str, int | float | str]:
        """Plain values for the manifest and the checkpoint."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LogSize:
    """What the presets look at: training events, users and items, and whether events have times."""

    events: int
    users: int
    items: int
    has_time: bool = False

    @property
    def has_long_histories(self) -> bool:
        """Whether a user has `LONG_HISTORY` training events or more, on the mean."""
        return self.events >= LONG_HISTORY * max(self.users, 1)


def presets(log: LogSize, *, seed: int = 0) -> tuple[ModelConfig, TrainConfig]:
    """A model and its training for a log of this size.

    Long histories are worth a deep model. Short ones are soon learned by heart: they get a wide and
    shallow one, much dropout, and a softer softmax. Segments are as long as the receptive field, so
    that what is trained is what is served.
    """
    shape, length, batch_events, epochs = _shape(log)
    steps_an_epoch = max(log.events // batch_events, 1)
    epochs = min(max(TRAINED_EVENTS // max(log.events, 1), 3), epochs)
    training = TrainConfig(
        epochs=epochs,
        length=length,
        batch_events=batch_events,
        warmup_steps=min(200, steps_an_epoch * epochs // 10),
        negatives=0 if log.items * batch_events <= FULL_SOFTMAX_LOGITS else SHARED_NEGATIVES,
        # Many and long histories have followers enough, and very many pairs that say little.
        covisits=0.0 if log.has_long_histories and log.events > MOST_COVISITED else COVISITS,
        average_steps=min(max(steps_an_epoch * 3 // 2, 20), 1_000),
        seed=seed,
    )
    return shape, training


def _shape(log: LogSize) -> tuple[ModelConfig, int, int, int]:
    """The model, the length of its segments, the events of a batch, and the epochs at most."""
    uses_time = int(log.has_time)
    if log.has_long_histories:
        model = ModelConfig(
            items=log.items,
            layers=4,
            window=50,
            expert_dim=256,
            dropout=_dropout(log.events),
            temperature=0.05,
            uses_time=uses_time,
        )
        return model, 200, min(max(log.events // 128, 1_024), 6_400), 24
    model = ModelConfig(
        items=log.items,
        dim=128,
        expert_dim=256,
        window=50,
        dropout=0.5,
        temperature=0.07,
        uses_time=uses_time,
    )
    return model, 100, min(max(log.events // 128, 512), 2_048), 16


def _dropout(events: int) -> float:
    """Of a deep model: .2 from a million events on, .2 more for each power of ten less, .5 at most."""
    missing = math.log10(1_000_000 / max(events, 1))
    return round(min(max(0.2 + 0.2 * missing, 0.2), 0.5), 2)
