"""The bundle of a run: the one that is given, or one trained on a synthetic log and kept."""

from typing import Final

from rich.console import Console

from moerec.artifacts.bundle import Bundle, read_bundle
from moerec.errors import ArtifactError
from moerec.loadtest.plan import SHAPES, Plan
from moerec.loadtest.synthetic import World, training_log

EVENTS_AN_ITEM: Final = 5
"""Training events of an item, on the mean."""

LEAST_EVENTS: Final = 50_000
"""Training events of a small catalogue."""

MANY_EVENTS: Final = 1_000_000
EVENTS_AN_ITEM_OF_MANY: Final = 2
"""Of a catalogue so large that training would take hours: half of them walk through all items."""

MODEL: Final = {
    "experts": 8,
    "expert_dim": 128,
    "window": 50,
}
"""What both shapes have in common."""


LEAST_BATCH: Final = 2_048
ITEMS_A_BATCH_EVENT: Final = 50
"""A step of training costs as much for each item as for some part of an event: more items, larger batches."""


MOST_VALIDATION_USERS: Final = 1_000
FEWEST_VALIDATION_USERS: Final = 100
VALIDATION_SCORES: Final = 100_000_000
"""Users times items that a validation may score, beyond the fewest users: it ranks the whole catalogue."""


def item_ids(count: int) -> list[str]:
    """The ids of a synthetic catalogue, in the order of strings."""
    return [f"i{number:07}" for number in range(count)]


def prepared_bundle(plan: Plan, console: Console) -> Bundle:
    """The plan's bundle, trained now if it has not been yet. Raises what training refuses."""
    if plan.bundle is not None:
        return read_bundle(plan.bundle)
    if plan.bundle_path.exists():
        try:
            return read_bundle(plan.bundle_path)
        except ArtifactError:
            console.print("The bundle of an earlier run is of no use here: it is trained again.")
    return _train(plan, console)


def training_events(items: int) -> int:
    """How long the log is that a model of so many items learns from."""
    usual = min(items * EVENTS_AN_ITEM, MANY_EVENTS)
    return max(usual, items * EVENTS_AN_ITEM_OF_MANY, LEAST_EVENTS)


def _train(plan: Plan, console: Console) -> Bundle:
    # Torch comes with these, and is not needed where the bundle exists.
    from moerec.data.interactions import from_frame
    from moerec.training.display import TrainingDisplay
    from moerec.training.fit import FitOptions, fit_bundle
    from moerec.training.interrupt import TrainingInterrupted
    from moerec.training.presets import Variant

    world = World(item_ids(plan.items), plan.seed)
    log = from_frame(training_log(world, training_events(plan.items), plan.seed))
    console.print(
        f"Training on {log.report.events:,} synthetic events over {plan.items:,} items",
        highlight=False,
    )
    batch = max(LEAST_BATCH, plan.items // ITEMS_A_BATCH_EVENT)
    users = min(MOST_VALIDATION_USERS, VALIDATION_SCORES // plan.items + FEWEST_VALIDATION_USERS)
    model = {**MODEL, **SHAPES[plan.shape], "batch_events": batch, "validation_users": users}
    reach = model["layers"] * (model["window"] - 1) + 1
    options = FitOptions(
        seed=plan.seed,
        epochs=plan.epochs,
        variant=Variant("auto", {**model, "length": max(reach, 100)}),
        # A log of minutes: what is left of an interrupted training is not worth a question.
        unfinished="restart",
        replace=True,
    )
    try:
        with TrainingDisplay(console) as display:
            return fit_bundle(log, plan.bundle_path, options=options, watch=display.update)
    except TrainingInterrupted as error:
        error.remedy = "The same command begins the training again."
        raise


def routing_of(bundle: Bundle) -> dict[str, float]:
    """How the experts were used in the epoch that was kept: `largest_share` of a layer's work, and
    `mean_experts` of a token beside the `budget`; empty if the bundle does not say."""
    training = bundle.manifest.training
    records, best = training.get("epoch_records"), training.get("best_epoch")
    if not isinstance(records, list) or not isinstance(best, int) or not records:
        return {}
    kept = records[min(best, len(records)) - 1]
    return {
        "largest_share": float(kept["largest_share"]),
        "mean_experts": float(kept["mean_experts"]),
        "budget": float(bundle.config["mean_experts"]),
    }
