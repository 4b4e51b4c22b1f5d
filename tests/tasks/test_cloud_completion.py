"""tasks.cloud_completion: discs cut out of clouds, particles to fill them; bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twelvefold.tasks.cloud_completion import cut_holes, free_particles, in_holes
from twelvefold.tasks.point_clouds import Clouds, clouds_of, mnist_clouds, moments


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scattered(sizes: list[int], seed: int = 0) -> Clouds:
    members = [torch.randn(size, 2, generator=generator(seed + i)) for i, size in enumerate(sizes)]
    return clouds_of(members, [0] * len(sizes))


def line(length: int, clouds: int) -> Clouds:
    """Clouds of the points (0, 0), (1, 0), ..., behind a row that is not a point."""
    points = torch.tensor([[-5.0, -5.0], *([float(x), 0.0] for x in range(length))])
    mask = torch.tensor([False] + [True] * length)
    return Clouds(points.expand(clouds, -1, -1), mask.expand(clouds, -1), torch.zeros(clouds, dtype=torch.int64))


class TestHoles:
    @given(sizes=st.lists(st.integers(12, 30), min_size=1, max_size=4), seed=st.integers(0, 999),
           radius=st.floats(0.05, 0.5), holes=st.integers(1, 3))
    @settings(max_examples=50, deadline=None)
    def test_exactly_the_points_near_a_centre_go(self, sizes, seed, radius, holes):
        clouds = scattered(sizes, seed)
        observed, centres = cut_holes(clouds, generator(seed), radius=radius, holes=holes)
        assert centres.shape == (len(sizes), holes, 2) and observed.any(1).all()
        # differences as in the function, in numpy; a product form of the distance would lose digits near 0
        offsets = clouds.points.numpy()[:, None] - centres.numpy()[:, :, None]
        near = ((offsets**2).sum(-1) <= radius**2).any(1)
        assert np.array_equal(observed.numpy(), clouds.mask.numpy() & ~near)
        for i in range(len(sizes)):
            own = {tuple(point) for point in clouds.points[i][clouds.mask[i]].tolist()}
            assert {tuple(point) for point in centres[i].tolist()} <= own
        assert torch.equal(in_holes(clouds.points, clouds.mask, centres, radius), clouds.mask & ~observed)

    def test_centres_are_uniform_with_replacement(self):
        _, centres = cut_holes(line(4, 3000), generator(), radius=0.1)
        drawn = centres[..., 0].long()  # [3000, 2]; never the row that is not a point
        pairs = torch.bincount((4 * drawn[:, 0] + drawn[:, 1]), minlength=16)
        # 16 equally likely ordered pairs: 187.5 each, standard deviation 13
        assert len(pairs) == 16 and (pairs - 187.5).abs().max() < 4 * 13.3

    def test_the_rim_belongs_to_the_hole(self):
        centre = torch.tensor([[[1.0, 0.0]]])
        clouds = line(4, 1)
        assert in_holes(clouds.points, clouds.mask, centre, 1.0).tolist() == [[False, True, True, True, False]]
        assert in_holes(clouds.points, clouds.mask, centre, 0.99).tolist() == [[False, False, True, False, False]]
        far = torch.tensor([[[-5.0, -5.0]]])  # where a row lies that is not a point
        assert not in_holes(clouds.points, clouds.mask, far, 1.0).any()

    def test_clouds_of_which_nothing_is_left_are_drawn_again(self):
        # on three points at distance 1 one hole of radius 1 in the middle (probability 1/3) deletes all
        observed, centres = cut_holes(line(3, 400), generator(1), radius=1.0, holes=1)
        assert observed.sum(1).tolist() == [1] * 400
        assert set(centres[:, 0, 0].tolist()) == {0.0, 2.0}

    def test_a_cloud_that_never_keeps_a_point_is_named(self):
        small = clouds_of([torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.zeros(1, 2)], [0, 0])
        with pytest.raises(ValueError, match="after 20 redraws of 1 holes of radius 0.6: .*cloud 1 has no point .1 of"):
            cut_holes(small, generator(), holes=1)

    def test_a_cloud_without_points_is_named(self):
        clouds = scattered([3, 4])
        mask = clouds.mask.clone()
        mask[1] = False
        with pytest.raises(ValueError, match="clouds: cloud 1 has no point"):
            cut_holes(Clouds(clouds.points, mask, clouds.labels), generator())

    def test_a_seed_repeats_the_holes(self):
        clouds = scattered([20, 30])
        first, again, other = (cut_holes(clouds, generator(seed)) for seed in (5, 5, 6))
        assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
        assert not torch.equal(first[1], other[1])

    def test_digits(self):
        clouds = mnist_clouds("mnist5k").select(torch.arange(0, 5000, 50))
        observed, centres = cut_holes(clouds, generator())
        share = float(observed.sum() / clouds.mask.sum())
        assert 0.6 < share < 0.95 and (clouds.mask & ~observed).any(1).all()
        assert centres.dtype == torch.float32

    @pytest.mark.parametrize("radius", [0, -1.0, math.nan, math.inf])
    def test_bad_radius(self, radius):
        clouds = scattered([3])
        with pytest.raises(ValueError, match="radius = .*; a positive number"):
            cut_holes(clouds, generator(), radius=radius)
        with pytest.raises(ValueError, match="radius = .*; a positive number"):
            in_holes(clouds.points, clouds.mask, clouds.points, radius)

    def test_bad_numbers_and_shapes(self):
        clouds = scattered([3, 4])
        with pytest.raises(ValueError, match="holes = 0"):
            cut_holes(clouds, generator(), holes=0)
        for shape in ((2, 2), (1, 2, 2), (2, 2, 3)):
            with pytest.raises(ValueError, match=r"centres has shape .*; \[2, holes, 2\] is needed"):
                in_holes(clouds.points, clouds.mask, torch.zeros(shape), 1.0)
        with pytest.raises(ValueError, match="mask of points"):
            in_holes(clouds.points, clouds.mask[:1], torch.zeros(2, 1, 2), 1.0)


class TestParticles:
    @given(sizes=st.lists(st.integers(1, 25), min_size=1, max_size=5), ratio=st.floats(1, 3), seed=st.integers(0, 99))
    @settings(max_examples=60, deadline=None)
    def test_observed_points_first_then_free_ones(self, sizes, ratio, seed):
        clouds = scattered(sizes, seed)
        # hide a few points, so that the mask has gaps
        observed = clouds.mask & (torch.rand(clouds.mask.shape, generator=generator(seed)) < 0.7)
        observed[:, 0] = True
        points, mask, fixed = free_particles(clouds.points, observed, generator(seed), ratio)
        counts = observed.sum(1).tolist()
        totals = [math.floor(ratio * m + 1e-9) for m in counts]
        assert points.shape == (len(sizes), max(totals), 2) and mask.shape == fixed.shape == points.shape[:2]
        for i, (m, total) in enumerate(zip(counts, totals, strict=True)):
            assert mask[i].tolist() == [True] * total + [False] * (max(totals) - total)
            assert fixed[i].tolist() == [True] * m + [False] * (max(totals) - m)
            assert torch.equal(points[i, :m], clouds.points[i][observed[i]])
        assert not points[~mask].any() and points.dtype == torch.float32

    def test_numbers_of_particles(self):
        for m, ratio, total in ((40, 1.275, 51), (151, 1.275, 192), (100, 1.15, 115), (3, 1.275, 3), (4, 1.275, 5),
                                (7, 1, 7)):
            assert free_particles(torch.randn(1, m, 2), torch.ones(1, m, dtype=torch.bool), generator(),
                                  ratio)[1].sum() == total

    def test_free_particles_have_mean_and_spread_of_the_observed_cloud(self):
        points = torch.randn(2, 60, 2, generator=generator(1)) * torch.tensor([3.0, 0.2]) + torch.tensor([5.0, -1.0])
        observed = torch.ones(2, 60, dtype=torch.bool)
        observed[:, 40:] = False
        points[:, 40:] = 1e6  # hidden: must not count
        particles, mask, fixed = free_particles(points, observed, generator(), ratio=200)
        found, wanted = moments(particles, mask & ~fixed), moments(points, observed)
        n = 199 * 40
        error = (found[0] - wanted[0]) / wanted[1] * math.sqrt(n)  # standard errors
        assert error.abs().max() < 4 and (found[1] / wanted[1] - 1).abs().max() < 4 / math.sqrt(2 * n)

    def test_a_seed_repeats_the_particles_and_clouds_differ(self):
        clouds = scattered([20])
        twins = clouds.select(torch.tensor([0, 0]))
        first, again, other = (free_particles(twins.points, twins.mask, generator(seed))[0] for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert not torch.equal(first[0, 20:], first[1, 20:]) and torch.equal(first[0, :20], first[1, :20])

    @pytest.mark.parametrize("ratio", [0.99, math.nan, math.inf])
    def test_bad_ratio(self, ratio):
        clouds = scattered([3])
        with pytest.raises(ValueError, match="ratio = .*; a number of at least 1"):
            free_particles(clouds.points, clouds.mask, generator(), ratio)

    def test_bad_masks(self):
        clouds = scattered([3, 4])
        nothing = clouds.mask.clone()
        nothing[0] = False
        with pytest.raises(ValueError, match=r"observed: cloud 0 has no point \(1 of 2 clouds\)"):
            free_particles(clouds.points, nothing, generator())
        with pytest.raises(ValueError, match=r"mask of points is torch.int64"):
            free_particles(clouds.points, clouds.mask.long(), generator())
