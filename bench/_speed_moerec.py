"""moerec's side of `training_speed.py`: trains for some steps and prints how fast, as JSON.

python bench/_speed_moerec.py SEQUENCES.npz OPTIONS_JSON
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from _machine import ROOT
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from moerec.data.sequences import Histories
from moerec.evaluation.baselines import item_counts
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender
from moerec.training.averaging import AveragedWeights
from moerec.training.config import TrainConfig
from moerec.training.negatives import NegativeSampler
from moerec.training.optim import make_optimizer
from moerec.training.segments import POOL_BATCHES, Segments
from moerec.training.step import Stepper
from moerec.types import UserId

Rows = NDArray[np.int64]


def make_step(
    histories: Histories, model_config: ModelConfig, config: TrainConfig
) -> Callable[[Rows, int], tuple[float, int]]:
    """Everything that knows the package: `step(users, number)` trains on their sequences as `Trainer` does.

    A step returns its loss and the events it predicted.
    """
    torch.manual_seed(config.seed)
    model = MoERecommender(model_config).train()
    average = AveragedWeights(model, config.average_steps)
    sampler = NegativeSampler(torch.as_tensor(item_counts(histories.items, model_config.items)))
    stepper = Stepper(model, make_optimizer(model, config), config, sampler)

    def step(users: Rows, number: int) -> tuple[float, int]:
        part = only(histories, users)
        (batch,) = Segments(
            part,
            part.lengths.astype(np.int32),
            length=config.length,
            batch_events=len(users) * config.length,
            seed=0,
        ).epoch(0)
        result = stepper.step(batch, config.learning_rate, number)
        average.update(number)
        return result.loss, result.targets

    return step


def only(histories: Histories, users: Rows) -> Histories:
    """The histories of some users."""
    lengths = histories.lengths[users]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    place = np.repeat(histories.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Histories(
        [histories.users[user] for user in users.tolist()],
        offsets,
        histories.items[place],
        histories.timestamps[place],
        histories.values[place],
    )


def batches(lengths: Rows, size: int, seed: int) -> Iterator[Rows]:
    """`size` users each, for ever; neighbours in length within pools, as the package's trainer has them."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(lengths))
        pool = np.arange(len(order)) // (POOL_BATCHES * size)
        order = order[np.lexsort((lengths[order], pool))]
        cuts = np.arange(size, len(order), size)
        parts = np.split(order, cuts)
        yield from (parts[part] for part in rng.permutation(len(parts)))


def main() -> int:
    """Prints one JSON object."""
    options = json.loads(sys.argv[2])
    torch.set_num_threads(options["threads"])
    with np.load(Path(sys.argv[1])) as file:
        arrays = dict(file)
    names = [UserId(str(user)) for user in range(len(arrays["offsets"]) - 1)]
    histories = Histories(
        names, arrays["offsets"], arrays["items"], arrays["timestamps"], arrays["values"]
    )
    model, training = ModelConfig.from_dict(options["model"]), TrainConfig(**options["training"])
    step = make_step(histories, model, training)
    chosen = batches(histories.lengths, options["batch"], options["seed"])
    losses, events, ends = [], [], []
    for number in range(options["warmup"] + options["steps"]):
        loss, predicted = step(next(chosen), number)
        losses.append(loss)
        events.append(predicted)
        ends.append(time.perf_counter())
    found = {
        "losses": losses,
        "events": events,
        "ends": ends,
        "events_an_epoch": int((histories.lengths - 1).sum()),
        "torch": torch.__version__,
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
