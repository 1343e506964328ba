from __future__ import annotations

import itertools
import random

from recbole_nasr.search.best_first import best_first


def test_every_choice_comes_once_in_the_order_of_its_sum() -> None:
    rng = random.Random(0)
    lists = [[rng.randrange(5) / 2 for _ in range(n)] for n in (3, 1, 4, 2)]
    listed = list(best_first(lists))
    sums = {indices: sum(own[i] for own, i in zip(lists, indices, strict=True)) for _, indices in listed}
    assert [total for total, _ in listed] == sorted(sums.values())
    assert len(listed) == len(sums) == 3 * 1 * 4 * 2
    assert all(total == sums[indices] for total, indices in listed)


def test_the_first_of_very_many_choices_is_found_at_once() -> None:
    total, indices = next(best_first([[1.0, 0.0, 2.0, 3.0]] * 40))  # 4^40 choices
    assert (total, indices) == (0.0, (1,) * 40)
    assert len(list(itertools.islice(best_first([[0.0, 1.0]] * 40), 100))) == 100
