"""Full ranking: scoring and ranking alone, and with the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
from recbole.evaluator import Collector
from torch import Tensor, nn

from benchmarks.speed import plain
from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.floors import Work, body_work, embedding_work, softmax_work
from benchmarks.speed.gates import Check, close, equal, same_ranks
from benchmarks.speed.package import CaseLoader, package_config, package_trainer
from benchmarks.speed.published import AS_SHIPPED, Published
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import SEED, Shape, build_network, item_sequences, without_last
from recbole_nasr.trainer.products import ranks_by_parts
from recbole_nasr.trainer.ranks import full_ranks, hit_matrix

TOPK = [10, 20]
BATCH = 256


def cases(setting: Setting) -> Iterator[Case]:
    """Yield scoring alone, and a whole evaluation, at every size."""
    for shape in setting.shapes:
        yield _scoring(setting, shape)
        yield _evaluation(setting, shape)


class Scorer:
    """Scores and ranks cases as a network without layers would: embedding of the last item, softmax layer, mask.

    Args:
        shape: Sizes.
        device: Where.
        weights: A file of the published code's weights, to score as it does; random ones if not given.
    """

    def __init__(self, shape: Shape, device: torch.device, weights: Path | None = None) -> None:
        items, length = item_sequences(shape, min(BATCH, shape.cases))
        histories, n_items = without_last(items, length, 2)
        self.targets = items[torch.arange(len(items)), n_items].to(device)
        self.histories = histories.to(device)
        last = histories[torch.arange(len(items)), n_items - 1].to(device)
        state = torch.load(weights, map_location=device, weights_only=True) if weights else {}
        rng = torch.Generator().manual_seed(SEED)
        table = state.get(
            "embedding.weight", torch.randn(shape.n_items + 1, shape.hidden_size, generator=rng).to(device)
        )
        position = state.get("position.pe.weight", torch.zeros(1, shape.hidden_size, device=device))[-1]
        self.hidden = (table[last] + position).contiguous()
        self.output = nn.Linear(shape.hidden_size, shape.n_items + 1).to(device)
        if state:
            self.output.load_state_dict({name: state[f"final_layer.{name}"] for name in ("weight", "bias")})
        self.items = nn.Linear(shape.hidden_size, shape.n_items).to(device)  # row 0, padding, is no item
        self.items.load_state_dict({name: values[1:] for name, values in self.output.state_dict().items()})
        # The published code ranks a target that is in its own history; here that would rank last.
        self.seen = torch.where(self.histories == self.targets.unsqueeze(1), 0, self.histories)

    @torch.no_grad()
    def scores(self) -> Tensor:
        """Return scores ``(B, V)``; padding and the items of the history score ``-inf``."""
        scores = self.output(self.hidden)
        own = scores.gather(1, self.targets.unsqueeze(1))
        scores[:, 0] = -torch.inf
        scores.scatter_(1, self.histories, -torch.inf)
        return scores.scatter_(1, self.targets.unsqueeze(1), own)

    @torch.no_grad()
    def ranks(self) -> Tensor:
        """Return ranks as the package finds them."""
        return ranks_by_parts(self.hidden, self.items, self.targets, seen=self.seen)[0]


def _metrics(ranks: Tensor) -> Tensor:
    """Return Recall and NDCG at every K."""
    gain = 1 / torch.log2(ranks.double() + 1)
    values = [((ranks <= k).double().mean(), torch.where(ranks <= k, gain, 0.0).mean()) for k in TOPK]
    return torch.stack([value for pair in values for value in pair])


def _scoring(setting: Setting, shape: Shape) -> Case:
    scorer = Scorer(shape, setting.device)
    n_cases = len(scorer.targets)

    @cache
    def expected() -> Tensor:
        return plain.ranks_by_sorting(scorer.scores(), scorer.targets)

    def check() -> list[Check]:
        found = _metrics(scorer.ranks()), _metrics(expected())
        return [same_ranks(scorer.ranks(), scorer.scores(), scorer.targets, 1e-6), close("metrics", *found, 1e-6)]

    collector = _collector(shape, setting.device, scorer)

    def check_collector() -> list[Check]:
        return [equal("hit flags", collector().cpu(), hit_matrix(expected().cpu(), TOPK))]

    lines = [
        Implementation(
            name="reference",
            run=lambda: _metrics(plain.ranks_by_sorting(scorer.scores(), scorer.targets)),
            note="all scores sorted",
        ),
        Implementation(name="fast", run=lambda: _metrics(scorer.ranks()), check=check, note="ranks by counting"),
        Implementation(
            name="RecBole", run=collector, check=check_collector, note="its collector: topk and a dense matrix"
        ),
    ]
    if setting.published:
        lines.append(_published_scoring(setting.published, setting, shape, n_cases))
    work = softmax_work(shape, n_cases, backward=False)
    return Case(
        section="evaluation",
        title="scoring and ranking",
        shape=shape.name,
        unit=f"{n_cases} cases among {shape.n_items} items",
        implementations=lines,
        work=work,
        precision=setting.ranking_precision,
    )


def _collector(shape: Shape, device: torch.device, scorer: Scorer) -> Callable[[], Tensor]:
    """Return a function that has RecBole's collector find the hit flags."""
    config = package_config(shape, device, topk=TOPK, metrics=["Recall", "NDCG"])
    collector, rows = Collector(config), torch.arange(len(scorer.targets), device=device)

    def topk() -> Tensor:
        collector.eval_batch_collect(scorer.scores(), None, rows, scorer.targets)
        found: Tensor = collector.get_data_struct().get("rec.topk")
        return found

    return topk


def _published_scoring(published: Published, setting: Setting, shape: Shape, n_cases: int) -> Implementation:
    def check() -> list[Check]:
        published.open(shape)
        weights = Path(published.folder.name) / "weights.pt"
        metrics = published.ask("compare_scoring", cases=n_cases, weights=str(weights))["metrics"]
        scorer = Scorer(shape, setting.device, weights)
        theirs = torch.tensor(
            [metrics[f"{name}@{k}"] for k in TOPK for name in ("Recall", "NDCG")], dtype=torch.float64
        )
        return [close("metrics", _metrics(scorer.ranks()).cpu(), theirs, 1e-6)]

    note = "its `compute_metrics` on its network without layers"
    return published.line(shape, AS_SHIPPED, "scoring", note=note, check=check, cases=n_cases)


def evaluation_cases(shape: Shape, batch_size: int) -> CaseLoader:
    """Return the validation cases of made-up sequences."""
    items, length = item_sequences(shape, shape.cases)
    histories, n_items = without_last(items, length, 2)
    return CaseLoader(histories, n_items, items[torch.arange(shape.cases), n_items], batch_size)


def _evaluation(setting: Setting, shape: Shape) -> Case:
    network, device = build_network(shape, setting.device).eval(), setting.device
    loader = evaluation_cases(shape, BATCH)
    model = package_trainer(shape, network, device).model

    @torch.no_grad()
    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, shape.cases, BATCH):
            rows = slice(start, start + BATCH)
            scores = network.scores(loader.item_seq[rows].to(device), loader.item_seq_len[rows].to(device))
            yield scores, loader.targets[rows].to(device)

    def reference() -> Tensor:
        return torch.cat([plain.ranks_by_sorting(*batch) for batch in batches()]).cpu()

    def fast() -> Tensor:
        return full_ranks(model, loader, device=device)

    def check() -> list[Check]:
        scores, targets = (torch.cat(parts) for parts in zip(*batches(), strict=True))
        return [same_ranks(fast(), scores, targets, 1e-6)]

    lines = [
        Implementation(name="reference", run=reference, note="plain modules, all scores sorted"),
        Implementation(name="fast", run=fast, check=check),
    ]
    if setting.published:
        note = "its `eval_model`: loader, scores at every position, a full sort, a loop over rows"
        lines.append(
            setting.published.line(shape, AS_SHIPPED, "evaluation", note=note, cases=shape.cases, batch_size=BATCH)
        )
    body = body_work(shape, shape.cases, shape.length - 2, backward=False)
    work: Work = body + softmax_work(shape, shape.cases, backward=False) + embedding_work(shape, shape.cases, 1)
    return Case(
        section="evaluation",
        title="with the network",
        shape=shape.name,
        unit=f"{shape.cases} cases",
        implementations=lines,
        work=work,
        precision=setting.ranking_precision,
    )
