"""What lists cost with new items that the index has not met, and whether they find them."""

import argparse
import statistics
from array import array
from typing import Any, NamedTuple

import numpy as np
import torch
from lists import from_log, synthetic, tastes_of, timed
from torch import Tensor
from torch.nn.functional import normalize

from moerec.artifacts.bundle import Bundle, UserSample
from moerec.engine.index import make_index
from moerec.engine.retrieval import CompiledRetrieval, List
from moerec.engine.state import Taste
from moerec.models.loading import load_model
from moerec.models.recommender import MoERecommender

NOISE = 0.3
"""The length of what is added to an item's direction to make a new one: their cosine is about .96."""


class Asking(NamedTuple):
    """Who asks for lists, and what is left out of them; the model that knows both."""

    model: MoERecommender
    tastes: list[Taste]
    seen: list["array[int]"]


def asking(bundle: Bundle, options: argparse.Namespace) -> Asking:
    """Users of the log, or of the synthetic world."""
    model = load_model(bundle.config, bundle.weights())
    drawn = (
        synthetic(bundle, options.asked, options.seed)
        if str(options.log) == "synthetic"
        else from_log(options.log, bundle, options.asked, options.seed)
    )
    seen = [array("i", user.items.tolist()) for user in drawn]
    return Asking(model, tastes_of(model, drawn, options.batch), seen)


def with_new_ones(items_VD: Tensor, count: int, seed: int) -> Tensor:
    """The items, and so many more that lie near some of them."""
    draw = torch.Generator().manual_seed(seed)
    of = items_VD[torch.randint(1, len(items_VD), (count,), generator=draw)]
    noise = normalize(torch.randn(of.shape, generator=draw), dim=1)
    more = normalize(of + NOISE * noise, dim=1) * of.norm(dim=1, keepdim=True)
    return torch.cat([items_VD, more])


class Way(NamedTuple):
    """One way to make lists, and one that reads everything there is then."""

    name: str
    retrieval: CompiledRetrieval
    exact: CompiledRetrieval


@torch.inference_mode()
def measure(bundle: Bundle, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each number of new items, one for an index made anew of all, and one for no index.

    None where an engine would have no index.
    """
    who, sample = asking(bundle, options), bundle.user_sample()
    items = who.model.item_vectors()
    ways = [] if sample is None else ways_of(who.model, items, sample, options)
    spent: list[list[float]] = [[] for _ in ways]
    shares: list[list[float]] = [[] for _ in ways]
    new: list[list[float]] = [[] for _ in ways]
    for turn in range(options.repeats):
        for first in range(0, len(who.tastes), options.batch):
            span = slice(first, first + options.batch)
            asked = who.tastes[span], who.seen[span], options.k
            for place, way in enumerate(ways):
                found, us = timed(way.retrieval, *asked)
                spent[place].append(us)
                if not turn:
                    shares[place] += overlaps(found, timed(way.exact, *asked)[0])
                    new[place] += [float(np.mean(np.array(one) >= len(items))) for one, _ in found]
    return [
        {
            "items": way.name,
            "us": statistics.median(spent[place]),
            "ratio": statistics.median(spent[place]) / statistics.median(spent[0]),
            "recall": statistics.mean(shares[place]),
            "new_share": statistics.mean(new[place]),
        }
        for place, way in enumerate(ways)
    ]


def ways_of(
    model: MoERecommender, items_VD: Tensor, sample: UserSample, options: argparse.Namespace
) -> list[Way]:
    """What is measured; nothing where an index would not pay."""
    most, known = max(options.new), len(items_VD)
    all_items = with_new_ones(items_VD, most, options.seed)
    table, temperature = model.transitions, model.config.temperature
    index = make_index(items_VD, sample, table, temperature)
    if not len(index.centroids_CD):
        return []
    ways = []
    for count in options.new:
        rows = all_items[: known + count]
        retrieval = CompiledRetrieval(model, items_VD, index)
        retrieval.see_items(rows, np.zeros(len(rows), np.bool_), range(known, known + count))
        ways.append(Way(f"{count:,} new", retrieval, CompiledRetrieval(model, rows)))
    anew = make_index(all_items, sample, table, temperature)
    exact = CompiledRetrieval(model, all_items)
    return [
        *ways,
        Way(f"{most:,} new, the index made anew", CompiledRetrieval(model, all_items, anew), exact),
        Way(f"{most:,} new, all items read", exact, exact),
    ]


def overlaps(ours: list[List], theirs: list[List]) -> list[float]:
    """Of each exact list the share that was found."""
    pairs = zip(ours, theirs, strict=True)
    return [len({*found} & {*wanted}) / len(wanted) for (found, _), (wanted, _) in pairs]
