"""The network F: sizes, symmetries, masks, its cached branch, and the equilibrium around it."""

import pytest
import torch
from twelvefold.core.seeds import torch_generator
from twelvefold.nn.counter_random import dropout_masks, mask_keys
from twelvefold.nn.stacked import count, stack
from twelvefold.papers.ddeq.classifiers import architecture, draw_member, parameters
from twelvefold.papers.ddeq.equilibrium import Solver, applied, equilibrium, residual, solve
from twelvefold.papers.ddeq.network import NetworkConfig, draw_network, encode, transform

from tests.papers.ddeq.plain_network import PlainNetwork

SMALL = NetworkConfig(width=8, narrow=4, heads=2, hidden=12, cross_layers=2)


def members(config=SMALL, number=3, dtype=torch.float64):
    drawn = stack([draw_network(config, torch_generator(1, member, "weights")) for member in range(number)])
    # norms away from the identity, so that a forgotten one shows
    noise = torch.Generator().manual_seed(0)
    moved = {name: weight + 0.1 * torch.randn(weight.shape, generator=noise) for name, weight in drawn.items()}
    return {name: weight.to(dtype) for name, weight in moved.items()}


def data(number=3, clouds=2, points=7, particles=5, width=8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(number, clouds, points, 2, generator=generator, dtype=dtype)
    z = torch.randn(number, clouds, particles, width, generator=generator, dtype=dtype)
    return x, z


def test_sizes_are_those_of_the_authors_classes():
    for sizes, dimension, classes, total, network in (({}, 2, 10, 773_114, 771_824),
                                                      ({"cross_layers": 3}, 3, 40, 1_173_544, 1_168_384)):
        drawn = stack([draw_network(NetworkConfig(dimension=dimension, **sizes), torch.Generator().manual_seed(0))])
        assert count(drawn) == network
        assert parameters("ddeq", sizes, dimension, classes) == total


def test_equivariant_in_particles_and_invariant_in_the_input():
    weights, (x, z) = members(), data()
    out = transform(SMALL, weights, encode(SMALL, weights, x), z)
    rows, points = torch.randperm(5), torch.randperm(7)
    moved = transform(SMALL, weights, encode(SMALL, weights, x[:, :, points]), z[:, :, rows])
    torch.testing.assert_close(moved, out[:, :, rows], atol=1e-12, rtol=0)


def test_particles_see_each_other_and_the_input():
    weights, (x, z) = members(), data()
    out = transform(SMALL, weights, encode(SMALL, weights, x), z)
    other_z, other_x = z.clone(), x.clone()
    other_z[:, :, 0] += 1
    other_x[:, :, 0] += 1
    assert (transform(SMALL, weights, encode(SMALL, weights, x), other_z) - out)[:, :, 1:].abs().max() > 1e-3
    assert (transform(SMALL, weights, encode(SMALL, weights, other_x), z) - out).abs().max() > 1e-3


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_padding_changes_nothing(pooling):
    config = NetworkConfig(width=8, narrow=4, heads=2, hidden=12, pooling=pooling)
    weights, (x, z) = members(config), data()
    out = transform(config, weights, encode(config, weights, x), z)
    padded = torch.cat([x, torch.full_like(x, 9.0)[:, :, :4]], 2)
    mask = torch.arange(11).expand(3, 2, 11) < 7
    particles = torch.cat([z, torch.full_like(z, 5.0)[:, :, :2]], 2)
    there = torch.arange(7).expand(3, 2, 7) < 5
    got = transform(config, weights, encode(config, weights, padded, mask), particles, mask=there)
    torch.testing.assert_close(got[:, :, :5], out, atol=1e-12, rtol=0)
    assert got[:, :, 5:].abs().max() == 0


def test_fixed_particles_pass_unchanged_and_are_seen():
    weights, (x, z) = members(), data()
    context, fixed = encode(SMALL, weights, x), torch.zeros(3, 2, 5, dtype=torch.bool)
    fixed[:, :, :2] = True
    out = transform(SMALL, weights, context, z, fixed=fixed)
    assert torch.equal(out[:, :, :2], z[:, :, :2])
    other = z.clone()
    other[:, :, 0] += 1
    assert (transform(SMALL, weights, context, other, fixed=fixed) - out)[:, :, 2:].abs().max() > 1e-3


def test_members_compute_what_they_compute_alone():
    weights, (x, z) = members(dtype=torch.float32), data(dtype=torch.float32)
    together = transform(SMALL, weights, encode(SMALL, weights, x), z)
    for member in range(3):
        own = {name: weight[member : member + 1] for name, weight in weights.items()}
        one = slice(member, member + 1)
        alone = transform(SMALL, own, encode(SMALL, own, x[one]), z[one])
        torch.testing.assert_close(alone, together[one], atol=1e-6, rtol=0)


@pytest.mark.parametrize("heads", [2, 8])  # both ways of attention
@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_equals_a_network_of_torch_modules(heads, pooling):
    config = NetworkConfig(width=8, narrow=4, heads=heads, hidden=12, cross_layers=2, pooling=pooling)
    weights, (x, z) = members(config, 1), data(1)
    plain = PlainNetwork(config, weights)
    assert sum(weight.numel() for weight in plain.parameters()) == count(weights)
    for mask in (None, torch.arange(7).expand(1, 2, 7) < torch.tensor([[[4], [7]]])):
        ours = transform(config, weights, encode(config, weights, x, mask), z)
        theirs = plain(z[0], x[0], None if mask is None else mask[0])
        torch.testing.assert_close(ours[0], theirs, atol=1e-10, rtol=0)


def test_dropout_masks_are_shared_by_all_rows_and_differ_between_draws():
    config = NetworkConfig(width=8, narrow=4, heads=2, hidden=12, dropout=0.5)
    weights, (x, z) = members(config, dtype=torch.float32), data(dtype=torch.float32)
    keys = mask_keys(0, [0, 1, 2], "dropout")
    first, second = config.mask_elements(2)
    assert (first, second) == (2 * 12, 3 * 2 * 12)
    context = encode(config, weights, x, masks=dropout_masks(keys, 0, first, 0.5))
    apply = applied(config, weights, context, keys=keys, counter=torch.zeros((), dtype=torch.int64))
    one, two = apply(z), apply(z)
    assert (one - two).abs().max() > 1e-3
    twin = z.clone()
    twin[:, :, 1] = twin[:, :, 0]  # equal rows stay equal only if they share their masks
    out = apply(twin)
    torch.testing.assert_close(out[:, :, 0], out[:, :, 1], atol=1e-6, rtol=0)


def test_the_cached_branch_gives_the_particles_of_recomputing_it():
    weights, (x, z) = members(), data()
    solver = Solver(steps=6, step_size=2.0)
    cached = equilibrium(SMALL, weights, x, None, z, solver).found
    recomputed = solve(lambda at: transform(SMALL, weights, encode(SMALL, weights, x), at), z, solver).particles
    assert torch.equal(cached, recomputed)


def test_one_step_gradient_is_that_of_one_application_at_the_particles_found():
    weights, (x, z) = members(), data()
    leaf = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    made = equilibrium(SMALL, leaf, x, None, z, Solver(steps=4))
    ours = torch.autograd.grad(made.output.square().sum(), list(leaf.values()))
    again = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    plain = transform(SMALL, again, encode(SMALL, again, x), made.found)
    theirs = torch.autograd.grad(plain.square().sum(), list(again.values()))
    assert max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)) < 1e-8


def test_solvers_lower_the_residual_of_an_untrained_network():
    weights, (x, z) = members(), data()
    for solver in (Solver(steps=30, step_size=2.0), Solver(steps=30, method="iteration"),
                   Solver(steps=10, method="anderson")):
        made = equilibrium(SMALL, weights, x, None, z, solver, record=True)
        assert made.flow.values.shape == (solver.steps + 1, 3, 2)
        share = 0.5 if solver.method == "flow" else 0.05
        assert (made.flow.values[-1] < share * made.flow.values[0]).all()
        last = residual(made.found, transform(SMALL, weights, encode(SMALL, weights, x), made.found))
        torch.testing.assert_close(last, made.flow.values[-1])


def test_zero_steps_leave_the_start():
    weights, (x, z) = members(), data()
    made = equilibrium(SMALL, weights, x, None, z, Solver(steps=0), applications=2)
    assert torch.equal(made.found, z)
    context = encode(SMALL, weights, x)
    torch.testing.assert_close(made.output, transform(SMALL, weights, context, transform(SMALL, weights, context, z)))


@pytest.mark.parametrize("sizes", [{"heads": 3}, {"width": 0}, {"dropout": 1.0}, {"pooling": "max"}, {"hidden": 1.5}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=next(iter(sizes))):
        NetworkConfig(**({"width": 8, "heads": 2} | sizes))


def test_shapes_that_do_not_fit_are_refused():
    weights, (x, z) = members(), data()
    with pytest.raises(ValueError, match="clouds has shape"):
        encode(SMALL, weights, x[..., :1])
    with pytest.raises(ValueError, match="clouds has shape"):
        encode(SMALL, weights, x[:, :, :0])
    with pytest.raises(ValueError, match="mask is"):
        encode(SMALL, weights, x, torch.ones(3, 2, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match="particles has shape"):
        transform(SMALL, weights, encode(SMALL, weights, x), z[:2])


@pytest.mark.parametrize(("settings", "word"), [
    ({"method": "newton"}, "method"), ({"steps": -1}, "steps"), ({"step_size": 0.0}, "step_size"),
    ({"decay": 0.0}, "decay"),
])
def test_impossible_solvers_are_refused(settings, word):
    with pytest.raises(ValueError, match=word):
        Solver(**settings)


def test_unknown_classifiers_and_sizes_are_refused():
    with pytest.raises(ValueError, match="kind = 'mlp'"):
        architecture("mlp", {}, 2, 10)
    with pytest.raises(ValueError, match="sizes"):
        architecture("ddeq", {"depth": 3}, 2, 10)
    model = architecture("deepsets", {"widths": [4, 4], "head": [4]}, 2, 3)
    assert draw_member(model, torch.Generator().manual_seed(0))["head.1.weight"].shape == (4, 3)
