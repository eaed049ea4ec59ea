"""Items by id, number and vector, while they come and go."""

from pathlib import Path

import numpy as np
import pytest
import torch

from moerec.artifacts.bundle import Bundle
from moerec.engine.catalogue import SPARE, Catalogue, Effect
from moerec.models.loading import load_model
from moerec.types import ItemChange, ItemField, ItemId
from tests.tiny import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Items i39 and i40 are without events."""
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", 40, groups=4)


@pytest.fixture
def catalogue(bundle: Bundle) -> Catalogue:
    return catalogue_of(bundle)


def catalogue_of(bundle: Bundle) -> Catalogue:
    model = load_model(bundle.config, bundle.weights())
    return Catalogue(model, bundle.id_map.ids, bundle.content)


def put(number: int, item_id: str, **fields: ItemField) -> ItemChange:
    return ItemChange(number, ItemId(item_id), fields)


def removal(number: int, item_id: str) -> ItemChange:
    return ItemChange(number, ItemId(item_id), None, removed=True)


def change(catalogue: Catalogue, *changes: ItemChange) -> Effect:
    content = catalogue.content(changes)
    catalogue.make_room(changes)
    return catalogue.apply(changes, content)


def test_a_new_item_has_the_vector_that_its_content_has_in_the_bundle(
    catalogue: Catalogue,
) -> None:
    """Item 40 of the bundle is of group 3, and nothing else is known of it."""
    effect = change(catalogue, put(1, "new", group="g3", title="A new one"))
    assert effect == Effect({ItemId("new")}, [41])
    assert catalogue.indexes[ItemId("new")] == 41
    assert catalogue.ids[40] == "new"
    assert catalogue.number == 1
    assert catalogue.added == 1
    torch.testing.assert_close(catalogue.vectors[41], catalogue.vectors[40])
    torch.testing.assert_close(catalogue.units[41], catalogue.units[40])
    assert catalogue.vectors[41].norm().item() == pytest.approx(0.9)


def test_an_item_that_the_model_knows_keeps_its_vector(catalogue: Catalogue) -> None:
    before = catalogue.vectors.clone()
    assert change(catalogue, put(3, "i5", group="g0")) == Effect(set(), [])
    assert torch.equal(catalogue.vectors, before)
    assert catalogue.number == 3


def test_other_content_moves_an_item_that_is_nothing_else(catalogue: Catalogue) -> None:
    change(catalogue, put(1, "new", group="g0"))
    assert change(catalogue, put(2, "new", group="g0", title="Other words")) == Effect(set(), [])
    assert change(catalogue, put(3, "new", group="g1")) == Effect(set(), [41])
    assert change(catalogue, put(4, "i40", group="g1")) == Effect(set(), [40])
    torch.testing.assert_close(catalogue.vectors[41], catalogue.vectors[40])


def test_without_words_that_the_model_knows_it_is_nowhere(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    assert change(catalogue, put(1, "new", colour="red")).moved == [41]
    assert not catalogue.vectors[41].any()
    without = catalogue_of(tiny_bundle(tmp_path / "b", 40))
    assert change(without, put(1, "new", group="g0")).moved == [41]
    assert not without.vectors[41].any()


def test_content_that_cannot_be_read_counts_as_none(
    catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    """A page with such an item was tried for ever, and an engine that met it at its start did not start: half
    of a surrogate pair is a text for JSON and for Python, and none for the library of tables."""
    page = [put(number, f"n{number}", group="g3") for number in range(1, 12)]
    page[6] = put(7, "n7", group="\ud800")
    assert change(catalogue, *page).moved == [*range(41, 52)]
    assert not catalogue.vectors[47].any()
    for index in {*range(41, 52)} - {47}:
        torch.testing.assert_close(catalogue.vectors[index], catalogue.vectors[40])
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "'n7'" in record.getMessage()


def test_removed_items_are_gone_until_they_are_put_again(catalogue: Catalogue) -> None:
    change(catalogue, put(1, "new", group="g0"))
    assert change(catalogue, removal(2, "new"), removal(3, "i7")) == Effect(set(), [])
    assert catalogue.gone.nonzero()[0].tolist() == [7, 41]
    assert catalogue.removed == 2
    assert change(catalogue, removal(4, "new")) == Effect(set(), [])
    assert catalogue.removed == 2
    assert catalogue.indexes[ItemId("new")] == 41
    assert change(catalogue, put(5, "new", group="g0"), put(6, "i7")) == Effect(set(), [])
    assert not catalogue.gone.any()
    assert catalogue.removed == 0


def test_to_remove_what_was_never_there_changes_nothing(catalogue: Catalogue) -> None:
    assert change(catalogue, removal(1, "nobody")) == Effect(set(), [])
    assert not catalogue.gone.any()
    assert catalogue.removed == 0
    assert ItemId("nobody") not in catalogue.indexes


def test_room_is_made_for_many(catalogue: Catalogue) -> None:
    """Rows that were handed out before stay as they are."""
    before, first = catalogue.vectors, catalogue.vectors.clone()
    many = [put(n, f"n{n}", group=f"g{n % 4}") for n in range(1, 2 * SPARE)]
    for begin in range(0, len(many), 500):
        change(catalogue, *many[begin : begin + 500])
    assert len(catalogue.vectors) == 41 + len(many) == len(catalogue.ids) + 1
    assert torch.equal(before, first)
    assert torch.equal(catalogue.vectors[:41], first)
    assert np.isclose(catalogue.vectors[41:].norm(dim=1), 0.9).all()
