"""Presets by name, single knobs, twins: what a caller says becomes a model and its training."""

from dataclasses import replace

import pytest

from moerec.errors import UsageError
from moerec.models.flops import encoder_cost, encoder_parameters
from moerec.training.config import LogSize, presets
from moerec.training.presets import KNOBS, PRESETS, Setting, Variant, configurations

LONG = LogSize(990_000, 6_000, 3_400)
SHORT = LogSize(150_000, 22_000, 12_000, has_time=True)
both_shapes = pytest.mark.parametrize("log", [LONG, SHORT], ids=["long", "short"])


@both_shapes
def test_auto_is_the_preset_of_the_size(log: LogSize) -> None:
    assert configurations(Variant(), log, seed=3) == presets(log, seed=3)


@both_shapes
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_trains_what_it_serves(name: str, log: LogSize) -> None:
    model, training = configurations(Variant(name), log)
    assert training.length >= model.receptive_field


@both_shapes
@pytest.mark.parametrize("preset", ["auto", "compare"])
def test_twins_match_their_mixture(preset: str, log: LogSize) -> None:
    moe, training = configurations(Variant(preset), log)
    total, total_training = configurations(Variant(preset, twin="total"), log)
    active, _ = configurations(Variant(preset, twin="active"), log)
    assert encoder_parameters(total).total == pytest.approx(encoder_parameters(moe).total, rel=0.02)
    assert encoder_cost(active).total == pytest.approx(encoder_cost(moe).total, rel=0.02)
    for twin in (total, active):
        assert twin.is_dense
        assert twin.expert_dim % 8 == 0
        unlike = ("experts", "min_experts", "max_experts", "mean_experts", "expert_dim")
        of_the_mixture = {name: getattr(moe, name) for name in unlike}
        assert replace(twin, **of_the_mixture) == moe
    assert total_training == training
    narrow, _ = configurations(Variant(preset, twin=40), log)
    assert (narrow.is_dense, narrow.expert_dim, narrow.dim) == (True, 40, moe.dim)


@both_shapes
def test_compare_is_cheaper_than_auto_and_much_cheaper_than_its_twin(log: LogSize) -> None:
    compare, _ = configurations(Variant("compare"), log)
    auto, _ = configurations(Variant(), log)
    twin, _ = configurations(Variant("compare", twin="total"), log)
    assert encoder_cost(compare).total < encoder_cost(auto).total
    assert encoder_cost(compare).total < 0.4 * encoder_cost(twin).total


@both_shapes
def test_sasrec_is_a_plain_dense_transformer(log: LogSize) -> None:
    model, training = configurations(Variant("sasrec"), log)
    assert model.is_dense
    assert (model.gated, model.uses_time) == (0, 0)
    assert (training.negatives, training.neighbors) == (0, 0)
    with pytest.raises(UsageError, match="dense model has no twin"):
        configurations(Variant("sasrec", twin="total"), log)


def test_settings_replace_the_presets_and_come_before_the_twin() -> None:
    settings: dict[str, Setting] = {"dropout": "0.3", "layers": 3, "patience": "7"}
    model, training = configurations(Variant(settings=settings), LONG, epochs=4)
    assert (model.dropout, model.layers, training.patience, training.epochs) == (0.3, 3, 7, 4)
    wide, _ = configurations(Variant(settings={"expert_dim": 256}, twin="total"), LONG)
    assert wide.expert_dim > 8 * 256
    assert Variant(settings=settings).to_dict()["settings"] == {
        "dropout": 0.3,
        "layers": 3,
        "patience": 7,
    }
    off, _ = configurations(Variant(settings={"uses_time": 0}), SHORT)
    assert not off.uses_time


@pytest.mark.parametrize("name", ["liked_factors", "liked_from"])
def test_the_head_for_liked_is_no_knob(name: str) -> None:
    """`--set liked_factors=8` put a head into the network of a log without values. Nobody taught it, and
    the bundle told probabilities all the same. `--liked` is the option.
    """
    with pytest.raises(UsageError, match=f"no setting '{name}'"):
        Variant(settings={name: 8})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": 0.3}, "no setting 'drop'"),
        ({"items": 5}, "no setting 'items'"),
        ({"seed": 5}, "no setting 'seed'"),
        ({"dropout": "much"}, "dropout='much' is not a number"),
        ({"dropout": "nan"}, "dropout='nan' is not a number"),
        ({"layers": "2.5"}, "layers='2.5' is not a whole number"),
        ({"layers": ""}, "layers='' is not a whole number"),
        ({"precision": "double"}, "precision='double' is not known"),
    ],
)
def test_a_wrong_setting_is_said_at_once(settings: dict[str, Setting], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Variant(settings=settings)


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(UsageError) as refused:
        Variant(settings={"drop": 1})
    assert all(name in refused.value.remedy for name in (*KNOBS, "--epochs", "--seed"))
    with pytest.raises(UsageError) as refused:
        Variant("big")
    assert all(name in refused.value.remedy for name in PRESETS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 1}, r"dropout must lie in \[0, 1\)"),
        ({"heads": 3}, "multiple of heads"),
        ({"batch_events": 0}, "batch_events .* must be positive"),
        ({"mask_rate": 2}, "mask_rate must lie"),
        ({"neighbors": -1}, "neighbors must not be negative"),
        ({"gated": 2}, "gated and user_routing must be 0 or 1"),
        ({"window": 80}, "length=200 is shorter than the 317 events"),
        ({"uses_time": 1}, "the log has no times"),
    ],
)
def test_values_that_do_not_go_together(settings: dict[str, Setting], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        configurations(Variant(settings=settings), LONG)


def test_a_twin_of_no_width() -> None:
    with pytest.raises(UsageError, match="hidden width 0"):
        configurations(Variant(twin=0), LONG)
