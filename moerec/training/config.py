"""How a model is trained. Presets fit model and training to the size of the log."""

from dataclasses import asdict, dataclass
from typing import Final

from moerec.models.config import ModelConfig

FULL_SOFTMAX_ITEMS: Final = 20_000
"""Up to this many items every item is a negative; above, `negatives` shared ones a step."""


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
    batch_events: int = 12_800
    learning_rate: float = 1e-3
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
