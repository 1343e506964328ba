"""Repairs that RecBole 1.2.0 and 1.2.1 need on a current stack, each with its reason.

A repair is applied only if its symptom is present, so each becomes inactive once it is not needed. No code of RecBole
is copied: functions are wrapped, and missing modules are stubbed while RecBole's own modules import them. `apply` runs
on ``import recbole_nasr``; ``python -m recbole_nasr.doctor`` lists the repairs in force.
"""

from __future__ import annotations

import functools

from recbole_nasr.compat.devices import keep_visible_devices
from recbole_nasr.compat.evaluation import (
    find_teacher_by_name,
    read_config_files_as_data,
    read_embeddings_as_numbers,
    read_search_space_as_data,
    read_values_as_data,
)
from recbole_nasr.compat.files import (
    keep_generators_of_loaders,
    name_checkpoints_apart,
    restrict_cache_load,
    restrict_torch_load,
    save_checkpoints_whole,
    skip_lonely_barrier,
    undo_failed_download,
)
from recbole_nasr.compat.imports import alias_numpy, keep_anomaly_detection, stub_distutils, stub_kmeans, stub_ray
from recbole_nasr.compat.runs import (
    keep_counts_in_collector,
    keep_ksr_in_single_precision,
    modernise_exhaustive_search,
    skip_refused_flops,
)

REPAIRS = (
    stub_ray,
    alias_numpy,
    stub_kmeans,
    stub_distutils,
    keep_anomaly_detection,
    keep_counts_in_collector,
    restrict_torch_load,
    save_checkpoints_whole,
    name_checkpoints_apart,
    restrict_cache_load,
    keep_generators_of_loaders,
    read_values_as_data,
    read_config_files_as_data,
    read_search_space_as_data,
    read_embeddings_as_numbers,
    find_teacher_by_name,
    skip_lonely_barrier,
    undo_failed_download,
    modernise_exhaustive_search,
    keep_ksr_in_single_precision,
    skip_refused_flops,
    keep_visible_devices,
)
"""All repairs, in the order in which they are applied: RecBole can be imported only after the first."""


@functools.cache
def apply() -> tuple[str, ...]:
    """Apply every repair that this machine needs; later calls do nothing.

    Returns:
        The names of the repairs in force.
    """
    return tuple(repair.name for repair in REPAIRS if repair())
