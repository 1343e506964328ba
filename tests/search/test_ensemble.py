from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recbole_nasr.search.ensemble import distance, path_ensemble_target


def test_the_target_does_not_depend_on_the_order_of_the_paths() -> None:
    projections = torch.randn(9, 4, 6)
    torch.testing.assert_close(path_ensemble_target(projections), path_ensemble_target(projections[torch.randperm(9)]))


def test_equal_paths_give_the_target_of_one() -> None:
    one = torch.randn(1, 4, 6)
    torch.testing.assert_close(path_ensemble_target(one.expand(5, -1, -1)), F.normalize(one[0], dim=-1))


def test_the_target_is_the_normalised_mean_of_unit_vectors_whatever_their_norms() -> None:
    projections = torch.randn(5, 4, 6)
    mean = F.normalize(projections, dim=-1).mean(dim=0)
    assert (mean.norm(dim=-1) <= 1 + 1e-6).all()
    scaled = projections * torch.rand(5, 1, 1).add(0.1)
    torch.testing.assert_close(path_ensemble_target(scaled), F.normalize(mean, dim=-1))
    torch.testing.assert_close(path_ensemble_target(projections).norm(dim=-1), torch.ones(4))


def test_with_a_path_left_out_its_target_is_that_of_the_others() -> None:
    projections = torch.randn(4, 5, 6)
    found = path_ensemble_target(projections, leave_one_out=True)
    assert found.shape == (4, 5, 6)
    for index in range(4):
        others = projections[[other for other in range(4) if other != index]]
        torch.testing.assert_close(found[index], path_ensemble_target(others))
    with pytest.raises(ValueError, match="P >= 2"):
        path_ensemble_target(projections[:1], leave_one_out=True)


def test_the_target_carries_no_gradient() -> None:
    projections = torch.randn(2, 3, 4, requires_grad=True)
    assert not any(path_ensemble_target(projections, leave_one_out=out).requires_grad for out in (False, True))


@pytest.mark.parametrize("shape", [(3, 4), (0, 3, 4), (1, 2, 3, 4)])
def test_anything_but_paths_of_vectors_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        path_ensemble_target(torch.zeros(shape))


def test_the_distance_is_2_minus_2_cos_and_lies_between_0_and_4() -> None:
    prediction, target = 5 * torch.randn(100, 7), F.normalize(torch.randn(100, 7), dim=-1)
    found = distance(prediction, target)
    torch.testing.assert_close(found, 2 - 2 * F.cosine_similarity(prediction, target))
    assert found.min() >= 0
    assert found.max() <= 4
    torch.testing.assert_close(distance(3 * target, target), torch.zeros(100))
    torch.testing.assert_close(distance(-target, target), torch.full((100,), 4.0))
