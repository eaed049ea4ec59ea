"""Weights into a model."""

import numpy as np
import pytest
import torch

from moerec.errors import ArtifactError, UsageError
from moerec.models.config import ModelConfig
from moerec.models.loading import choose_device, load_model
from moerec.models.recommender import MoERecommender

CONFIG = ModelConfig(items=9, dim=8, heads=2, expert_dim=4)


def test_loaded_weights_are_the_saved_ones() -> None:
    model = MoERecommender(CONFIG)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    loaded = load_model(CONFIG.to_dict(), arrays)
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        assert np.array_equal(tensor.numpy(), arrays[name])


def test_weights_of_another_shape_are_refused() -> None:
    arrays = {name: tensor.numpy() for name, tensor in MoERecommender(CONFIG).state_dict().items()}
    with pytest.raises(ArtifactError, match="do not fit"):
        load_model({**CONFIG.to_dict(), "dim": 16}, arrays)


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(UsageError, match="tpu"):
        choose_device("tpu")


def test_a_missing_gpu_is_said() -> None:
    if torch.cuda.is_available():
        assert choose_device("cuda") == torch.device("cuda")
    else:
        with pytest.raises(UsageError, match="no usable CUDA"):
            choose_device("cuda")
