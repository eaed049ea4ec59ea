"""What the expert policy does under skewed traffic, and what it costs: shares, re-routed answers, NDCG@10.

    python bench/expert_policy.py BUNDLE LOG [--quota 0.2] [--skew 10] [--tokens 20000] [--window 4096]

Questions are the test users of LOG, as `moerec evaluate` has them, answered by the engine's own policy stage
and kernels, 64 at a time; each question counts as a new token. Two kinds of traffic: every test user once, in
random order; and skewed, where users whose newest event wakes the busiest expert of the first layer are asked
for `--skew` times as often. Each is answered by the model alone, with the quota, and with the least
budget. Shares are those of the rows that answers are made of (what is committed to a user's state is never
re-routed): the largest over any window from the second one on.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import ROOT, about
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from moerec.artifacts.bundle import read_bundle
from moerec.data.interactions import read_interactions
from moerec.data.sequences import build_histories
from moerec.data.split import hold_out
from moerec.engine.counters import Counters
from moerec.engine.encoders import StreamedEncoder
from moerec.engine.kernels.rows import Limits
from moerec.engine.policy import WINDOW, ExpertPolicy
from moerec.engine.query import QueryRows
from moerec.engine.state import Past, PastEvent, Taste, UserState
from moerec.evaluation.evaluate import Cases, cases, rank_targets, what_leaves
from moerec.evaluation.metrics import ndcg
from moerec.models.loading import load_model
from moerec.models.recommender import MoERecommender, take_out

FRAME = 64
NEVER = 1.0
"""A quota that nobody passes: shares are counted, and nothing is masked."""


@dataclass(slots=True)
class Remembered:
    """An encoder whose canonical rows are known; query rows are worked out, and their time taken."""

    streamed: StreamedEncoder
    canonical: dict[int | None, Taste]
    rows: int = 0
    seconds: float = 0.0

    def encode(self, states: Sequence[UserState]) -> list[Taste]:
        """The rows as they were made at first."""
        return [self.canonical[state.slot] for state in states]

    def query(self, states: Sequence[UserState], limits: Limits) -> list[Taste]:
        """As the engine does."""
        start = time.thread_time()
        found = self.streamed.query(states, limits)
        self.seconds += time.thread_time() - start
        self.rows += len(states)
        return found

    def release(self, state: UserState) -> None:
        """Everybody stays."""


@dataclass(slots=True)
class Asked:
    """The model, the test users' questions, and the state of each."""

    model: MoERecommender
    items_VD: torch.Tensor
    questions: Cases
    encoder: Remembered
    states: list[UserState]

    def ranks(self, users: Sequence[int], tastes: Sequence[Taste]) -> NDArray[np.int64]:
        """Of the held-out items, over the whole catalogue without what was seen."""
        past = [self.questions.histories[user] for user in users]
        targets = self.questions.targets[list(users)]
        vectors = torch.from_numpy(np.stack([taste.vector for taste in tastes]))
        recent = torch.from_numpy(np.stack([taste.recent for taste in tastes]))
        scores = self.model.score(vectors, recent, self.items_VD)
        take_out(scores, [each.tolist() for each in what_leaves(past, targets)])
        if tastes[0].liked is not None:
            liked = torch.from_numpy(
                np.stack([taste.liked for taste in tastes if taste.liked is not None])
            )
            scores = self.model.rerank(scores, liked)
        return rank_targets(scores.numpy(), past, targets)[0]


@dataclass(slots=True)
class Answers:
    """What came of one traffic under one policy."""

    ranks: list[NDArray[np.int64]] = field(default_factory=list)
    changed: list[bool] = field(default_factory=list)
    largest: list[list[float]] = field(default_factory=list)


def prepare(bundle_path: str, log: str) -> Asked:
    """The state of each test user, encoded once; LeakError where the bundle has seen their test events."""
    bundle = read_bundle(bundle_path)
    interactions = read_interactions(log)
    histories = build_histories(interactions, bundle.id_map)
    held = hold_out(bundle.manifest.held_out, histories, interactions.has_time)
    users, places = held.targets("test")
    bundle.trained_on().check(histories, users, places.astype(np.int64), bundle.id_map)
    questions = cases(histories, users, places.astype(np.int64))
    questions = questions.some(np.flatnonzero([len(each) > 0 for each in questions.histories]))
    model = load_model(bundle.config, bundle.weights())
    items, reach = model.item_vectors(), model.config.reach
    streamed = StreamedEncoder(model, items, len(questions))
    states = []
    for history in questions.histories:
        newest = history[-reach:]
        values = (newest.items, newest.timestamps, newest.values)
        columns = zip(*(each.tolist() for each in values), strict=True)
        states.append(UserState(Past.of((PastEvent(*event) for event in columns), reach)))
    canonical: dict[int | None, Taste] = {}
    for first in range(0, len(states), FRAME):
        some = states[first : first + FRAME]
        for state, taste in zip(some, streamed.encode(some), strict=True):
            canonical[state.slot] = taste
    return Asked(model, items, questions, Remembered(streamed, canonical), states)


def answer(
    asked: Asked, traffic: list[int], policy: ExpertPolicy, wish: int | None, window: int
) -> Answers:
    """All of the traffic, a frame at a time."""
    rows, answers = QueryRows(asked.encoder, policy, Counters()), Answers()
    for first in range(0, len(traffic), FRAME):
        users = traffic[first : first + FRAME]
        states = [replace(asked.states[user], taste=None, limited=None) for user in users]
        found = rows.answer(states, [wish] * len(users), len(users))
        known = [asked.encoder.canonical[state.slot] for state in states]
        answers.changed += [one is not two for one, two in zip(found.tastes, known, strict=True)]
        answers.ranks.append(asked.ranks(users, found.tastes))
        # The quota takes hold when the first window is full, and works on what that one held.
        if first >= 2 * window:
            answers.largest.append(policy.shares().max(1).tolist())
    return answers


def skewed(asked: Asked, factor: float, tokens: int, draw: np.random.Generator) -> list[int]:
    """Users at random, those who wake the busiest expert of the first layer `factor` times as often."""
    experts = [asked.encoder.canonical[state.slot].experts[0] for state in asked.states]
    busiest = np.bincount(np.concatenate(experts)).argmax()
    weights = np.array([factor if busiest in awake else 1.0 for awake in experts])
    found: list[int] = draw.choice(len(weights), tokens, p=weights / weights.sum()).tolist()
    return found


def figures(
    asked: Asked, name: str, traffic: list[int], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each way of answering one traffic."""
    config, found = asked.model.config, []
    ways = {
        "the model alone": (NEVER, None),
        f"quota {options.quota:g}": (options.quota, None),
        f"budget {config.min_experts}": (NEVER, config.min_experts),
    }
    for way, (quota, wish) in ways.items():
        policy = ExpertPolicy(config, quota, window=options.window)
        asked.encoder.rows, asked.encoder.seconds = 0, 0.0
        answers = answer(asked, traffic, policy, wish, options.window)
        ranks, changed = np.concatenate(answers.ranks), np.array(answers.changed)
        largest = np.array(answers.largest or [policy.shares().max(1).tolist()])
        found.append(
            {
                "traffic": name,
                "answered by": way,
                "answers": len(ranks),
                "largest share, by layer": largest.max(0).tolist(),
                "changed answers": float(changed.mean()),
                "ndcg@10": ndcg(ranks, 10),
                "ndcg@10 of the changed": ndcg(ranks[changed], 10) if changed.any() else None,
                "changed": changed,
                "ranks": ranks,
                "epochs": policy.epoch,
                "query row, us": 1e6 * asked.encoder.seconds / max(asked.encoder.rows, 1),
            }
        )
    alone = found[0]["ranks"]
    for row in found:
        changed = row.pop("changed")
        row["ndcg@10 of these before"] = ndcg(alone[changed], 10) if changed.any() else None
    for row in found:
        del row["ranks"]
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """A Markdown table."""
    print(
        "| traffic | answered by | largest share of a window, by layer | changed answers | NDCG@10 "
        "| of the changed (before) | epochs | a query row, us |"
    )
    print("|---" * 8 + "|")
    for row in rows:
        shares = ", ".join(f"{share:.3f}" for share in row["largest share, by layer"])
        after, before = row["ndcg@10 of the changed"], row["ndcg@10 of these before"]
        changed = "-" if after is None else f"{after:.4f} ({before:.4f})"
        spent = f"{row['query row, us']:.0f}" if row["query row, us"] else "-"
        print(
            f"| {row['traffic']} | {row['answered by']} | {shares} | {row['changed answers']:.1%} "
            f"| {row['ndcg@10']:.4f} | {changed} | {row['epochs']} | {spent} |"
        )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("log", metavar="LOG")
    parser.add_argument("--quota", type=float, default=0.2)
    parser.add_argument("--skew", type=float, default=10.0)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--window", type=int, default=WINDOW)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


@torch.inference_mode()
def main() -> int:
    """0 when all traffic was answered."""
    options = parse()
    torch.set_num_threads(1)
    asked = prepare(options.bundle, options.log)
    draw = np.random.default_rng(options.seed)
    everybody = draw.permutation(len(asked.states)).tolist()
    rows = figures(asked, "every test user once", everybody, options)
    clustered = skewed(asked, options.skew, options.tokens, draw)
    rows += figures(asked, f"skewed {options.skew:g} to 1", clustered, options)
    show(rows)
    facts = {"users": len(asked.states), "window": options.window} | about()
    print(" · ".join(f"{key}: {value}" for key, value in facts.items()))
    if options.json:
        options.json.write_text(json.dumps({"rows": rows} | facts, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
