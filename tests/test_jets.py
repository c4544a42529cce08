"""Taylor mode: rules against reverse over reverse, networks against nested forward mode, refusals, memory and costs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from baselines import jet_rules
from baselines.derivatives import curvature_products, detached, tangent_products
from baselines.flops import FlopCounter, Meter
from baselines.jet import Jet, NoRule, Pairs
from baselines.jet_rules import Pass
from baselines.nested import Nested
from baselines.objective import Objective
from baselines.offers import refusal
from baselines.oracle import Oracle
from baselines.taylor import Taylor, decay_products
from suite.catalog import Catalog
from suite.memory import peak_bytes
from suite.trial import name_of
from tests.jet_cases import RULES, SHAPE


def of_variable(function):
    """Function of named parameters, its point and tangents; the weighting keeps symmetric results from cancelling."""
    generator = torch.Generator().manual_seed(1)
    params = {"x": torch.randn(SHAPE, generator=generator, dtype=torch.float64)}
    V = {"x": torch.randn(3, *SHAPE, generator=generator, dtype=torch.float64)}

    def scalar(p):
        y = function(p["x"])
        weights = torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64).reshape(y.shape)
        return (y * weights).sum() + (y * weights).sin().mean()

    return scalar, params, V


def reverse_over_reverse(function, params, V):
    x = params["x"].clone().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # the fused one has no second derivative
        value = function({"x": x})
        (g,) = torch.autograd.grad(value, x, create_graph=True)
    rows = [torch.autograd.grad(g, x, v, retain_graph=True)[0] if g.requires_grad else 0 * x for v in V["x"]]
    return (
        value.detach(),
        torch.tensordot(V["x"], g.detach(), 3),
        torch.tensordot(torch.stack(rows), V["x"], [[1, 2, 3]] * 2),
    )


@pytest.mark.parametrize("name", RULES)
def test_rules_agree_with_reverse_over_reverse(name):
    problem = of_variable(RULES[name])
    expected = reverse_over_reverse(*problem)
    tolerance = 1e-6 if name == "dtype" else 1e-10
    for found, value in zip(Taylor().curvature(*problem), expected, strict=True):
        torch.testing.assert_close(found.detach(), value, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(Taylor().slopes(*problem)[1], expected[1], rtol=tolerance, atol=tolerance)


# -- networks -------------------------------------------------------------------------------------------------------


class Applied(nn.Module):
    """A linear layer, then any function of its output."""

    def __init__(self, function, features=9, inputs=5):
        super().__init__()
        self.linear, self.function = nn.Linear(inputs, features), function

    def forward(self, x):
        return self.function(self.linear(x))


class Quartic(torch.autograd.Function):
    """x⁴ with a jvp: first derivatives in forward mode are right, second ones are not."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**4

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 4 * ctx.saved_tensors[0] ** 3 * g

    @staticmethod
    def jvp(ctx, v):
        return 4 * ctx.saved_tensors[0] ** 3 * v


def square(x):
    return x.unflatten(1, (3, 3)) + 2 * torch.eye(3, dtype=x.dtype)


def bound(network, x, y, loss=F.mse_loss, decay=0.0, dtype=torch.float64, count=3):
    """Oracle, parameters and tangents, all drawn with one seed."""
    network = network.to(dtype)
    oracle = Oracle(Objective(network, loss, decay), Meter({})).bind(x.to(dtype), y.to(dtype), seed=1)
    params = detached(dict(network.named_parameters()))
    generator = torch.Generator().manual_seed(2)
    V = {name: torch.randn(count, *p.shape, generator=generator, dtype=dtype) for name, p in params.items()}
    return oracle, params, V


def by_taylor(oracle):
    return {kind for (kind, *_), mode in oracle.objective.modes.items() if isinstance(mode, Taylor)}


def by_reverse(oracle, params, V):
    """VᵀHV from Hessian-vector products."""
    products = [oracle.hvp(params, {n: v[k] for n, v in V.items()})[1] for k in range(3)]
    return torch.stack([sum((V[n] * p[n]).flatten(1).sum(1) for n in V) for p in products])


def applied(function, **options):
    torch.manual_seed(0)
    return bound(Applied(function), torch.randn(4, 5), torch.zeros(4), lambda out, _: out.square().sum(), **options)


# What forward mode over forward mode gets wrong in silence: right by Taylor mode, or refused.
RIGHT = {
    "layer_norm": lambda x: F.layer_norm(x, (9,)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "instance_norm": lambda x: F.instance_norm(x.unflatten(1, (3, 3))),
}
REFUSED = {
    "solve": lambda x: torch.linalg.solve(square(x), x[:, :3]),
    "slogdet": lambda x: torch.linalg.slogdet(square(x))[1],
    "logdet": lambda x: torch.logdet(square(x) @ square(x).mT),
    "det": lambda x: torch.linalg.det(square(x)),
    "cumprod": lambda x: x.cumprod(1),
    "custom function": Quartic.apply,
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_nested_forward_mode_gets_wrong_is_right(name):
    weights = torch.linspace(0.5, 1.5, 36, dtype=torch.float64)
    oracle, params, V = applied(lambda x: (RIGHT[name](x).flatten() * weights[: x.numel()]).sin())
    found = oracle.curvature(params, V)[2]
    expected = by_reverse(oracle, params, V)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    wrong = curvature_products(oracle._function(), params, V)[2]
    assert (wrong - expected).abs().max() > 1e-3 * expected.abs().max()  # else this test says nothing


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_and_would_be_wrong_is_refused(name):
    oracle, params, V = applied(REFUSED[name])
    with pytest.raises(RuntimeError, match=r"to second order in forward mode|no second forward derivative"):
        oracle.curvature(params, V)
    reason = refusal(oracle.objective, oracle._x, oracle._y, frozenset({"curvature"}))
    assert reason.startswith("curvature is not to be had")
    torch.testing.assert_close(oracle.jvps(params, V)[1], oracle.gauss_newton(params, V)[1])  # first order is right


# What Taylor mode cannot follow, in ways a module may be written: forward mode over forward mode is asked instead.
UNFOLLOWED = {
    "running maximum": lambda x: x.cummax(1)[0].exp(),
    "detach": lambda x: x * x.detach().exp(),
    "write into a view": lambda x: x.exp().view(4, 3, 3)[:, 0].mul(2).reshape(-1)[:4].sin_(),
    "inverse": lambda x: torch.linalg.inv(square(x)),
    "host": lambda x: x * float(x.shape[1]) + x.exp().cummax(1)[0],
}


@pytest.mark.parametrize("name", UNFOLLOWED)
def test_without_a_rule_nested_forward_mode_answers(name):
    oracle, params, V = applied(UNFOLLOWED[name])
    torch.testing.assert_close(oracle.curvature(params, V)[2], by_reverse(oracle, params, V), rtol=1e-9, atol=1e-9)
    assert by_taylor(oracle) == set()


class Switching(nn.Module):
    """Takes one path in training and another one otherwise."""

    def __init__(self, training, evaluating):
        super().__init__()
        self.paths = {True: training, False: evaluating}

    def forward(self, x):
        return self.paths[self.training](x)


PLAIN, INVERSE = torch.tanh, lambda x: x * torch.linalg.inv(square(x)).flatten(1)


@pytest.mark.parametrize(
    ("first", "then"),
    [(PLAIN, INVERSE), (INVERSE, PLAIN), (PLAIN, RIGHT["layer_norm"])],
    ids=["loses its rule", "gains one", "gains a norm"],
)
def test_a_module_that_takes_another_path_stays_right(first, then):
    oracle, params, V = applied(Switching(then, first))
    oracle.objective.eval()
    torch.testing.assert_close(oracle.curvature(params, V)[2], by_reverse(oracle, params, V), rtol=1e-9, atol=1e-9)
    oracle.objective.train()
    torch.testing.assert_close(oracle.curvature(params, V)[2], by_reverse(oracle, params, V), rtol=1e-9, atol=1e-9)


def test_a_module_whose_other_path_would_be_wrong_is_refused():
    oracle, params, V = applied(Switching(lambda x: INVERSE(F.layer_norm(x, (9,))), INVERSE))
    oracle.objective.eval()
    oracle.curvature(params, V)
    oracle.objective.train()
    with pytest.raises(RuntimeError, match="NativeLayerNorm"):
        oracle.curvature(params, V)


@pytest.mark.parametrize("function", [torch.tanh, lambda x: F.gelu(x).tanh(), lambda x: F.glu(x.tanh()[:, :8])])
def test_what_a_rule_raises_is_no_lack_of_a_rule(monkeypatch, function):
    """An error of a rule comes to light, wherever the operation is called from; nested forward mode would hide it."""

    def broken(*args):
        raise TypeError("a rule with a bug")

    monkeypatch.setitem(jet_rules.RULES, torch.ops.aten.tanh.default, broken)
    oracle, params, V = applied(function)
    for ask in (oracle.curvature, oracle.jvps, oracle.gauss_newton):
        with pytest.raises(TypeError, match="a rule with a bug"):
            ask(params, V)


def test_a_module_that_looks_into_its_tensors_has_no_rule():
    oracle, params, V = applied(lambda x: x * float(x.detach().numpy().max()))
    with pytest.raises(NoRule), torch.no_grad(), Pass(Pairs.symmetric(1)) as taken, taken.unaware():
        Jet(torch.ones(3), torch.ones(1, 3), None).numpy()
    with pytest.raises(RuntimeError):  # of nested forward mode, which is asked then
        oracle.jvps(params, V)


def test_a_parameter_that_is_a_number_decays():
    _, slopes, matrix = decay_products({"a": torch.tensor(3.0)}, {"a": torch.tensor([2.0, 1.0])}, 0.5)
    assert slopes.tolist() == [3.0, 1.5]
    assert matrix.tolist() == [[2.0, 1.0], [1.0, 0.5]]


@pytest.mark.parametrize("training", [True, False])
def test_attention_layers_are_followed_in_evaluation_too(training):
    """Where nothing requires a gradient, PyTorch would take a fused path, which forward mode cannot follow."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True).train(training)
    network = nn.Sequential(nn.Unflatten(1, (3, 4)), layer, nn.Flatten())
    oracle, params, V = bound(network, torch.randn(4, 12), torch.randn(4, 12))
    with sdpa_kernel(SDPBackend.MATH):  # the fused one has no second derivative by reverse mode
        expected = by_reverse(oracle, params, V)
    torch.testing.assert_close(oracle.curvature(params, V)[2], expected, rtol=1e-9, atol=1e-9)
    assert refusal(oracle.objective, oracle._x, oracle._y, frozenset({"jvp", "curvature"})) == ""
    assert torch.backends.mha.get_fastpath_enabled()


def test_one_tangent_goes_by_taylor_mode_too():
    oracle, params, V = applied(torch.tanh)
    v = {name: leaf[0] for name, leaf in V.items()}
    torch.testing.assert_close(oracle.jvp(params, v)[1], oracle.jvps(params, V)[1][0], rtol=1e-12, atol=1e-12)
    assert "jvp" in by_taylor(oracle)
    assert oracle.jvp(params, v)[1].shape == ()


ENDING = {
    "item": lambda x: x * x.sum().item(),
    "float": lambda x: x * float(x.sum()),
    "numpy": lambda x: x * torch.from_numpy(x.detach().numpy()),
    "buffer": lambda x: torch.zeros(4, 9, dtype=torch.float64).add_(x),
    "out": lambda x: torch.exp(x, out=torch.zeros(4, 9, dtype=torch.float64)),
    "view in place": lambda x: x.view(4, 3, 3).mul_(2) + x.view(4, 3, 3),
    "bits": lambda x: x.view(torch.int64).view(torch.float64),
    "data": lambda x: x.data.exp(),
    "random": lambda x: torch.normal(x, 1.0),
    "complex": lambda x: x.to(torch.complex128).abs(),
    "spectrum": lambda x: torch.fft.fft(x).abs(),
    "pair": lambda x: torch.complex(x, x).real,
    "eigenvalues": lambda x: torch.linalg.eigvalsh(square(x)),
}


@pytest.mark.parametrize("name", ENDING)
def test_no_derivative_is_lost(name):
    """Leaving the pass by whatever door ends it, rather than to go on with a bare value."""
    jet = Jet(torch.randn(4, 9, dtype=torch.float64), torch.ones(1, 4, 9, dtype=torch.float64), None)
    with torch.no_grad(), Pass(Pairs.symmetric(1)), pytest.raises((NoRule, RuntimeError, TypeError)):
        ENDING[name](jet)


def test_a_jet_outside_of_its_pass_is_refused():
    with pytest.raises(NoRule, match="met a jet outside of its pass"):
        Jet(torch.ones(3), torch.ones(1, 3), None).exp()


def networks():
    catalog = Catalog()
    found = [catalog.parse("network", entry.name) for entry in catalog.entries("network") if all(entry.fields.values())]
    dear = {"resnet18": pytest.mark.slow}
    return [
        pytest.param(network, id=name_of(network), marks=dear.get(name_of(network), ()))
        for network in found
        if "curvature" in network.offers
    ]


def shape_for(network):
    for shape in ((5,), (1, 8, 8), ()):
        try:
            network.build(shape, 3)
        except ValueError as error:
            if "not installed" in str(error):
                pytest.skip(str(error))
            continue
        return shape
    raise AssertionError(f"no shape fits {network}")


UNRULED = {"resnet_sn", "neural_ode"}  # singular values, and the operators of a solver: nested forward mode gets them right


@pytest.mark.parametrize("network", networks())
def test_networks_of_the_suite_go_by_taylor_mode(network):
    shape = shape_for(network)
    torch.manual_seed(0)
    x = torch.randn(4, *shape) if shape else torch.zeros(4, 0)
    oracle, params, V = bound(network.build(shape, 3), x, torch.randn(4, 3), decay=0.1, count=2)
    nested = curvature_products(oracle._function(), params, V)
    for found, expected in zip(oracle.curvature(params, V), nested, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    expected = oracle._gauss_newton(Nested(), params, V)
    for found, value in zip(oracle.gauss_newton(params, V), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        oracle.jvps(params, V), tangent_products(oracle._function(), params, V), rtol=1e-10, atol=1e-10
    )
    assert by_taylor(oracle) == (set() if name_of(network) in UNRULED else {"curvature", "gauss_newton", "jvps"})


# -- memory, noise, costs -------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """Dropout, a penalty, a tied weight and a buffer that counts calls, all in one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 6)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.second.weight
        self.register_buffer("gain", torch.ones(()))

    def penalty(self):
        return self.second.weight.pow(4).sum()

    def forward(self, x):
        self.gain.mul_(2)
        hidden = F.dropout(torch.tanh(self.first(x)), 0.5, self.training)
        return self.gain * self.tied(self.second(hidden).sin())


def noisy(**options):
    torch.manual_seed(0)
    return bound(Noisy(), torch.randn(8, 5), torch.randn(8, 6), decay=0.3, count=7, **options)


@pytest.mark.parametrize("mode", [Taylor, Nested])
@pytest.mark.parametrize("limit", [1, 20_000])
def test_blocks_of_tangents_change_nothing(mode, limit):
    oracle, params, V = noisy()
    V = {name: v[:5] for name, v in V.items()}
    function, cut, whole = oracle._function("undecayed"), mode(limit), mode()
    for ask, expected in ((cut.curvature, whole.curvature), (cut.slopes, whole.slopes)):
        with cut.room.rehearsing():
            ask(function, params, {name: v[:2] for name, v in V.items()})
        for found, value in zip(ask(function, params, V), expected(function, params, V), strict=True):
            torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-12)


def unruled(x):
    """tanh by an operation without a Taylor rule."""
    return torch.tanh(x.cummax(-1)[0])


@pytest.mark.parametrize("between", [torch.tanh, unruled], ids=["taylor", "nested"])
@pytest.mark.parametrize("kind", ["curvature", "jvps", "gauss_newton"])
def test_the_peak_of_live_bytes_stays_within_the_limit(kind, between):
    """Ten tangents of a deep network on a large batch, whose derivatives without a limit would take several times it."""
    torch.manual_seed(0)
    layers = [part for _ in range(2) for part in (nn.Linear(16, 16), Applied(between, 16, 16))]
    oracle, params, V = bound(nn.Sequential(*layers), torch.randn(128, 16), torch.randn(128, 16), count=10)
    cpu = torch.device("cpu")
    primal = peak_bytes(lambda: oracle.loss(params), cpu)[0]

    def peak(limit):
        oracle.limit = limit
        oracle.objective.modes.clear()
        getattr(oracle, kind)(params, V)  # rehearses
        return peak_bytes(lambda: getattr(oracle, kind)(params, V), cpu)[0]

    limit = (peak(1e12) - primal) // 2
    results = 2 * 10 * 128 * 16 * 8 if kind == "gauss_newton" else 0  # the predictions along each tangent, and H_out of them
    assert limit > 3 * primal
    slack = 1 if between is torch.tanh else 1.25  # `vmap` copies what is not known from two tangents
    assert limit / 8 < peak(limit) <= slack * limit + primal + results
    assert by_taylor(oracle) == ({kind} if between is torch.tanh else set())


def test_noise_buffers_penalties_and_tied_weights():
    oracle, params, V = noisy()
    torch.testing.assert_close(oracle.curvature(params, V)[0], oracle.loss(params), rtol=1e-12, atol=1e-12)
    for found, expected in zip(oracle.curvature(params, V), curvature_products(oracle._function(), params, V), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert oracle.objective.network.gain == 1
    assert by_taylor(oracle) == {"curvature"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_results_come_in_the_dtype_of_the_loss(dtype):
    oracle, params, V = noisy(dtype=dtype)
    answers = [*oracle.curvature(params, V), *oracle.gauss_newton(params, V), *oracle.jvps(params, V)]
    assert {answer.dtype for answer in answers} == {dtype}
    assert by_taylor(oracle) == {"curvature", "gauss_newton", "jvps"}


def test_costs_are_those_of_the_products():
    """One layer without inputs to differentiate: 1 + K products, and 2 + K flops an entry of the bias and the loss."""
    torch.manual_seed(0)
    network = nn.Linear(50, 40)
    oracle, params, V = bound(network, torch.randn(30, 50), torch.randn(30, 40), count=4)
    oracle.jvps(params, V)
    ((_, flops),) = oracle.meter.memo.items()
    products = 5 * 2 * 30 * 50 * 40
    assert products <= flops <= products + 60 * 30 * 40
    with FlopCounter() as counter:
        oracle.objective.modes["jvps", oracle._x.shape, torch.float64].slopes(oracle._function(), params, V)
    assert counter.flops == flops
