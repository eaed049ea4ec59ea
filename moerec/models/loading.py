"""A bundle's arrays as a model ready to answer."""

from collections.abc import Mapping
from typing import Any

import torch

from moerec.errors import ArtifactError, UsageError
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender


def load_model(
    config: Mapping[str, int | float],
    weights: Mapping[str, Any],
    device: str | torch.device = "cpu",
) -> MoERecommender:
    """A model in evaluation mode on `device`, with `weights` (name -> array) checked by name and shape."""
    model = MoERecommender(ModelConfig.from_dict(dict(config)))
    tensors = {name: torch.as_tensor(array) for name, array in weights.items()}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ArtifactError(
            f"the weights do not fit the configuration: {error}", "Train the bundle again."
        ) from error
    return model.eval().to(device)


def choose_device(name: str) -> torch.device:
    """ "auto" takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UsageError(f"there is no device called {name!r}", "Use auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("this machine has no usable CUDA device", "Use --device cpu or auto.")
    return torch.device(name)
