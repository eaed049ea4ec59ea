"""Which way of computing the experts is the fastest? Milliseconds of one layer, by tokens and width.

    python bench/expert_kernels.py [--device cpu] [--experts 8] [--repeats 30] [--json FILE]

Every way gets the same tokens, weights and routing (2 to 4 experts a token, 2.4 in the mean, some experts
busier than others) and must give what the product gives. "answer" is a forward pass in float32 without
gradients, as when a user is scored; "training" is forward and backward in the precision in which
`moerec train` trains on the device. Ways take turns, so that other work on the machine meets all of them
alike; a figure is the least of all turns, of one thread's processor time; on a GPU of wall time.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _machine import ROOT, about
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(ROOT))

from moerec.models.experts import Experts, grouped, one_by_one
from moerec.models.router import Routing
from moerec.training.precision import is_fast_in_bfloat16, reduced_precision

TOKENS = (32, 320, 1_600, 6_400)
SHAPES = ((64, 128), (128, 256))
WARMUP = 3

Way = Callable[[Experts, Tensor, Routing], Tensor]


def product(experts: Experts, x_ND: Tensor, routing: Routing) -> Tensor:
    """What `moerec` runs on the device: sort by expert, then one by one, or one grouped product."""
    result: Tensor = experts(x_ND, routing)
    return result


def swiglu(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """One expert, or with a leading axis all of them."""
    gate, up = (x @ gate_up).chunk(2, dim=-1)
    return (functional.silu(gate) * up) @ down


def gather_loop(experts: Experts, x_ND: Tensor, routing: Routing) -> Tensor:
    """Expert after expert: find its tokens, gather them, add the results where they belong."""
    sums_ND = torch.zeros(x_ND.shape, dtype=torch.float32, device=x_ND.device)
    for expert in range(len(experts.down_EFD)):
        chosen_NK = (routing.experts_NK == expert) & routing.active_NK
        token, place = chosen_NK.nonzero(as_tuple=True)
        out = swiglu(x_ND[token], experts.gate_up_EDG[expert], experts.down_EFD[expert])
        sums_ND = sums_ND.index_add(0, token, out * routing.gates_NK[token, place, None])
    return sums_ND


def sorted_slots(experts: Experts, routing: Routing) -> tuple[Tensor, Tensor, Tensor]:
    """Active slots, expert after expert; their experts; and how many each expert has."""
    of_slot = routing.experts_NK.reshape(-1)
    active = routing.active_NK.reshape(-1).nonzero().squeeze(1)
    sorted_, order = torch.sort(of_slot[active], stable=True)
    return active[order], sorted_, torch.bincount(sorted_, minlength=len(experts.down_EFD))


def added(x_ND: Tensor, out_SD: Tensor, slots_S: Tensor, routing: Routing) -> Tensor:
    """Each token's sum of gate * result."""
    weighted_SD = out_SD * routing.gates_NK.reshape(-1)[slots_S, None]
    sums_ND = torch.zeros(x_ND.shape, dtype=weighted_SD.dtype, device=x_ND.device)
    return sums_ND.index_add(0, slots_S // routing.experts_NK.shape[1], weighted_SD)


def sorted_loop(experts: Experts, x_ND: Tensor, routing: Routing) -> Tensor:
    """Sort by expert, split, one expert after the other, its weights by an index into all experts'."""
    slots_S, _, load = sorted_slots(experts, routing)
    parts = [
        swiglu(rows, experts.gate_up_EDG[expert], experts.down_EFD[expert])
        for expert, rows in enumerate(
            x_ND[slots_S // routing.experts_NK.shape[1]].split(load.tolist())
        )
    ]
    return added(x_ND, torch.cat(parts), slots_S, routing)


def padded_bmm(experts: Experts, x_ND: Tensor, routing: Routing) -> Tensor:
    """Every expert padded to the busiest one's load, then one batched product for all."""
    slots_S, expert_S, load = sorted_slots(experts, routing)
    place_S = torch.arange(len(slots_S), device=x_ND.device) - (load.cumsum(0) - load)[expert_S]
    shape = (len(load), int(load.max()), x_ND.shape[1])
    tokens_S = slots_S // routing.experts_NK.shape[1]
    rows_EMD = x_ND.new_zeros(shape).index_put((expert_S, place_S), x_ND[tokens_S])
    out_EMD = swiglu(rows_EMD, experts.gate_up_EDG, experts.down_EFD)
    return added(x_ND, out_EMD[expert_S, place_S], slots_S, routing)


def taken_apart(experts: Experts, x_ND: Tensor, routing: Routing) -> Tensor:
    """The sorted loop with the weights taken apart once: the product's way on a processor."""
    return by(one_by_one, experts, x_ND, routing)


def grouped_mm(experts: Experts, x_ND: Tensor, routing: Routing) -> Tensor:
    """Torch's grouped product over the sorted rows: the product's way on a GPU."""
    return by(grouped, experts, x_ND, routing)


def by(
    compute: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    experts: Experts,
    x_ND: Tensor,
    routing: Routing,
) -> Tensor:
    """One of the product's own ways, whatever the device."""
    slots_S, _, load_E = sorted_slots(experts, routing)
    rows_SD = x_ND[slots_S // routing.experts_NK.shape[1]]
    out_SD = compute(rows_SD, load_E, experts.gate_up_EDG, experts.down_EFD)
    return added(x_ND, out_SD, slots_S, routing)


WAYS: dict[str, Way] = {
    "product": product,
    "gather loop": gather_loop,
    "sorted loop": sorted_loop,
    "taken apart": taken_apart,
    "padded bmm": padded_bmm,
    "grouped_mm": grouped_mm,
}


def some_routing(tokens: int, experts: int, device: torch.device) -> Routing:
    """As a trained router decides: 2 always, a third for 30 % of the tokens, a fourth for 10 %."""
    taste = 0.3 * torch.randn(experts)
    scores = torch.sigmoid(torch.randn(tokens, experts) + taste)
    ranked, order = scores.sort(dim=1, descending=True)
    share = torch.rand(tokens, 1)
    active = torch.cat([torch.ones(tokens, 2).bool(), share < 0.3, share < 0.1], dim=1)
    gates = ranked[:, :4] * active
    gates = gates / gates.sum(1, keepdim=True)
    return Routing(order[:, :4].to(device), gates.to(device), active.to(device))


def run(
    way: Way, experts: Experts, x: Tensor, routing: Routing, training: bool, from_above: Tensor
) -> Tensor:
    """One pass of one way."""
    if not training:
        with torch.inference_mode():
            return way(experts, x, routing)
    experts.zero_grad(set_to_none=True)
    with reduced_precision(x.device):
        out = way(experts, x.requires_grad_(), routing)
    out.backward(from_above)  # type: ignore[no-untyped-call]
    return out


def milliseconds(
    shape: tuple[int, int], tokens: int, training: bool, options: argparse.Namespace
) -> dict[str, float]:
    """Least time of each way; SystemExit if one of them computes something else."""
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    experts = Experts(options.experts, *shape).to(device)
    x, above = torch.randn(2, tokens, shape[0]).to(device)
    routing = some_routing(tokens, options.experts, device)
    expected = run(product, experts, x, routing, training, above)
    times: dict[str, list[float]] = {}
    for name, way in WAYS.items():
        error = (run(way, experts, x, routing, training, above) - expected).abs().max()
        if error > (0.05 if training else 1e-3):
            sys.exit(f"{name} computes something else than the product: {error:.4f}")
    for turn in range(WARMUP + options.repeats):
        for name, way in WAYS.items():
            begun = now(device)
            run(way, experts, x, routing, training, above)
            if turn >= WARMUP:
                times.setdefault(name, []).append(1_000 * (now(device) - begun))
    return {name: min(found) for name, found in times.items()}


def now(device: torch.device) -> float:
    """Seconds when the device has done what it was asked for: of the clock, or of the one thread."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each pass, width and number of tokens."""
    rows = []
    for training in (False, True):
        for dim, hidden in SHAPES:
            for tokens in TOKENS:
                found = milliseconds((dim, hidden), tokens, training, options)
                name = "training" if training else "answer"
                rows.append({"pass": name, "d": dim, "h": hidden, "tokens": tokens, "ms": found})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """A Markdown table; the fastest of a row in bold."""
    print(f"| pass | d / h | tokens | {' | '.join(WAYS)} |")
    print("|---" * (3 + len(WAYS)) + "|")
    for row in rows:
        least = min(row["ms"].values())
        cells = [f"**{ms:.2f}**" if ms == least else f"{ms:.2f}" for ms in row["ms"].values()]
        print(
            f"| {row['pass']} | {row['d']} / {row['h']} | {row['tokens']:,} | {' | '.join(cells)} |"
        )


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options)
    show(rows)
    reduced = is_fast_in_bfloat16(torch.device(options.device))
    facts = about() | {
        "torch": torch.__version__,
        "threads": 1,
        "training in": "bfloat16" if reduced else "float32",
    }
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
