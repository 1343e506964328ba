"""The paper's objective: predict, from one view, the ensemble of what several paths see in others (Eq. 4-7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recbole_nasr import distributed
from recbole_nasr.nets import Supernet, per_path
from recbole_nasr.progress import Progress
from recbole_nasr.rng import generator
from recbole_nasr.search.augmentation import View, make_view
from recbole_nasr.search.branch import Branch, MovingAverage
from recbole_nasr.search.dealing import Deal
from recbole_nasr.search.ensemble import distance, path_ensemble_target
from recbole_nasr.search.frozen import FrozenOutputs
from recbole_nasr.search.objective import Objective, Prefix, evaluation_mode
from recbole_nasr.search.path_scores import PathScores
from recbole_nasr.search.ranking import rank_paths
from recbole_nasr.search.sequences import SearchSequences
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.space import Path

StoredPair = tuple[FrozenOutputs, FrozenOutputs]


class Contrastive(Objective):
    """Siamese training and ranking of a block (paper §3.2-3.3, after BossNAS, Li et al. 2021, and SimSiam).

    As in the paper the two branches share their weights, the loss runs in one direction, a path is part of the
    ensemble it is compared with, and all paths are ranked on one stored pair of views. Each of the four is a setting.
    """

    metric = "squared distance to the path ensemble"
    adds_up = True  # BossNAS scores whole networks so: blocks have targets of their own

    def __init__(self, supernet: Supernet, settings: SearchSettings, seed: int) -> None:
        super().__init__(supernet, settings, seed)
        self.average: MovingAverage | None = None
        self.stored: list[StoredPair] = []
        self.compared: list[StoredPair] = []

    def start(self, index: int) -> None:
        """Begin the block's stream of views and, where there is one, its moving average."""
        super().start(index)
        self.rng = generator(self.seed, f"search/views/{index}", self.supernet.embedding.items.weight.device)
        self.online = Branch.online(self.supernet, index)
        momentum = self.settings.target_momentum
        self.average = MovingAverage(self.online, momentum, with_embedding=index == 0) if momentum else None
        if self.average:
            self.acceleration.compile_operations(self.average.branch.block)  # a copy is not compiled

    @property
    def target(self) -> Branch:
        """The branch that sets the target."""
        return self.average.branch if self.average else self.online

    def _view(self, item_seq: Tensor, item_seq_len: Tensor, rng: torch.Generator) -> View:
        return make_view(
            item_seq,
            item_seq_len,
            names=self.settings.augmentations,
            ratio=self.settings.augmentation_ratio,
            mask_token=self.supernet.mask_token,
            generator=rng,
        )

    def loss(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        prefix: Prefix,
        paths: Sequence[Path],
        rows: Tensor | None = None,  # noqa: ARG002 - every step draws new views
    ) -> Tensor:
        """Return the mean over ``paths`` of the distance to their ensemble, each with its own view in each branch."""
        first, second = self._views_of_paths(item_seq, item_seq_len, len(paths))
        loss = self._towards(first, second, prefix, paths)
        return (loss + self._towards(second, first, prefix, paths)) / 2 if self.settings.symmetric else loss

    def _views_of_paths(self, item_seq: Tensor, item_seq_len: Tensor, n_paths: int) -> tuple[list[View], list[View]]:
        """Draw a view for each path in either branch, all at once."""
        n_views = 2 * n_paths
        items, lengths = self._view(item_seq.repeat(n_views, 1), item_seq_len.repeat(n_views), self.rng)
        views = list(zip(items.chunk(n_views), lengths.chunk(n_views), strict=True))
        return views[:n_paths], views[n_paths:]

    def _towards(self, shown: list[View], seen: list[View], prefix: Prefix, paths: Sequence[Path]) -> Tensor:
        """Return the distance of what paths predict from views ``seen`` to the ensemble of views ``shown``."""
        targets = self._targets(shown, prefix, paths)
        distances = [
            self._distance(projection, own)
            for projection, own in zip(self.online.project(seen, prefix, paths), targets, strict=True)
        ]
        return torch.stack(distances).mean() / distributed.world_size()  # each process has all rows here

    def _targets(self, shown: list[View], prefix: Prefix, paths: Sequence[Path]) -> Sequence[Tensor]:
        with torch.no_grad():
            projections = self.target.project(shown, prefix, paths)
        leave_one_out = self.settings.leave_one_out
        target = path_ensemble_target(torch.stack(projections).float(), leave_one_out=leave_one_out)
        return list(target) if leave_one_out else [target] * len(paths)

    def _distance(self, projection: Tensor, target: Tensor) -> Tensor:
        return distance(self.online.block.predictor(projection).float(), target).mean()

    def parts(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        prefix: Prefix,
        paths: Sequence[Path],
        rows: Tensor | None,  # noqa: ARG002 - every step draws new views
        n_parts: int,  # noqa: ARG002 - the projector's statistics are those of a path's whole batch
    ) -> list[Callable[[], Tensor]]:
        """Return a function for each path and direction; random numbers are drawn in the order of :meth:`loss`."""
        first, second = self._views_of_paths(item_seq, item_seq_len, len(paths))
        directions = [(first, second), (second, first)] if self.settings.symmetric else [(first, second)]
        n_losses = len(directions) * len(paths)

        def one(targets: list[Tensor], direction: tuple[list[View], list[View]], number: int) -> Tensor:
            shown, seen = direction
            if not targets:  # the first of this direction
                targets.extend(self._targets(shown, prefix, paths))
            (projection,) = self.online.project([seen[number]], prefix, [paths[number]])
            return self._distance(projection, targets[number]) / n_losses

        losses: list[Callable[[], Tensor]] = []
        for direction in directions:
            targets: list[Tensor] = []
            losses += [partial(one, targets, direction, number) for number in range(len(paths))]
        return losses

    def most_parts(self, n_rows: int, n_paths: int) -> int:  # noqa: ARG002 - however many rows
        """Return one for each path and direction."""
        return n_paths * (1 + self.settings.symmetric)

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """The stream of views."""
        return (self.rng,)

    def dealt_loss(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        prefix: Prefix,
        deal: Deal,
        rows: Tensor | None = None,  # noqa: ARG002 - every step draws new views
    ) -> Tensor:
        """Return the same mean, with all views drawn at once."""
        n_paths = deal.place.size(1)
        items, lengths = self._view(item_seq.repeat(2 * n_paths, 1), item_seq_len.repeat(2 * n_paths), self.rng)
        first, second = zip(items.chunk(2), lengths.chunk(2), strict=True)
        loss = self._dealt_towards(first, second, prefix, deal)
        return (loss + self._dealt_towards(second, first, prefix, deal)) / 2 if self.settings.symmetric else loss

    def _dealt_towards(self, shown: View, seen: View, prefix: Prefix, deal: Deal) -> Tensor:
        with torch.no_grad():
            projections = self.target.project_dealt(shown, prefix, deal)
        target = path_ensemble_target(projections.float(), leave_one_out=self.settings.leave_one_out)
        predictions = per_path(self.online.block.predictor, self.online.project_dealt(seen, prefix, deal))
        return distance(predictions.float(), target).mean()

    def agree(self) -> None:
        """Take the weights of the first of several processes, those of the target branch too."""
        super().agree()
        for module in (self.target.embedding, self.target.block):
            distributed.make_equal(module.parameters())

    def after_step(self) -> None:
        """Let the target branch follow."""
        if self.average:
            self.average.update()

    def state(self) -> dict[str, Any]:
        """Return the place in the stream of views, and the moving average."""
        return {"rng": self.rng.get_state(), "average": self.average.state() if self.average else None}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`, after :meth:`start`."""
        self.rng.set_state(state["rng"])
        if self.average:
            self.average.restore(state["average"])

    def hold(self, held_out: SearchSequences) -> None:
        """Generate the pairs of views that every block is ranked on (§3.3), and those for the report alone.

        Those are on fewer sequences, whose statistics differ, so the report compares the first on the same ones again.
        """
        self.group = held_out.group
        n_sequences, device = held_out.item_seq.size(0), held_out.item_seq.device
        self.stored = self._pairs(held_out, self.settings.view_pairs, "search/ranking-views")
        n_some = min(self.settings.report_sequences, n_sequences)
        self.report_rows = torch.arange(n_some, device=device) * n_sequences // n_some  # spread evenly
        extra = self._pairs(held_out.rows(self.report_rows), self.settings.report_view_pairs, "search/report-views")
        first = [(shown.some(self.report_rows), seen.some(self.report_rows)) for shown, seen in self.stored]
        self.compared = [*first, *extra] if extra else []

    def _pairs(self, sequences: SearchSequences, n_pairs: int, stream: str) -> list[StoredPair]:
        rng = generator(self.seed, stream, sequences.item_seq.device)
        views = [self._view(sequences.item_seq, sequences.item_seq_len, rng) for _ in range(2 * n_pairs)]
        stored = [FrozenOutputs(self.supernet, *view, n_shares=2 * n_pairs) for view in views]
        return list(zip(stored[::2], stored[1::2], strict=True))

    def work(self, n_paths: int) -> int:
        """Count two views of every pair, both again in the other direction, and the paths left out."""
        n_passes = (2 + self.settings.leave_one_out) * (1 + self.settings.symmetric)
        n_rows = sum(pair[0].item_seq.size(0) for pair in (*self.stored, *self.compared))
        return n_paths * n_passes * n_rows

    def score(self, prefixes: Sequence[Prefix], paths: Sequence[Path], progress: Progress) -> PathScores:
        """Return distances to the ensemble of all paths, the mean over the stored pairs of views."""
        self.agree()
        with evaluation_mode(self.supernet):
            for view in (view for pair in (*self.stored, *self.compared) for view in pair):
                view.advance(prefixes, self.batch_size)
        stored = [self._distances(prefixes, pair, paths, progress) for pair in self.stored]
        rows, shape = self.report_rows.cpu(), (len(prefixes), len(paths))
        views = [self._distances(prefixes, pair, paths, progress)[0].mean(dim=1) for pair in self.compared]
        return PathScores(
            values=torch.stack([values for values, _ in stored]).mean(dim=0).view(*shape, -1),
            representation=stored[0][1],
            views=torch.stack(views or [values[:, rows].mean(dim=1) for values, _ in stored]).view(-1, *shape),
            n_view_sequences=len(rows),
        )

    def _distances(
        self, prefixes: Sequence[Prefix], pair: StoredPair, paths: Sequence[Path], progress: Progress
    ) -> tuple[Tensor, Tensor]:
        directions = [pair, (pair[1], pair[0])] if self.settings.symmetric else [pair]
        found = [
            rank_paths(
                self.supernet,
                prefixes,
                (views[0].view, views[1].view),
                paths,
                batch_size=self.batch_size,
                progress=progress,
                target_branch=self.target,
                leave_one_out=self.settings.leave_one_out,
                frozen=views,
            )
            for views in directions
        ]
        return torch.stack([values for values, _ in found]).mean(dim=0), found[0][1]
