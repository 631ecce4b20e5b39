"""CPR in lightly's MoCo: the same training twice, first plain, then with positives from a cascade.

    pip install -e '.[examples]' -c constraints.txt
    python -m examples.lightly_moco

Encoders, heads, memory and momentum are lightly's; :mod:`cprlib` adds the lines marked CPR. The videos are made here:
squares that move to one of four sides; the background does not tell which.
"""

import copy

import torch
from lightly.models.modules import MoCoProjectionHead
from lightly.models.modules.memory_bank import MemoryBankModule
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from cprlib.cascade import cascade_retrieve, plan_stages
from cprlib.losses import contrastive_logits, multi_instance_nce
from cprlib.miners import positives_mask

K, TOP_K = 128, 3  # rows of the memory, positives mined per query


def made_clips(number: int, generator: torch.Generator, size: int = 24) -> dict[str, Tensor]:
    """View -> (N, 3, T, H, W) float; RGB and flow of squares that move, and the side they move to, (N,) int64."""
    sides = torch.randint(4, (number,), generator=generator)
    step = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])[sides]
    start = torch.randint(8, 12, (number, 2), generator=generator)
    rgb = torch.rand(number, 3, 1, 1, 1, generator=generator).expand(-1, -1, 4, size, size).clone()
    flow = torch.zeros(number, 3, 4, size, size)
    for n in range(number):
        for t in range(4):
            y, x = (start[n] + t * step[n]).tolist()
            rgb[n, :, t, y : y + 5, x : x + 5] = 1
            flow[n, :2, t, y : y + 5, x : x + 5] = step[n].flip(0).view(2, 1, 1).float()
    return {"rgb": rgb, "flow": flow, "side": sides}


def augment(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise and change each clip's brightness; a stand-in for lightly's transforms, which are for images."""
    scale = 0.6 + 0.8 * torch.rand(len(clips), 1, 1, 1, 1, generator=generator)
    return clips * scale + 0.1 * torch.randn(clips.shape, generator=generator)


def network() -> nn.Module:
    """A small video network with lightly's projection head."""
    layers = [nn.Conv3d(3, 16, 3, (1, 2, 2)), nn.BatchNorm3d(16), nn.ReLU(), nn.Conv3d(16, 32, (2, 3, 3), (1, 2, 2))]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), MoCoProjectionHead(32, 32, 16))


def moco(
    view: str, sampler: nn.Module | None = None, steps: int = 200, seed: int = 0
) -> tuple[nn.Module, float | None]:
    """Train a network of one view.

    Args:
        view: "rgb" or "flow".
        sampler: frozen flow network to mine with; None: plain MoCo.
        steps, seed: training steps, and the seed of all random draws.

    Returns:
        The network, and the share of mined rows that move like the query (None if nothing is mined).
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    encoder = network()
    momentum_encoder = copy.deepcopy(encoder)
    deactivate_requires_grad(momentum_encoder)
    memory = {v: MemoryBankModule((K, 16)) for v in ("rgb", "flow")}  # CPR: a second bank, filled in parallel
    sides = torch.full((K,), -1)  # to count right rows; the miner does not see them
    optimizer = torch.optim.Adam(encoder.parameters(), 3e-3)
    stages = plan_stages(K, ("flow", "rgb"), num_stages=3, ratio=0.5, top_k=TOP_K)  # CPR
    right = []
    for step in range(steps):
        clips = made_clips(32, generator)
        update_momentum(encoder, momentum_encoder, 0.99)
        q = normalize(encoder(augment(clips[view], generator)), dim=1)
        keys = {view: normalize(momentum_encoder(augment(clips[view], generator)), dim=1)}
        if sampler is not None:  # CPR
            with torch.no_grad():
                keys["flow"] = normalize(sampler(clips["flow"]), dim=1)
        bank = {v: memory[v](keys[v], update=True)[1].T for v in keys}  # (K, D), before these keys enter
        logits = contrastive_logits(q, keys[view], bank[view], tau=0.1)
        if sampler is not None and step * len(q) >= K:  # CPR: a half-empty memory mines noise
            mined = cascade_retrieve(keys, bank, stages)
            positives = positives_mask(mined, K)
            loss = multi_instance_nce(logits, torch.cat([torch.ones(len(q), 1) > 0, positives], dim=1))
            right.append((sides[mined.indices] == clips["side"][:, None]).float().mean())
        else:
            loss = cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))
        place = (step * len(q) + torch.arange(len(q))) % K
        sides[place] = clips["side"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder, float(torch.stack(right[-10:]).mean()) if right else None


@torch.no_grad()
def nearest_is_right(encoder: nn.Module, view: str, seed: int = 1) -> float:
    """Share of new clips whose nearest neighbour moves to the same side."""
    clips = made_clips(200, torch.Generator().manual_seed(seed))
    features = normalize(encoder.eval()(clips[view]), dim=1)
    nearest = (features @ features.T).fill_diagonal_(-1).argmax(dim=1)
    return float((clips["side"][nearest] == clips["side"]).float().mean())


def main(steps: int = 200) -> dict[str, float]:
    """Plain MoCo in flow and in RGB, then MoCo with CPR in RGB; prints and returns shares in [0, 1]."""
    flow, _ = moco("flow", steps=steps)
    flow.eval().requires_grad_(False)
    plain, _ = moco("rgb", steps=steps)
    mined, pmr = moco("rgb", flow, steps=steps)
    found = {"flow MoCo": nearest_is_right(flow, "flow"), "RGB MoCo": nearest_is_right(plain, "rgb")}
    found |= {"RGB MoCo + CPR": nearest_is_right(mined, "rgb"), "mined rows that are right": pmr}
    for name, share in found.items():
        print(f"{name:28} {share:.0%}")
    return found


if __name__ == "__main__":
    main()
