"""The average follows the weights, buffers included."""

import torch

from moerec.models.recommender import MoERecommender
from moerec.training.averaging import AveragedWeights
from tests.tiny import tiny_config


def set_all(model: MoERecommender, value: float) -> None:
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.fill_(value)


def test_it_is_the_moving_average_of_all_weights_and_buffers() -> None:
    model = MoERecommender(tiny_config(5))
    average = AveragedWeights(model, horizon=4)
    set_all(average.model, 0.0)
    set_all(model, 1.0)
    average.update(step=10_000)
    set_all(model, 2.0)
    average.update(step=10_001)
    for name, tensor in average.model.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.full_like(tensor, 0.6875), msg=name)


def test_the_first_steps_are_forgotten_fast_and_the_model_is_left_alone() -> None:
    model = MoERecommender(tiny_config(5))
    average = AveragedWeights(model, horizon=1_000)
    set_all(average.model, 0.0)
    set_all(model, 1.0)
    average.update(step=0)
    margin = average.model.encoder.blocks[0].moe.router.margin
    assert float(margin) == torch.tensor(0.9)
    assert float(model.encoder.blocks[0].moe.router.margin) == 1.0
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
