"""A peer of `peers.py`: SASRec (Kang & McAuley 2018) in plain PyTorch, as one would write it for a service.

Letters: B histories, T places (at most the length), D width, V items, K places of a list.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _peer_app import Lists, Question, World, run, without_seen
from torch import Tensor, nn
from torch.nn import functional as F

FILE = "sasrec.pt"


class Block(nn.Module):
    """Causal attention over normed queries, then two pointwise layers; dropout is none, as it serves."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.before = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.between = nn.LayerNorm(dim)
        self.wide = nn.Linear(dim, dim)
        self.back = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] to the same."""
        normed_BTD = self.before(x_BTD)
        query, key, value = (
            each.unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for each in (self.query(normed_BTD), *self.key_value(x_BTD).chunk(2, dim=-1))
        )
        heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x_BTD = normed_BTD + self.out(heads.transpose(1, 2).flatten(2))
        normed_BTD = self.between(x_BTD)
        return normed_BTD + self.back(F.relu(self.wide(normed_BTD)))


class SASRec(nn.Module):
    """Item and position embeddings, blocks, a last norm; scores are products with the item embeddings."""

    def __init__(self, items: int, dim: int, layers: int, heads: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.items = nn.Embedding(items, dim)
        self.positions = nn.Embedding(length, dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        # Scores of about 1: an untrained model's lists must not hang on the last bits.
        nn.init.normal_(self.items.weight, std=dim**-0.5)
        nn.init.normal_(self.positions.weight, std=dim**-0.5)

    def forward(self, items_BT: Tensor) -> Tensor:
        """Vectors after each event, [B, T, D]. Padding stands at the end, where nothing looks at it."""
        x_BTD = self.items(items_BT) * self.items.embedding_dim**0.5
        x_BTD = x_BTD + self.positions.weight[: items_BT.shape[1]]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        vectors_BTD: Tensor = self.norm(x_BTD)
        return vectors_BTD


class Service:
    """The model with lists of a batch at a time."""

    def __init__(self, model: SASRec) -> None:
        self._model = model

    @torch.inference_mode()
    def best(self, questions: Sequence[Question], k: int) -> Lists:
        """The lists of a batch."""
        length = self._model.length
        recent = [torch.tensor(each.history[-length:]) for each in questions]
        vectors_BTD = self._model(nn.utils.rnn.pad_sequence(recent, batch_first=True))
        last_B = torch.tensor([len(each) - 1 for each in recent])
        vectors_BD = vectors_BTD[torch.arange(len(recent)), last_B]
        scores_BV = vectors_BD @ self._model.items.weight.T
        rows = [row for row, each in enumerate(questions) for _ in each.history]
        seen = [item for each in questions for item in each.history]
        scores_BV[rows, seen] = -torch.inf
        scores_BK, items_BK = torch.topk(scores_BV, k)
        return items_BK.numpy(), scores_BK.numpy()


def make(world: World, folder: Path, shape: dict[str, Any]) -> None:
    """Seeded, not trained: speed does not hang on the weights, and answers are compared with themselves."""
    torch.manual_seed(shape["seed"])
    names = ("dim", "layers", "heads", "length")
    given = {"items": len(world.item_ids)} | {name: shape[name] for name in names}
    torch.save({"shape": given, "weights": SASRec(**given).state_dict()}, folder / FILE)


def load(_: World, folder: Path, settings: dict[str, Any]) -> Service:
    """For the service."""
    torch.set_num_threads(settings["threads"])
    return Service(_model(folder))


def _model(folder: Path) -> SASRec:
    found = torch.load(folder / FILE)
    model = SASRec(**found["shape"])
    model.load_state_dict(found["weights"])
    return model.eval()


@torch.inference_mode()
def offline(_: World, folder: Path, asked: Sequence[Question], k: int) -> Lists:
    """The model's forward on one history at a time, without padding, and a full sort."""
    model = _model(folder)
    rows = [model(torch.tensor([each.history[-model.length :]]))[0, -1] for each in asked]
    scores = np.stack([F.linear(model.items.weight, row).numpy() for row in rows])
    return without_seen(scores, asked, k)


def libraries() -> dict[str, str]:
    """Versions."""
    return {name: version(name) for name in ("torch", "fastapi", "uvicorn")}


if __name__ == "__main__":
    run(make, load, offline, libraries)
