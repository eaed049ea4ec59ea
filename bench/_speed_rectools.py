"""RecTools' side of `training_speed.py`: its SASRec on the same sequences. Runs in RecTools' own environment.

python bench/_speed_rectools.py SEQUENCES.npz OPTIONS_JSON
"""

import json
import logging
import sys
import time
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class Recorder(Callback):
    """Notes each step's loss, the events it predicted (padding is target 0), and when it ended."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.events: list[int] = []
        self.ends: list[float] = []

    def on_train_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ANN401
        batch: dict[str, torch.Tensor],
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Called by Lightning."""
        self.losses.append(float(outputs["loss"]))
        self.events.append(int((batch["y"] != 0).sum()))
        self.ends.append(time.perf_counter())


def dataset_of(arrays: dict[str, np.ndarray]) -> Dataset:
    """The sequences as a RecTools dataset; the place in the sequence stands for the time."""
    lengths = np.diff(arrays["offsets"])
    place = np.arange(len(arrays["items"])) - np.repeat(arrays["offsets"][:-1], lengths)
    frame = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(lengths)), lengths),
            Columns.Item: arrays["items"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(place, unit="s"),
        }
    )
    return Dataset.construct(frame)


def model_of(options: dict[str, Any]) -> SASRecModel:
    """SASRec with what both sides share, and a trainer that does nothing but train."""

    def trainer() -> Trainer:
        return Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=-1,
            max_steps=options["warmup"] + options["steps"],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Recorder()],
        )

    return SASRecModel(
        n_factors=options["dim"],
        n_blocks=options["layers"],
        n_heads=options["heads"],
        dropout_rate=options["dropout"],
        session_max_len=options["length"],
        batch_size=options["batch"],
        lr=options["learning_rate"],
        loss=options["loss"],
        n_negatives=max(options["negatives"], 1),
        dataloader_num_workers=options["workers"],
        get_trainer_func=trainer,
    )


def main() -> int:
    """Prints one JSON object."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    options = json.loads(sys.argv[2])
    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    with np.load(sys.argv[1]) as file:
        dataset = dataset_of(dict(file))
    model = model_of(options)
    model.fit(dataset)
    # `fit` trains with a copy of the trainer.
    (recorder,) = (each for each in model.fit_trainer.callbacks if isinstance(each, Recorder))
    trained = model.data_preparator.train_dataset.interactions.df
    found = {
        "losses": recorder.losses,
        "events": recorder.events,
        "ends": recorder.ends,
        "events_an_epoch": len(trained) - trained[Columns.User].nunique(),
        "torch": torch.__version__,
        "rectools": version("rectools"),
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
