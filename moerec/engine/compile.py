"""Compiles the kernels ahead of the first start: `python -m moerec.engine.compile`.

They are the same for every bundle. What is made is kept beside the package, or in NUMBA_CACHE_DIR.
"""

import sys
import time
from array import array

import torch

from moerec.engine.counters import Counters
from moerec.engine.encoders import StreamedEncoder
from moerec.engine.policy import ExpertPolicy
from moerec.engine.query import QueryRows
from moerec.engine.retrieval import CompiledRetrieval
from moerec.engine.state import Past, PastEvent, UserState
from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender


def main() -> int:
    """Runs them once, on a model of nothing; 0."""
    started = time.monotonic()
    config = ModelConfig(items=1, dim=8, layers=1, window=2, expert_dim=4)
    with torch.inference_mode():
        model = MoERecommender(config).eval()
        items = model.item_vectors()
        encoder = StreamedEncoder(model, items, 1)
        state = UserState(Past.of([PastEvent(1)], 1))
        tastes = encoder.encode([state])
        QueryRows(encoder, ExpertPolicy(config), Counters()).warm_up(state)
        CompiledRetrieval(model, items).lists(tastes, [array("i")], [1])
    sys.stdout.write(f"kernels ready after {time.monotonic() - started:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
