from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr.keeping import random_state, set_random_state
from recbole_nasr.rng import RandomPlace, derive_seed, generator


@given(st.integers(), st.text())
def test_a_seed_has_63_bits(seed: int, name: str) -> None:
    assert 0 <= derive_seed(seed, name) < 2**63


def test_streams_differ_by_seed_and_by_name() -> None:
    seeds = [derive_seed(seed, name) for seed in range(20) for name in ("paths", "views", "1/paths")]
    assert len(set(seeds)) == len(seeds)


def test_a_stream_is_fixed_for_good() -> None:
    assert derive_seed(2020, "search/weights") == 4380084059247934143
    assert torch.rand(3, generator=generator(1, "a")).equal(torch.rand(3, generator=generator(1, "a")))


def test_drawing_from_a_stream_leaves_the_global_state() -> None:
    before = torch.get_rng_state()
    torch.rand(5, generator=generator(1, "a"))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_of_more_gpus_than_there_are_now_is_taken_up_as_far_as_they_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, taken = {**random_state(), "cuda": ["first", "second", "third"]}, []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda one, number: taken.append((one, number)))
    set_random_state(state)
    assert taken == [("first", 0), ("second", 1)]


def test_streams_that_went_back_draw_the_same_again() -> None:
    streams = generator(1, "a"), generator(1, "b")
    place = RandomPlace(torch.device("cpu"), streams)
    first, second = ([torch.rand(3), *(torch.rand(3, generator=one) for one in streams)] for _ in range(2))
    place.go_back()
    again = [torch.rand(3), *(torch.rand(3, generator=one) for one in streams)]
    assert all(torch.equal(one, other) for one, other in zip(again, first, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(again, second, strict=True))
