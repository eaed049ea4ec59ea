"""How a model is trained, and the presets that fit model and training to the size of a log."""

from dataclasses import asdict, dataclass
from typing import Final

from moerec.models.config import ModelConfig

FULL_SOFTMAX_ITEMS: Final = 5_000
"""Up to this many items every item is a negative; above, `SHARED_NEGATIVES` a step."""

SHARED_NEGATIVES: Final = 1_024

ID_DROPOUT: Final = 0.2
"""The share of items that a training step knows by their content alone, where there is content."""

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
    * `balance_rate`, the step of the router's balance bias;
    * `validation_users`, at most so many are ranked after an epoch;
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
    balance_rate: float = 5e-3
    validation_users: int = 3_000
    seed: int = 0

    def to_dict(self) -> dict[str, int | float]:
        """Plain numbers for the manifest and the checkpoint."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LogSize:
    """What the presets look at: training events, users and items."""

    events: int
    users: int
    items: int


def presets(log: LogSize, *, seed: int = 0) -> tuple[ModelConfig, TrainConfig]:
    """A model and its training for a log of this size.

    Short histories are soon learned by heart: they get more dropout, a softer softmax, and shared
    negatives once the catalogue is large. Segments are as long as the receptive field, so that what is
    trained is what is served.
    """
    long = log.events >= LONG_HISTORY * max(log.users, 1)
    negatives = 0 if log.items <= FULL_SOFTMAX_ITEMS else SHARED_NEGATIVES
    batch_events = min(max(log.events // 128, 1_024), 6_400)
    steps_an_epoch = max(log.events // batch_events, 1)
    epochs = min(max(2_200 // steps_an_epoch, 3), 25)
    model = ModelConfig(
        items=log.items,
        window=100 if long else 50,
        dropout=0.2 if long else 0.3,
        temperature=0.05 if long else 0.07,
    )
    training = TrainConfig(
        epochs=epochs,
        length=200 if long else 100,
        batch_events=batch_events,
        warmup_steps=min(100, steps_an_epoch * epochs // 10),
        negatives=negatives,
        seed=seed,
    )
    return model, training
