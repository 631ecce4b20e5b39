"""A cascade as a miner for the losses of pytorch-metric-learning, without labels.

    pip install -e '.[examples]' -c constraints.txt
    python -m examples.metric_learning_miner

Its miners turn embeddings and labels into pairs. :class:`CascadeMiner` is such a miner: "labels" are video numbers,
pairs of the same video are positive, and so are pairs that two views agree on.
"""

from collections.abc import Mapping

import torch
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor, nn
from torch.nn.functional import normalize

from cprlib.cascade import cascade_retrieve, plan_stages
from cprlib.miners import positives_mask


class CascadeMiner(BaseMiner):
    """Pairs from a cascade.

    Args:
        view: of the embeddings that the loss gets; pass those of the other views to :meth:`see`.
        num_stages, ratio, top_k: see :func:`cprlib.cascade.plan_stages`; the other views come first.
    """

    def __init__(self, view: str, num_stages: int = 3, ratio: float = 0.5, top_k: int = 3, **kwargs):
        super().__init__(**kwargs)
        self.view, self.plan = view, {"num_stages": num_stages, "ratio": ratio, "top_k": top_k}
        self.queries, self.references = {}, {}

    def see(self, queries: Mapping[str, Tensor], references: Mapping[str, Tensor]) -> "CascadeMiner":
        """Take the other views' features of the batch, view -> (B, D), and of the references, (K, D)."""
        self.queries, self.references = dict(queries), dict(references)
        return self

    def mine(self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor) -> tuple[Tensor, ...]:
        """Anchors and positives, anchors and negatives: row numbers of the batch and of the references."""
        queries = {v: normalize(x, dim=1) for v, x in {**self.queries, self.view: embeddings}.items()}
        bank = {v: normalize(x, dim=1) for v, x in {**self.references, self.view: ref_emb}.items()}
        own = labels[:, None] == ref_labels[None, :]
        mined = cascade_retrieve(queries, bank, plan_stages(len(ref_emb), tuple(queries), **self.plan), exclude=own)
        positives = own | positives_mask(mined, len(ref_emb))
        return *positives.nonzero(as_tuple=True), *(~positives).nonzero(as_tuple=True)


def made_videos(number: int, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Synthetic features of videos of five classes, with separate noise per view: view -> (N, 20), and (N,) class."""
    classes = torch.randint(5, (number,), generator=generator)
    signal = 2.0 * torch.eye(5)[classes].repeat(1, 4)
    return {v: signal + torch.randn(number, 20, generator=generator) for v in ("rgb", "flow")}, classes


def main(steps: int = 80, seed: int = 0) -> dict[str, float]:
    """Train a linear network on RGB features without and with mined pairs; shares of right nearest neighbours."""
    found = {}
    for name, mines in (("own video alone", False), ("with the cascade", True)):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        videos, classes = made_videos(128, generator)
        network, loss_of, miner = nn.Linear(20, 8), SupConLoss(temperature=0.2), CascadeMiner("rgb")
        optimizer, numbers, rights = torch.optim.Adam(network.parameters(), 1e-2), torch.arange(128), []
        for _ in range(steps):
            batch = torch.randperm(128, generator=generator)[:32]
            noisy = [videos["rgb"] + 0.5 * torch.randn(128, 20, generator=generator) for _ in range(2)]
            queries, references = network(noisy[0][batch]), network(noisy[1]).detach()
            pairs = None
            if mines:
                flow = videos["flow"]
                pairs = miner.see({"flow": flow[batch]}, {"flow": flow})(queries, batch, references, numbers)
                anchors, positives = batch[pairs[0]], pairs[1]
                rights.append((classes[anchors] == classes[positives])[anchors != positives].float().mean())
            loss = loss_of(queries, batch, pairs, references, numbers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        test, labels = made_videos(200, generator)
        features = normalize(network(test["rgb"]), dim=1)
        nearest = (features @ features.T).fill_diagonal_(-1).argmax(dim=1)
        found[name] = float((labels[nearest] == labels).float().mean())
    found["mined pairs that are right"] = float(torch.stack(rights[-20:]).mean())
    for name, share in found.items():
        print(f"{name:28} {share:.0%}")
    return found


if __name__ == "__main__":
    main()
