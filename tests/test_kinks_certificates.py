"""Limits of gradients at kinks: networks of whole numbers, certificates by a direction, verdicts, and PyTorch's choices."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from baselines.kinks import conventions, kink_certificates
from baselines.kinks import integer_nets as nets
from baselines.kinks.directions import KinkedLoss, certified, has_kinks
from baselines.kinks.kink_catalogue import KinkCatalogue
from baselines.kinks.kink_certificates import ATTEMPTS, KinkCertificates, share
from baselines.kinks.kink_conventions import KinkConventions
from baselines.kinks.kinked_models import MODELS, drawn
from baselines.kinks.overwrite import relu_overwrite
from baselines.kinks.programs import CATALOGUE
from baselines.kinks.relu import relu
from baselines.kinks.smoothing import cubic_left, cubic_right
from baselines.kinks.verdicts import Verdict, neighbours, verdict

F64 = torch.float64


@pytest.fixture(scope="module")
def kinked():
    drawn_nets = nets.integer_nets(range(300))
    return drawn_nets.chosen(nets.kinks(drawn_nets) > 0)


# -- networks of whole numbers ------------------------------------------------------------------------------------------


def test_most_integer_nets_have_kinks(kinked):
    counts = nets.kinks(kinked)
    assert (len(counts), int(counts.max()), round(float(counts.sum()) / 300)) == (293, 20, 6)


def test_a_batch_of_networks_is_each_of_them(kinked):
    """Values are whole numbers, hence exact, and gradients sums of few terms."""
    alone = nets.integer_nets([7])
    together = nets.integer_nets(range(10))
    assert all(torch.equal(a[0], b[7]) for a, b in zip(alone.weights, together.weights, strict=True))
    torch.testing.assert_close(nets.gradient(alone, F.relu)[0], nets.gradient(together, F.relu)[7], rtol=1e-14, atol=0)


def test_the_choice_matters_on_most_integer_nets(kinked):
    zero, one = (nets.gradient(kinked, partial(relu, s=s)) for s in (0.0, 1.0))
    assert torch.equal(zero, nets.gradient(kinked, torch.relu))
    assert int((zero != one).any(1).sum()) == 256  # 87 %


@pytest.mark.parametrize(("sign", "s", "largest"), [(-1, 0.0, 2.9e-5), (1, 1.0, 3.6e-5)])
def test_shifted_biases_certify_every_integer_net(kinked, sign, s, largest):
    moved = nets.shifted(kinked, sign)
    errors = nets.difference(nets.gradient(moved, torch.relu), nets.gradient(kinked, partial(relu, s=s)))
    assert float(errors.max()) == pytest.approx(largest, rel=0.02)
    assert int(nets.kinks(moved).sum()) == 0


@pytest.mark.parametrize(("smooth", "s"), [(cubic_left, 0.0), (cubic_right, 1.0)])
@pytest.mark.parametrize("r", [4.0, 1e3, 1e6])
def test_one_sided_smoothing_gives_backpropagation_exactly(kinked, smooth, s, r):
    assert torch.equal(nets.gradient(kinked, partial(smooth, r=r)), nets.gradient(kinked, partial(relu, s=s)))


def test_softplus_converges_to_something_else_on_chained_kinks(kinked):
    softplus = partial(F.softplus, beta=1e9)
    errors = nets.difference(nets.gradient(kinked, softplus), nets.gradient(kinked, partial(relu, s=0.5)))
    assert int((errors > 1e-3).sum()) == 115
    assert errors.median() < 1e-9


CLAMPED = {"clamp_outward", "clamp_inward"}  # PyTorch's version decides which is which


@pytest.mark.parametrize("name", [name for name in ATTEMPTS if name not in CLAMPED])
def test_share_with_a_certificate(name):
    assert share(nets.integer_nets(range(300), nets.OTHERS), ATTEMPTS[name]) == pytest.approx(ATTEMPTS[name].share, abs=5e-4)


def test_the_check_notices_an_overwritten_gradient(monkeypatch):
    monkeypatch.setattr(kink_certificates, "relu", relu_overwrite)
    found = {m.quantity for m in KinkCertificates(nets=40, models=1).run(0) if not m.passed}
    assert {"cubic_right_r_4", "bias_up"} <= found  # at s = 0 there is nothing to multiply


# -- a direction --------------------------------------------------------------------------------------------------------


def one_kink(slope):
    """The loss relu(θ) + slope·|θ| at θ = 0, with the derivative `slope` that PyTorch has not."""

    def evaluate(theta):
        return (torch.relu(theta) + slope * theta.abs()).sum(), -theta

    return KinkedLoss(torch.zeros(1, dtype=F64), evaluate)


def test_a_direction_needs_the_gradient_beside_the_kink():
    assert has_kinks(one_kink(0.0))
    assert certified(one_kink(0.0))
    assert not certified(one_kink(1.0))  # left of 0 the gradient is -1, at 0 backpropagation has 0


@pytest.mark.parametrize(("slope", "power", "expected"), [(1e-8, 1, False), (1.0, 1, False), (1.0, 2, True)])
def test_the_place_beside_is_on_no_kink(slope, power, expected):
    """|θ|: one too flat for the linear program is left nowhere, and where θ² is folded there is no kink."""

    def evaluate(theta):
        margin = (slope * theta**power).sum()
        return margin.abs(), margin[None]

    assert certified(KinkedLoss(torch.zeros(1, dtype=F64), evaluate)) is expected


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.reference is not None])
def test_models_with_a_reference_meet_it(name):
    losses = [loss for seed in range(12) if has_kinks(loss := drawn(MODELS[name], 1000 + seed))]
    assert {certified(loss) for loss in losses} == {MODELS[name].reference == 1.0}


def test_max_pooling_margins_are_those_of_the_entry_that_backpropagation_takes():
    loss = drawn(MODELS["max_pool_own_bias"], 3)
    margins = loss.evaluate(loss.start)[1]
    assert (margins[24:][margins[24:].isfinite()] >= 0).all()  # after the 24 values that enter ReLUs
    assert int(margins.isinf().sum()) == 24  # each window's first largest entry against itself


# -- verdicts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "point", "pieces"),
    [
        (torch.relu, (0.0,), {(0.0,), (1.0,)}),
        (torch.amax, (1.0, 1.0, 0.0), {(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)}),
        (lambda x: x[0].abs() + x[1].abs(), (0.0, 0.0), {(a, b) for a in (1.0, -1.0) for b in (1.0, -1.0)}),
    ],
)
def test_pieces_that_meet_at_a_point(program, point, pieces):
    assert {tuple(row) for row in neighbours(program, point).tolist()} == pieces


@pytest.mark.parametrize(
    ("sign", "found", "expected"),
    [
        (1, 0.5, Verdict(b=False, limiting=True, clarke=True)),
        (-1, -0.5, Verdict(b=False, limiting=False, clarke=True)),
        (1, 1.0, Verdict(b=True, limiting=True, clarke=True)),
        (1, 1.5, Verdict(b=False, limiting=False, clarke=False)),
    ],
)
def test_verdicts_on_relu(sign, found, expected):
    assert verdict(lambda x: sign * torch.relu(x), (0.0,), torch.tensor([found], dtype=F64)) == expected


def test_a_saddle_is_refused():
    with pytest.raises(ValueError, match="neither"):
        verdict(lambda x: x[0].abs() - x[1].abs(), (0.0, 0.0), torch.zeros(2, dtype=F64))


def test_programs_compute_what_their_names_say():
    x = torch.linspace(-7.0, 7.0, 29, dtype=F64)
    for name, entry in CATALOGUE.items():
        for suffix, expected in (("(=0)", torch.zeros_like(x)), ("(=x)", x)):
            if name.endswith(suffix):
                values = torch.stack([entry.program(v[None]).sum() for v in x])
                torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)


def test_the_catalogue_notices_another_version(monkeypatch):
    """Under the name of 2.13 the two programs with clamp disagree with the record, and no other."""
    if conventions.MEASURED.get(torch.__version__[:5]) == "old":
        pytest.skip("this is 2.13")
    monkeypatch.setattr(torch, "__version__", "2.13.0")
    wrong = {m.quantity.split(" | ")[0] for m in KinkCatalogue().run(0) if not m.passed}
    assert wrong == {"hardtanh-clamp (=0)", "relu6-clamp (=0)"}
    monkeypatch.setattr(torch, "__version__", "9.0.0")
    assert [m for m in KinkCatalogue().run(0) if not m.passed] == []


@pytest.mark.parametrize("check", [KinkCatalogue(), KinkConventions()], ids=["catalogue", "conventions"])
def test_the_installed_version_is_as_recorded(check):
    if not any(torch.__version__.startswith(prefix) for prefix in conventions.MEASURED):
        pytest.skip("nobody measured this version")
    rows = list(check.run(0))
    assert [m for m in rows if not m.passed] == []
    assert sum(m.low == m.high for m in rows) > 60  # they are bounds, not records


@pytest.mark.parametrize(
    ("version", "interval"), [("2.13.0", (1, 1)), ("2.14.1", (0, 0)), ("2.14.0", (-torch.inf, torch.inf))]
)
def test_conventions_are_recorded_by_version(version, interval):
    assert conventions.expected(conventions.CONVENTIONS["clamp_0"], version) == interval
    assert conventions.expected(conventions.CONVENTIONS["sqrt_0"], "2.13.0") == (torch.inf, torch.inf)
