"""No tensor is made on the processor for a model that is elsewhere; the router is float32 everywhere.

The device "meta" stands for a GPU: it computes no values, but refuses to mix with others as a GPU does. What
asks for values on the way, and torch's autocast, cannot run on it: those parts are left to a GPU.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moerec.models.config import ModelConfig
from moerec.models.encoder import Encoder
from moerec.models.moe import MoELayer
from moerec.models.recommender import MoERecommender
from moerec.models.router import Router
from moerec.training.averaging import AveragedWeights
from moerec.training.config import TrainConfig
from moerec.training.loop import Trainer, TrainingData
from moerec.training.losses import shared_softmax
from moerec.training.optim import make_optimizer
from moerec.training.precision import is_fast_in_bfloat16, reduced_precision
from moerec.training.segments import Segments
from tests.logs import walking_interactions, with_histories
from tests.training.distributed_worker import CONTENT

META = torch.device("meta")
CONFIG = ModelConfig(items=30, dim=16, heads=2, window=4, experts=4, expert_dim=8, uses_time=1)


def there(*shape: int) -> Tensor:
    return torch.zeros(*shape, device=META, requires_grad=True)


def test_the_stand_in_refuses_to_mix() -> None:
    """Or the tests below would be green for the wrong reason."""
    with pytest.raises(RuntimeError, match="device"):
        there(3) + torch.zeros(3)


def test_summaries_and_shared_negatives_stay_on_their_device() -> None:
    encoder = Encoder(CONFIG).to(META)
    summaries = encoder.summaries(there(2, 11, 16), encoder.last_summary(there(2, 3, 16)))
    targets, negatives = (torch.ones(n, dtype=torch.long, device=META) for n in (5, 7))
    loss = shared_softmax(
        there(5, 16), there(31, 16), targets, 0.1, negatives, torch.zeros(7, device=META)
    )
    for result in (summaries.sum(), loss):
        assert result.device == META
        result.backward()


def test_router_choice_and_controllers_stay_on_their_device() -> None:
    layer = MoELayer(CONFIG).to(META)
    assert layer.router is not None
    masked = torch.zeros(5, 4, dtype=torch.bool, device=META)
    assert {ranked.device for ranked in layer.router.rank(there(5, 4), masked)} == {META}
    layer.steer(torch.zeros(4, dtype=torch.long, device=META), 7, 1e-3)
    assert {buffer.device for buffer in layer.buffers()} == {META}


def test_averaged_weights_and_optimizer_stay_on_their_device() -> None:
    model = MoERecommender(CONFIG).to(META)
    average = AveragedWeights(model, 10)
    average.update(0)
    assert {tensor.device for tensor in average.model.state_dict().values()} == {META}
    optimizer = make_optimizer(model, TrainConfig())
    assert {p.device for group in optimizer.param_groups for p in group["params"]} == {META}


def test_a_training_with_content_begins_there() -> None:
    """Which items may be negatives is asked on the processor by the sampler, and by the loss where the
    model is: on a GPU every training with `--items` failed before its first step."""
    _, histories = with_histories(walking_interactions(6))
    lengths = histories.lengths.astype(np.int32)
    data = TrainingData(histories, lengths, None, "log", "some", True, CONTENT)
    trainer = Trainer(
        replace(CONFIG, features=3, feature_entries=2), TrainConfig(), data, device=META
    )
    assert trainer.settings["items"]


def test_a_batch_moves_as_a_whole() -> None:
    _, histories = with_histories(walking_interactions(6))
    lengths = histories.lengths.astype(np.int32)
    batch = next(Segments(histories, lengths, length=8, batch_events=64, seed=0).epoch(0)).to(META)
    tensors = [batch.targets, batch.target_values]
    for events in (batch.inputs, batch.prefix):
        tensors += [events.items, events.times, events.values]
    assert {tensor.device for tensor in tensors} == {META}


def test_the_router_is_float32_where_products_are_not() -> None:
    """The processor's autocast stands for the GPU's."""
    torch.manual_seed(0)
    router, x = Router(CONFIG), torch.randn(50, 16)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = router(x, x)
        assert nn.Linear(16, 16)(x).dtype == torch.bfloat16
    exact = router(x, x)
    assert reduced.gates_NK.dtype == torch.float32
    assert torch.equal(reduced.gates_NK, exact.gates_NK)
    assert torch.equal(reduced.experts_NK, exact.experts_NK)


@pytest.mark.parametrize("precision", ["fast", "float32"])
def test_products_are_reduced_only_where_that_is_fast(precision: str) -> None:
    cpu = torch.device("cpu")
    with reduced_precision(cpu, precision):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    wanted = precision == "fast" and is_fast_in_bfloat16(cpu)
    assert (product.dtype == torch.bfloat16) == wanted
