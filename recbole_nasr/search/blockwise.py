"""The block-by-block search loop (paper §3.2-3.3): train a block, rank its paths, keep the best, freeze, go on."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_nasr.errors import DataError, NumericalError
from recbole_nasr.nets import Supernet, masked_mean
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.registry import operation_flops
from recbole_nasr.progress import Progress, open_progress
from recbole_nasr.rng import derive_seed, generator
from recbole_nasr.search.augmentation import View, make_view
from recbole_nasr.search.objective import distance, path_ensemble_target
from recbole_nasr.search.ranking import effective_rank, rank_paths
from recbole_nasr.search.result import BlockRanking, SearchResult
from recbole_nasr.search.selection import select_path
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.space import Path, SearchSpace

OnBlock = Callable[[int, BlockRanking], None]


@dataclass(frozen=True)
class SearchSequences:
    """Item sequences to search on.

    Args:
        item_seq: ``(N, L)`` item ids, right-padded with 0.
        item_seq_len: ``(N,)`` lengths, all at least 1.
        group: ``(N,)`` whose sequence it is; all sequences of a group are held out together or not at all.
    """

    item_seq: Tensor
    item_seq_len: Tensor
    group: Tensor

    def rows(self, index: Tensor) -> SearchSequences:
        """Return the sequences at ``index``."""
        return SearchSequences(self.item_seq[index], self.item_seq_len[index], self.group[index])

    def to(self, device: torch.device | str) -> SearchSequences:
        """Return the sequences on ``device``."""
        return SearchSequences(self.item_seq.to(device), self.item_seq_len.to(device), self.group.to(device))


def hold_out(sequences: SearchSequences, ratio: float, seed: int) -> tuple[SearchSequences, SearchSequences]:
    """Split off whole groups, in random order, until at least ``ratio`` of the sequences are held out.

    Returns:
        Training and held-out sequences, each at least two.

    Raises:
        DataError: If there are too few groups to leave two sequences on either side.
    """
    groups, member = torch.unique(sequences.group.cpu(), return_inverse=True)
    order = torch.randperm(len(groups), generator=generator(seed, "search/holdout"))
    sizes = torch.bincount(member, minlength=len(groups))[order]
    wanted = max(2, math.ceil(ratio * len(member)))
    n_groups = int((sizes.cumsum(0) < wanted).sum()) + 1
    held = torch.zeros(len(groups), dtype=torch.bool)
    held[order[:n_groups]] = True
    held_rows = held[member]
    if int(held_rows.sum()) < 2 or int((~held_rows).sum()) < 2:
        msg = (
            f"A search needs at least two sequences to train on and two of other persons to rank with, but there are "
            f"{len(member)} of {len(groups)} persons at search_holdout_ratio={ratio}; use more data."
        )
        raise DataError(msg)
    device = sequences.item_seq.device
    return sequences.rows((~held_rows).nonzero().flatten().to(device)), sequences.rows(
        held_rows.nonzero().flatten().to(device)
    )


class BlockTrainer:
    """Trains one block of a supernet to predict the path-ensemble target (Eq. 4-5); the rest stays as it is.

    Args:
        supernet: Its block ``len(chosen)`` is trained, with block 0 the embedding too.
        chosen: The selected path of every earlier block; those are run once per view, frozen, in eval mode.
        space: Where paths are sampled from.
        settings: How to train.
        seed: Of the path, view and order streams.
    """

    def __init__(
        self, supernet: Supernet, chosen: Sequence[Path], space: SearchSpace, settings: SearchSettings, seed: int
    ) -> None:
        device = supernet.embedding.items.weight.device
        self.supernet, self.chosen, self.space, self.settings = supernet, list(chosen), space, settings
        self.index = len(chosen)
        self.block = supernet.block(self.index)
        self.path_rng = random.Random(derive_seed(seed, f"search/paths/{self.index}"))  # noqa: S311
        self.view_rng = generator(seed, f"search/views/{self.index}", device)
        self.order_rng = generator(seed, f"search/order/{self.index}", device)
        supernet.eval().requires_grad_(False)
        self.modules = list(supernet.trained_with(self.index))
        for module in self.modules:
            module.train().requires_grad_(True)
        parameters = [parameter for module in self.modules for parameter in module.parameters()]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
        )
        self.schedule = torch.optim.lr_scheduler.StepLR(
            self.optimizer, settings.decay_steps, settings.learning_rate_decay
        )

    def _view(self, item_seq: Tensor, item_seq_len: Tensor) -> View:
        return make_view(
            item_seq,
            item_seq_len,
            names=self.settings.augmentations,
            ratio=self.settings.augmentation_ratio,
            mask_token=self.supernet.mask_token,
            generator=self.view_rng,
        )

    def _project(self, view: View, path: Path) -> Tensor:
        if self.index == 0:
            hidden = self.supernet.prefix(*view, [])
        else:
            with torch.no_grad():
                hidden = self.supernet.prefix(*view, self.chosen)
        projected: Tensor = self.block.projector(masked_mean(self.block(hidden, path), view[1]))
        return projected

    def loss(self, item_seq: Tensor, item_seq_len: Tensor, paths: Sequence[Path]) -> Tensor:
        """Return the mean over ``paths`` of the distance to their ensemble, each with its own view in each branch."""
        with torch.no_grad():
            target = path_ensemble_target(
                torch.stack([self._project(self._view(item_seq, item_seq_len), path) for path in paths])
            )
        distances = [
            distance(self.block.predictor(self._project(self._view(item_seq, item_seq_len), path)), target).mean()
            for path in paths
        ]
        return torch.stack(distances).mean()

    def step(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Sample paths, take one optimiser step, return the loss, detached and still on the device.

        Operations that no sampled path uses keep their weights to the last bit: they have no gradient at all.
        """
        paths = self.space.sample_paths(self.index, self.settings.n_paths, self.path_rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(item_seq, item_seq_len, paths)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def epoch(self, sequences: SearchSequences, progress: Progress) -> float:
        """Go once over all sequences, in random order and near-equal batches; return the mean loss.

        Raises:
            NumericalError: If the loss was not finite.
        """
        n_sequences = sequences.item_seq.size(0)
        order = torch.randperm(n_sequences, generator=self.order_rng, device=sequences.item_seq.device)
        losses = []
        for rows in order.tensor_split(math.ceil(n_sequences / self.settings.batch_size)):
            losses.append(self.step(sequences.item_seq[rows], sequences.item_seq_len[rows]))
            progress.advance()
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            msg = f"The search loss must be finite, but became {mean} in block {self.index}; lower `search_learning_rate`."
            raise NumericalError(msg)
        return mean


def _stored_views(held_out: SearchSequences, supernet: Supernet, settings: SearchSettings, seed: int) -> tuple[View, View]:
    """Generate the one pair of views per held-out sequence that every block is ranked on (§3.3)."""
    rng = generator(seed, "search/ranking-views", held_out.item_seq.device)
    student, target = (
        make_view(
            held_out.item_seq,
            held_out.item_seq_len,
            names=settings.augmentations,
            ratio=settings.augmentation_ratio,
            mask_token=supernet.mask_token,
            generator=rng,
        )
        for _ in range(2)
    )
    return student, target


def _train_block(trainer: BlockTrainer, train: SearchSequences, n_blocks: int) -> tuple[float, ...]:
    settings = trainer.settings
    steps = settings.epochs * math.ceil(train.item_seq.size(0) / settings.batch_size)
    with open_progress(steps, f"search: train block {trainer.index + 1}/{n_blocks}") as progress:
        return tuple(trainer.epoch(train, progress) for _ in range(settings.epochs))


def search(
    sequences: SearchSequences,
    space: SearchSpace,
    *,
    n_items: int,
    layer_settings: LayerSettings,
    settings: SearchSettings,
    seed: int,
    device: torch.device | str = "cpu",
    on_block: OnBlock | None = None,
) -> SearchResult:
    """Search ``space`` for an architecture on ``sequences``.

    Args:
        sequences: What to learn from; must not hold the items that validate or test the result.
        space: The table of operations, cut into blocks.
        n_items: Item ids in use, padding (0) included.
        layer_settings: Width and dropout of every operation.
        settings: How blocks are trained and ranked.
        seed: Governs everything random here; equal seeds give equal results on a CPU.
        device: Where to compute.
        on_block: Called with each block's index and ranking as soon as it is known.

    Raises:
        DataError: If there are too few sequences.
        ArchitectureError: If an operation does not fit the settings.
        NumericalError: If a loss or score is not finite.
    """
    train, held_out = hold_out(sequences.to(device), settings.holdout_ratio, seed)
    max_length = sequences.item_seq.size(1)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(seed, "search/weights"))
        supernet = Supernet(space, n_items=n_items, max_length=max_length, settings=layer_settings).to(device)
        views = _stored_views(held_out, supernet, settings, seed)
        chosen: list[Path] = []
        rankings: list[BlockRanking] = []
        costs = [operation_flops(name, layer_settings, max_length) for name in space.operations]
        for index in range(space.n_blocks):
            trainer = BlockTrainer(supernet, chosen, space, settings, seed)
            losses = _train_block(trainer, train, space.n_blocks)
            rng = random.Random(derive_seed(seed, f"search/candidates/{index}"))  # noqa: S311
            paths = space.candidate_paths(index, settings.max_enumerated_paths, rng)
            label = f"search: rank block {index + 1}/{space.n_blocks} ({len(paths)} paths)"
            with open_progress(2 * len(paths) * views[0][0].size(0), label, unit="path") as progress:
                distances, target = rank_paths(
                    supernet, chosen, views, paths, batch_size=settings.ranking_batch_size, progress=progress
                )
            flops = [sum(costs[op] for op in path) for path in paths]
            selection = select_path(distances.numpy(), paths, flops, settings.tie_standard_errors)
            ranking = BlockRanking(
                paths=tuple(space.path_names(path) for path in paths),
                scores=np.asarray(selection.scores),
                standard_errors=np.asarray(selection.standard_errors),
                selected=selection.selected,
                ties=selection.ties,
                gap=selection.gap,
                gap_standard_error=selection.gap_standard_error,
                n_sequences=distances.size(1),
                n_space_paths=space.n_paths(index),
                effective_rank=effective_rank(target),
                losses=losses,
            )
            chosen.append(paths[selection.selected])
            rankings.append(ranking)
            if on_block is not None:
                on_block(index, ranking)
    return SearchResult(space.architecture(chosen), tuple(rankings))
