"""The laws of the model: what must hold for any weights, shown on small random ones."""

import pytest
import torch
from torch import Tensor

from moerec.models.config import SUMMARY_EVENTS, ModelConfig
from moerec.models.recommender import MoERecommender
from tests.tiny import item_events

CONFIG = ModelConfig(items=60, dim=16, layers=2, heads=2, window=6, expert_dim=8, dropout=0.0)
NOTHING = item_events(torch.zeros(1, 0, dtype=torch.long))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def random_model(config: ModelConfig = CONFIG, seed: int = 0) -> MoERecommender:
    """Random weights, and routers that are far from indifferent."""
    torch.manual_seed(seed)
    model = MoERecommender(config)
    with torch.no_grad():
        for block in model.encoder.blocks:
            block.moe.router.balance_bias.normal_(std=0.1)
            block.attention.distance_bias.normal_()
    return model.eval()


def random_items(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, CONFIG.items + 1, shape, generator=generator)


def vectors(model: MoERecommender, histories: list[Tensor]) -> Tensor:
    ends = torch.cumsum(torch.tensor([len(history) for history in histories]), 0)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
    return model.user_vectors(item_events(torch.cat(histories)), starts, ends).vectors


@pytest.mark.parametrize("place", [0, 3, 8])
def test_causality_by_gradient(place: int) -> None:
    """A row has no gradient at all with respect to later events, and one to its own."""
    model = random_model()
    x = torch.randn(1, 9, CONFIG.dim, requires_grad=True)
    times = torch.zeros(1, 9, dtype=torch.long)
    valid = torch.ones(1, 9, dtype=torch.bool)
    hidden, _ = model.encoder(x, times, valid, torch.zeros(1, CONFIG.dim))
    (gradient,) = torch.autograd.grad(hidden[0, place].sum(), x)
    assert torch.count_nonzero(gradient[0, place + 1 :]) == 0
    assert torch.count_nonzero(gradient[0, place]) > 0


def test_attention_reaches_the_window_and_no_further() -> None:
    """In one block a row sees W events; the summary, which sees more, is switched off here."""
    model = random_model()
    attention = model.encoder.blocks[0].attention
    x = torch.randn(1, 12, CONFIG.dim, requires_grad=True)
    times = torch.zeros(1, 12, dtype=torch.long)
    (gradient,) = torch.autograd.grad(attention(x, times)[0, 11].sum(), x)
    reached = (gradient[0].abs().sum(1) > 0).tolist()
    assert reached == [False] * 6 + [True] * CONFIG.window


def test_padding_changes_nothing() -> None:
    model = random_model()
    items = random_items(2, 7)
    padded = torch.cat([items, torch.zeros(2, 5, dtype=torch.long)], dim=1)
    prefix = item_events(torch.zeros(2, 0, dtype=torch.long))
    alone, _ = model(item_events(items), prefix)
    among, _ = model(item_events(padded), prefix)
    torch.testing.assert_close(among[:, :7], alone)


def test_an_answer_does_not_depend_on_its_batch() -> None:
    model = random_model()
    histories = [random_items(length, seed=length) for length in (1, 4, 11, 30, 200)]
    together = vectors(model, histories)
    alone = torch.cat([vectors(model, [history]) for history in histories])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_what_lies_before_the_reach_changes_nothing() -> None:
    """`user_vectors` may cut a history at `reach`: older events weigh less than rounding."""
    model = random_model()
    recent = random_items(CONFIG.reach)
    longer = torch.cat([random_items(40, seed=9), recent])
    torch.testing.assert_close(
        vectors(model, [longer]), vectors(model, [recent]), atol=1e-6, rtol=0
    )


def test_stream_equals_replay() -> None:
    """The newest row of a growing history is the row that one pass over the whole history has there."""
    model = random_model()
    items = random_items(1, CONFIG.receptive_field + 9)
    hidden, _ = model(item_events(items), NOTHING)
    whole = torch.nn.functional.normalize(hidden[0], dim=1)
    for length in range(1, items.shape[1] + 1):
        one = vectors(model, [items[0, :length]])
        torch.testing.assert_close(one[0], whole[length - 1], atol=1e-5, rtol=0)


def test_the_summary_carried_over_equals_the_summary_of_all() -> None:
    model = random_model()
    x = torch.randn(3, 20, CONFIG.dim)
    whole = model.encoder.summaries(x, torch.zeros(3, CONFIG.dim))
    carried = model.encoder.last_summary(x[:, :12])
    torch.testing.assert_close(carried, whole[:, 11])
    torch.testing.assert_close(model.encoder.summaries(x[:, 12:], carried), whole[:, 12:])


def test_the_summary_forgets_within_its_events() -> None:
    assert CONFIG.summary_decay**SUMMARY_EVENTS < 2e-7


def test_the_past_of_a_user_changes_the_routing() -> None:
    """User-specific routing: the same last items after another past wake other experts somewhere."""
    model = random_model(ModelConfig(items=60, dim=16, layers=1, heads=2, window=1, expert_dim=8))
    with torch.no_grad():
        model.encoder.blocks[0].moe.router.from_summary.weight.mul_(20)
    last = random_items(1)
    pasts = [torch.cat([random_items(30, seed=seed), last]) for seed in range(12)]
    ends = torch.cumsum(torch.tensor([len(past) for past in pasts]), 0)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
    experts = model.user_vectors(item_events(torch.cat(pasts)), starts, ends).experts[:, 0]
    assert len({tuple(row.tolist()) for row in experts}) > 1


def test_vectors_have_length_one_and_the_padding_none() -> None:
    model = random_model()
    torch.testing.assert_close(vectors(model, [random_items(5)]).norm(dim=1), torch.ones(1))
    lengths = model.item_vectors().norm(dim=1)
    assert lengths[0] == 0
    torch.testing.assert_close(lengths[1:], torch.ones(CONFIG.items))


def test_experts_of_the_newest_event_are_reported() -> None:
    """The row reported for each history is the routing of its own last event, not of a neighbour's."""
    model = random_model()
    histories = [random_items(length, seed=length) for length in (3, 40, 8)]
    ends = torch.cumsum(torch.tensor([len(history) for history in histories]), 0)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
    together = model.user_vectors(item_events(torch.cat(histories)), starts, ends).experts
    for row, history in enumerate(histories):
        alone = model.user_vectors(
            item_events(history), torch.tensor([0]), torch.tensor([len(history)])
        ).experts
        assert torch.equal(together[row], alone[0])
    counts = together.sum(-1)
    assert int(counts.min()) >= CONFIG.min_experts
    assert int(counts.max()) <= CONFIG.max_experts
