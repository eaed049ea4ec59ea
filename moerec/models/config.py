"""What a model is made of. One frozen object, stored in the bundle, checked when it is made."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from moerec.errors import ArtifactError

SUMMARY_EVENTS: Final = 150
"""Older events that feed the user summary alone: with a decay of 0.9 or less, what lies further
back weighs less than 2e-7."""


LAST_ITEMS: Final = 10
"""The last items of a history that the table of transitions looks up."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of a `MoERecommender`. Counts are of rows, widths of floats.

    * `items` V, the catalogue without the padding row;
    * `dim` D, width of an event's vector and of an item's;
    * `window` W: a position attends to itself and the W-1 events before it;
    * `min_experts`, `max_experts`: how many of the `experts` E a token wakes;
    * `mean_experts`: what training steers the mean of that number to;
    * `expert_dim` F, the hidden width of one expert;
    * `summary_decay` in [0, 0.9]: what the router's summary of a user keeps of itself at each event;
    * `temperature`: the softmax of the loss sees cosines divided by it;
    * `dropout` in [0, 1);
    * `uses_time`: 1 if the encoder is shown when events were; 0 for a log without times;
    * `gated`: 1 for gates on both residual branches of a block, 0 without;
    * `neighbors` K: of each item, so many likely next ones stand in a table beside the network;
    * `user_routing`: 1 if the router sees the summary of the user's past, 0 for the token alone.

    One expert (`experts`, `min_experts`, `max_experts` and `mean_experts` all 1) is a dense model: it
    has no router.
    * `liked_factors` F of each half of the head for "liked", 0 without a head, and `liked_from`, the least
      value of an event that counts as liked;
    * `features` F of the items' content and `feature_entries`, the (item, feature) pairs; 0 without;
    * `id_dropout` in [0, 1): the share of items that are their content alone in a training step.
    """

    items: int
    dim: int = 64
    layers: int = 2
    heads: int = 2
    window: int = 50
    experts: int = 8
    expert_dim: int = 128
    min_experts: int = 2
    max_experts: int = 4
    mean_experts: float = 2.25
    summary_decay: float = 0.9
    temperature: float = 0.07
    dropout: float = 0.2
    uses_time: int = 0
    gated: int = 1
    user_routing: int = 1
    neighbors: int = 0
    features: int = 0
    feature_entries: int = 0
    id_dropout: float = 0.0
    liked_factors: int = 0
    liked_from: float = 0.0

    def __post_init__(self) -> None:
        rules = {
            "items, dim, layers, heads, window and expert_dim must be positive": min(
                self.items, self.dim, self.layers, self.heads, self.window, self.expert_dim
            )
            >= 1,
            "dim must be a multiple of heads": self.heads >= 1 and self.dim % self.heads == 0,
            "1 <= min_experts <= max_experts <= experts": 1
            <= self.min_experts
            <= self.max_experts
            <= self.experts,
            "min_experts <= mean_experts <= max_experts": self.min_experts
            <= self.mean_experts
            <= self.max_experts,
            "summary_decay must lie in [0, 0.9]": 0.0 <= self.summary_decay <= 0.9,
            "temperature must be positive": self.temperature > 0,
            "dropout must lie in [0, 1)": 0.0 <= self.dropout < 1.0,
            "uses_time, gated and user_routing must be 0 or 1": {
                self.uses_time,
                self.gated,
                self.user_routing,
            }
            <= {0, 1},
            "features and feature_entries are both 0, or both positive": (
                min(self.features, self.feature_entries) >= 1
                or self.features == self.feature_entries == 0
            ),
            "id_dropout must lie in [0, 1)": 0.0 <= self.id_dropout < 1.0,
            "liked_factors must not be negative": self.liked_factors >= 0,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise ValueError("; ".join(broken))

    @property
    def is_dense(self) -> bool:
        """Whether every token runs the one expert there is."""
        return self.experts == 1

    @property
    def uses_summary(self) -> bool:
        """Whether anything reads the summary of a user's past."""
        return bool(self.user_routing) and not self.is_dense

    @property
    def receptive_field(self) -> int:
        """R = layers * (W - 1) + 1: the events that reach the newest row through attention."""
        return self.layers * (self.window - 1) + 1

    @property
    def reach(self) -> int:
        """The events an answer depends on: R, and before them those of the summary alone, if any; at
        least those that the table of transitions reads."""
        read = self.receptive_field + (SUMMARY_EVENTS if self.uses_summary else 0)
        return max(read, LAST_ITEMS)

    def dense(self, expert_dim: int) -> "ModelConfig":
        """The same model with one expert of that hidden width, and so without a router."""
        return replace(
            self, experts=1, min_experts=1, max_experts=1, mean_experts=1.0, expert_dim=expert_dim
        )

    def to_dict(self) -> dict[str, int | float]:
        """Plain numbers for `config.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, int | float]) -> "ModelConfig":
        """The inverse of `to_dict`; an unknown or missing name is an `ArtifactError`."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ArtifactError(
                f"the model's configuration has names this version does not know: {unknown}",
                "Use the moerec version that wrote it, or train again.",
            )
        try:
            return cls(**values)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"the model's configuration is not usable: {error}") from error
