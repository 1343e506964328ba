"""The block-by-block search loop (paper §3.2-3.3): train a block, rank its paths, keep the best, freeze, go on."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch

from recbole_nasr.nets import Supernet
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.registry import operation_flops
from recbole_nasr.progress import open_progress
from recbole_nasr.rng import derive_seed, generator
from recbole_nasr.search.augmentation import View, make_view
from recbole_nasr.search.ranking import effective_rank, rank_paths
from recbole_nasr.search.result import BlockRanking, SearchResult
from recbole_nasr.search.selection import select_path
from recbole_nasr.search.sequences import SearchSequences, hold_out
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import Path, SearchSpace

OnBlock = Callable[[int, BlockRanking], None]


def _stored_views(held_out: SearchSequences, mask_token: int, settings: SearchSettings, seed: int) -> tuple[View, View]:
    """Generate the one pair of views per held-out sequence that every block is ranked on (§3.3)."""
    rng = generator(seed, "search/ranking-views", held_out.item_seq.device)
    student, target = (
        make_view(
            held_out.item_seq,
            held_out.item_seq_len,
            names=settings.augmentations,
            ratio=settings.augmentation_ratio,
            mask_token=mask_token,
            generator=rng,
        )
        for _ in range(2)
    )
    return student, target


def _train_block(trainer: BlockTrainer, train: SearchSequences, n_blocks: int) -> tuple[float, ...]:
    settings = trainer.settings
    steps = settings.epochs * trainer.n_steps(train.item_seq.size(0))
    with open_progress(steps, f"search: train block {trainer.index + 1}/{n_blocks}") as progress:
        return tuple(trainer.epoch(train, progress) for _ in range(settings.epochs))


class BlockwiseSearch:
    """One search in progress: the supernet, the paths chosen so far, and what ranks the next block.

    Args are those of :func:`search`.
    """

    def __init__(
        self,
        sequences: SearchSequences,
        space: SearchSpace,
        *,
        n_items: int,
        layer_settings: LayerSettings,
        settings: SearchSettings,
        seed: int,
        device: torch.device | str,
    ) -> None:
        self.space, self.settings, self.seed = space, settings, seed
        max_length = sequences.item_seq.size(1)
        self.train, self.held_out = hold_out(sequences.to(device), settings.holdout_ratio, seed)
        self.supernet = Supernet(space, n_items=n_items, max_length=max_length, settings=layer_settings).to(device)
        self.views = _stored_views(self.held_out, self.supernet.mask_token, settings, seed)
        self.costs = [operation_flops(name, layer_settings, max_length) for name in space.operations]
        self.chosen: list[Path] = []

    def next_block(self) -> BlockRanking:
        """Train and rank the next block, choose its path, and return the ranking."""
        trainer = BlockTrainer(self.supernet, self.chosen, self.space, self.settings, self.seed)
        losses = _train_block(trainer, self.train, self.space.n_blocks)
        return self._rank(losses)

    def _rank(self, losses: tuple[float, ...]) -> BlockRanking:
        index, space, settings = len(self.chosen), self.space, self.settings
        rng = random.Random(derive_seed(self.seed, f"search/candidates/{index}"))  # noqa: S311
        paths = space.candidate_paths(index, settings.max_enumerated_paths, rng)
        label = f"search: rank block {index + 1}/{space.n_blocks} ({len(paths)} paths)"
        with open_progress(2 * len(paths) * self.held_out.item_seq.size(0), label, unit="path") as progress:
            distances, target = rank_paths(
                self.supernet,
                self.chosen,
                self.views,
                paths,
                batch_size=settings.ranking_batch_size,
                progress=progress,
            )
        flops = [sum(self.costs[op] for op in path) for path in paths]
        selection = select_path(
            distances.numpy(),
            paths,
            flops,
            tie_standard_errors=settings.tie_standard_errors,
            tie_break=settings.tie_break,
        )
        self.chosen.append(paths[selection.selected])
        return BlockRanking(
            paths=tuple(space.path_names(path) for path in paths),
            scores=selection.scores,
            standard_errors=selection.standard_errors,
            selected=selection.selected,
            ties=selection.ties,
            gap=selection.gap,
            gap_standard_error=selection.gap_standard_error,
            n_sequences=distances.size(1),
            n_space_paths=space.n_paths(index),
            effective_rank=effective_rank(target),
            hidden_size=target.size(1),
            losses=losses,
        )


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
    """Search ``space`` for an architecture on ``sequences``; the global random state is left as it was.

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
    rankings = []
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(seed, "search/weights"))  # also of the dropout that follows
        run = BlockwiseSearch(
            sequences,
            space,
            n_items=n_items,
            layer_settings=layer_settings,
            settings=settings,
            seed=seed,
            device=device,
        )
        for index in range(space.n_blocks):
            rankings.append(run.next_block())
            if on_block is not None:
                on_block(index, rankings[-1])
    return SearchResult(space.architecture(run.chosen), tuple(rankings))
