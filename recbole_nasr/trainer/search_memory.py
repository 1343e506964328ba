"""An estimate of the most memory that a search will need."""

from __future__ import annotations

from recbole_nasr.nets.footprint import FLOAT, layer_footprint, layer_weights, network_weights, supernet_weights
from recbole_nasr.nets.memory import memory_share
from recbole_nasr.nets.softmax import rows_at_a_time
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search.sampling import most_places
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.space import SearchSpace
from recbole_nasr.trainer.memory import ALLOCATOR, LOGIT_COPIES, PART_COPIES, MemoryNeed, Shape, check_weights

_STEP_COPIES = 3  # of the item table in a step by the next item: gradients being summed, the optimiser's room


def search_need(
    space: SearchSpace,
    layer_settings: LayerSettings,
    settings: SearchSettings,
    shape: Shape,
    n_sequences: int,
    *,
    tied: bool = False,
    dealt: bool = False,
) -> MemoryNeed:
    """Return what a search will need in its most expensive step.

    One path after the other that has the most expensive operation in every layer, or, dealt, every operation for as
    many paths as may use it.

    Args:
        space: What is searched.
        layer_settings: Width and so on.
        settings: How.
        shape: Of the batches.
        n_sequences: To search on.
        tied: Whether the softmax layer is the item embedding.
        dealt: Whether all paths are computed at once, as in a CUDA graph (:mod:`recbole_nasr.search.dealing`).
    """
    together = 1 if settings.scope == "whole" else space.n_blocks
    n_layers = space.n_layers if settings.scope == "whole" else max(space.layers_per_block)
    whole = supernet_weights(space, layer_settings, shape.n_items, shape.length, tied=tied)
    layers = n_layers * sum(layer_weights(name, layer_settings) for name in space.operations)
    trained = layers + network_weights((), layer_settings, shape.n_items, shape.length, tied=tied)
    weights = whole + 3 * trained + trained * (settings.target_momentum > 0)
    contrastive = settings.objective == "contrastive"
    if not contrastive:
        # A tied table gets a gradient from both ends.
        weights += (_STEP_COPIES + tied) * shape.n_items * layer_settings.hidden_size * FLOAT
    check_weights("search", weights, shape.device)
    place = shape.length * layer_settings.hidden_size * FLOAT
    operations = [layer_footprint(name, layer_settings, shape.length, shape.name).held for name in space.operations]
    held = max(operations)
    if dealt:  # of a row of one path; every place holds its own copy of what enters the layer
        n_places = most_places(len(operations), settings.n_paths, settings.path_sampling)
        held = sum(one + place for one in operations) * n_places / settings.n_paths
    rows = min(settings.batch_size, n_sequences)
    passes = settings.n_paths * (1 + settings.symmetric) if contrastive else 1
    held_out = max(2, round(settings.holdout_ratio * n_sequences))
    frozen = min(memory_share(shape.device), held_out * place * 2 * settings.view_pairs) if together > 1 else 0
    if not contrastive and together > 1:
        frozen += min(memory_share(shape.device), n_sequences * place)
    share = ALLOCATOR.get(shape.device.type, 1.0)
    n_held = 1 if dealt else min(settings.n_paths, rows)  # sums of logits, a path each
    logits = 0 if contrastive else _search_logits(rows * shape.length, n_held, shape)
    return MemoryNeed(
        "search",
        weights + frozen,
        int(share * passes * rows * (n_layers * held + 6 * place)),
        int(share * logits),
        int(2 * (n_layers * held + 6 * place)) + (0 if contrastive else _search_logits(shape.length, 1, shape)),
        "`search_batch_size`, `search_n_paths`, `hidden_size` or `MAX_ITEM_LIST_LENGTH`",
    )


def _search_logits(n_rows: int, n_held: int, shape: Shape) -> int:
    """Return the bytes of the logits of a search step whose ``n_rows`` rows are computed in ``n_held`` sums.

    Of every sum one copy is held until its gradient, the others of one sum at a time.
    """
    most = rows_at_a_time(shape.n_items, shape.device, n_held)
    if n_rows <= most * n_held:
        return int(n_rows * (1 + LOGIT_COPIES / n_held) * shape.n_items * FLOAT)
    return int(PART_COPIES * most * shape.n_items * FLOAT)
