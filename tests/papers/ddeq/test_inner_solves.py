"""Inner solvers at equal numbers of evaluations: what is counted, what is measured, and a map that permutes."""

import copy

import numpy as np
import pytest
import torch
from twelvefold.core.seeds import torch_generator
from twelvefold.core.sweep import sweep
from twelvefold.ot.assignment import matched_residual
from twelvefold.papers.ddeq import inner_solves as solves
from twelvefold.papers.ddeq.classification import train_classifiers, trained
from twelvefold.papers.ddeq.classifiers import architecture, draw_member
from twelvefold.papers.ddeq.cloud_batches import Stacked
from twelvefold.papers.ddeq.equilibrium import Solver, residual, solve
from twelvefold.papers.ddeq.network import NetworkConfig, draw_network

TRAINING = {
    "kind": "ddeq", "sizes": {"width": 8, "heads": 2, "hidden": 8, "narrow": 4, "pooling": "mean"},
    "solver": {"steps": 1, "step_size": 5.0}, "particle_count": 3,
    "recipe": {"steps": 2, "batch": 4, "learning_rate": 1e-2, "warmup": 0, "decay": "constant", "clip": None,
               "weight_decay": 0.0, "record_at": [2], "late": None},
    "data": {"name": "mnist5k", "train": 8, "test": 6, "points": 5}, "seed": 10_000, "members": [0, 1],
}  # fmt: skip
AT = [0, 3, 6, 12]


def solved(weights="untrained", clouds=3, **changes):
    return solves.inner_solves(TRAINING | changes, weights, solves.arms_of(5.0, 8, AT[-1]), AT, clouds)


def test_a_step_is_counted_by_the_passes_through_f():
    for changes, per_step in (
        ({}, 3), ({"form": "witness"}, 3), ({"sigma": 2.0}, 3), ({"form": "detached"}, 1),
        ({"method": "iteration"}, 1), ({"method": "anderson"}, 1),
    ):  # fmt: skip
        assert solves.step_cost(Solver(**changes)) == per_step
    start = torch.randn(1, 2, 3, 2, generator=torch.Generator().manual_seed(0))
    for arm in solves.arms_of(5.0, 2, 12):
        made = []

        def watched(z, made=made):
            made.append(z)
            return 0.5 * z

        solver = Solver(**arm["solver"])
        steps = 12 // solves.step_cost(solver)
        flow = solve(watched, start, Solver(**(arm["solver"] | {"steps": steps})))
        # a backward pass counts as two forward ones: nobody gets more than the 12 evaluations, nor less
        assert len(made) + 2 * flow.backward_calls == 12, arm["label"]


def test_arms_are_what_they_are_called():
    arms = {arm["label"]: arm["solver"] for arm in solves.arms_of(5.0, 16, 120)}
    assert tuple(arms) == solves.SOLVERS
    assert arms[solves.DECAYING]["decay"] ** 40 == pytest.approx(1 / 50)
    assert arms[solves.SMALL]["step_size"] == 1.0 and arms[solves.GAUSSIAN]["sigma"] == 4.0
    for bad in ({"step_size": 0.0}, {"width": 0}, {"evaluations": 2}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} = {next(iter(bad.values()))}"):
            solves.arms_of(**({"step_size": 5.0, "width": 8, "evaluations": 12} | bad))


def test_every_solver_starts_from_the_same_residual_and_ends_where_it_would_alone(project):
    found = solved()
    assert found["residual"].shape == (7, 2, 4, 3) and found["falling"].shape == (7, 2)
    torch.testing.assert_close(found["residual"][:, :, 0], found["residual"][:1, :, 0].expand(7, 2, 3))
    config, own, test = solves._case(TRAINING, "untrained", 3, "cpu")
    start = solves._start(TRAINING, config, 3, "cpu")
    apply = solves.applied(config, own, solves.encode(config, own, test.points, test.mask))
    for number, arm in enumerate(solves.arms_of(5.0, 8, AT[-1])):
        for place, at in enumerate(AT):
            solver = Solver(**arm["solver"])
            end = solve(apply, start, Solver(**(arm["solver"] | {"steps": at // solves.step_cost(solver)}))).particles
            with torch.no_grad():
                after = apply(end)
            # the Riesz residual, also for the Gaussian flow
            torch.testing.assert_close(found["residual"][number, :, place], residual(end, after), atol=1e-5, rtol=1e-4)
        by_rows = (end - after).square().sum(-1).mean(-1).sqrt()
        torch.testing.assert_close(found["by_rows"][number], by_rows, atol=1e-5, rtol=1e-4)
        matching = matched_residual(end, after)[0]
        torch.testing.assert_close(found["matched"][number], matching, atol=1e-5, rtol=1e-4)
        apart = [(end[:, :, i] - end[:, :, j]).norm(dim=-1) for i, j in ((0, 1), (0, 2), (1, 2))]
        torch.testing.assert_close(found["spread"][number], sum(apart) / 3, atol=1e-5, rtol=1e-4)


def test_falling_steps_are_counted():
    start = torch.tensor([[[[1.0, 0.0], [-1.0, 0.0]]]])
    shrink = {"step_size": 0.05, "form": "through"}
    measured = solves._measured(lambda z: 0.5 * z, start, shrink, [0, 3, 12])
    assert measured["falling"].tolist() == [[1.0]]
    # fixed-point iteration of a doubling map moves away at every step
    grown = solves._measured(lambda z: 2 * z, start, {"method": "iteration"}, [0, 3])
    assert grown["falling"].tolist() == [[0.0]] and grown["residual"][0, :, 0].tolist() == pytest.approx([1.0, 8.0])
    parts = solves._measured(lambda z: 0.5 * z, start, {"step_size": 0.05, "sigma": 2.0}, [0, 3, 12])
    assert parts["falling"].tolist() == [[1.0]]


def test_clouds_in_parts_are_the_same_clouds(project, monkeypatch):
    whole = solved()
    monkeypatch.setattr(solves, "_CLOUDS", 2)
    for name, value in solved().items():
        torch.testing.assert_close(value, whole[name], atol=1e-5, rtol=1e-4)


def test_a_member_is_solved_as_it_would_be_alone(project):
    both, alone = solved(), solved(members=[1])
    for name, value in alone.items():
        torch.testing.assert_close(value[:, 0], both[name][:, 1], atol=1e-5, rtol=1e-4)


def test_weights_are_those_before_and_after_training(project):
    _, first, _ = solves._case(TRAINING, "untrained", 3, "cpu")
    model = architecture("ddeq", TRAINING["sizes"], 2, 10)
    drawn = draw_member(model, torch_generator(10_000, 1, "initial weights"))
    assert all(torch.equal(first[name][1], weight) for name, weight in drawn.items())
    _, last, _ = solves._case(TRAINING, "trained", 3, "cpu")
    (result,) = sweep(train_classifiers, [TRAINING])
    assert all(torch.equal(last[name], weight) for name, weight in trained(result)[0].items())
    assert not torch.equal(first["head.weight"], last["head.weight"])
    still = copy.deepcopy(TRAINING) | {"recipe": TRAINING["recipe"] | {"learning_rate": 1e-9}}
    _, unmoved, _ = solves._case(still, "trained", 3, "cpu")
    torch.testing.assert_close(unmoved["head.weight"], first["head.weight"], atol=1e-6, rtol=0)


def test_what_does_not_fit_is_refused(project):
    with pytest.raises(ValueError, match="weights = 'half'"):
        solved("half")
    with pytest.raises(ValueError, match="clouds = 7; from 1 to the 6"):
        solved(clouds=7)
    with pytest.raises(ValueError, match="clouds = 0"):
        solved(clouds=0)
    with pytest.raises(ValueError, match="an equilibrium model, 'ddeq', is needed"):
        solved(kind="deepsets", sizes={"widths": [4], "head": [4]})
    for at in ([0], [3, 6], [0, 4], [0, 6, 3]):
        with pytest.raises(ValueError, match="ascending multiples of 3"):
            solves.inner_solves(TRAINING, "untrained", solves.arms_of(5.0, 8, 12), at, 3)


def test_the_checks_measure_contraction_and_agree_on_the_gradient(project):
    found = solves.inner_checks(TRAINING, "trained", 2, 10)
    assert found["radius"].shape == (2, 2) and bool((found["radius"] > 0).all())
    assert found["witness_error"].dtype == torch.float64 and float(found["witness_error"].max()) < 1e-12


def test_the_witness_error_sees_a_wrong_gradient(monkeypatch):
    z = torch.randn(1, 2, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert float(solves.witness_error(torch.tanh, z).max()) < 1e-12
    right = solves.wasserstein_flow
    monkeypatch.setattr(solves, "wasserstein_flow", lambda *a, **k: right(*a, **(k | {"form": "detached"})))
    assert float(solves.witness_error(torch.tanh, z).min()) > 1e-3


def test_a_turning_map_cycles_by_rows_and_is_at_rest_as_a_measure():
    corners = torch.tensor([[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]], dtype=torch.float64)
    turned = solves.third_of_a_turn(corners)
    torch.testing.assert_close(turned, corners[[1, 2, 0]])
    torch.testing.assert_close(solves.third_of_a_turn(turned.flip(0)).flip(0), corners[[2, 0, 1]])
    start = torch.tensor([[1.2, 0.3], [-0.2, 0.9], [-0.5, -0.3]], dtype=torch.float64)
    paths = solves.turning_paths(start, 61)
    assert all(path.shape == (62, 3, 2) and torch.equal(path[0], start) for path in paths.values())
    values = {name: [float(residual(z, solves.third_of_a_turn(z))) for z in path] for name, path in paths.items()}
    # iteration: a cycle of three, at the residual of the start for ever
    np.testing.assert_allclose(values[solves.ITERATION], values[solves.ITERATION][0], rtol=1e-9)
    torch.testing.assert_close(paths[solves.ITERATION][60], start)
    assert float(paths[solves.ANDERSON][-1].abs().max()) < 1e-9  # the only fixed point of rows
    end = paths[solves.DECAYING][-1]
    matching, permutation = matched_residual(end, solves.third_of_a_turn(end))
    assert values[solves.DECAYING][-1] < 1e-2 * values[solves.DECAYING][0] and float(matching) < 0.01
    assert bool((permutation != torch.arange(3)).all())
    assert float((end[0] - end[1]).norm()) > 1  # a triangle, not a point
    for bad in (torch.ones(3), torch.ones(2, 3)):
        with pytest.raises(ValueError, match="particles in the plane"):
            solves.third_of_a_turn(bad)


def test_explored_states_are_those_of_the_solver():
    config = NetworkConfig(width=8, heads=2, hidden=8, narrow=4)
    weights = {name: weight[None] for name, weight in draw_network(config, torch.Generator().manual_seed(3)).items()}
    test = Stacked(torch.randn(1, 2, 5, 2), torch.ones(1, 2, 5, dtype=torch.bool), torch.zeros(1, 2))
    apply, start = solves.one_cloud((config, weights, test), 3, 10_000, 0, 1)
    assert start.shape == (1, 1, 3, 8) and apply(start).shape == start.shape
    for arm in solves.arms_of(5.0, 8, 12):
        states = solves.visited(apply, start, Solver(**arm["solver"], steps=4))
        assert states.shape == (5, 1, 1, 3, 8) and torch.equal(states[0], start)
        torch.testing.assert_close(states[2], solve(apply, start, Solver(**arm["solver"], steps=2)).particles)
        assert not torch.equal(states[1], states[0])
