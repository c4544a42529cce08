"""Optimizers of this project in a training loop of one's own."""

import copy
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.contract import Optimizer
from baselines.forward.fgd import Fgd
from baselines.forward.fomoh import Fomoh
from baselines.forward.fomoh_bp import FomohBP
from baselines.forward.fomoh_kd_safe import FomohKDSafe
from baselines.forward.hizoo import Hizoo
from baselines.forward.mezo import Mezo
from baselines.forward.newton import Newton
from baselines.forward.subspace_gauss_newton import SubspaceGaussNewton
from baselines.fractional.frac_accumulate import FracAccumulate
from baselines.fractional.gl_memory import GLMemory
from baselines.habit import TorchOptimizer
from baselines.standard.adam import Adam
from baselines.standard.schedule_free_adamw import ScheduleFreeAdamw

ROOT = Path(__file__).resolve().parents[1]
X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
Y = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
METHODS = [Fgd(K=3), Fomoh(), FomohKDSafe(), Mezo(), Hizoo(), Adam(), GLMemory(), ScheduleFreeAdamw()]


def model(*extra, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), *extra, nn.Linear(6, 2))


def closure(net):
    return lambda: F.mse_loss(net(X), Y)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("extra", [nn.Identity, lambda: nn.LayerNorm(6)], ids=["plain", "normed"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_a_closure_and_a_batch_are_the_same_step(method, extra):
    nets = [model(extra()), model(extra())]
    live, batched = TorchOptimizer(nets[0], method), TorchOptimizer(nets[1], method, F.mse_loss)
    for _ in range(3):
        losses = live.step(closure(nets[0])), batched.step(batch=(X, Y))
        torch.testing.assert_close(*losses)
    torch.testing.assert_close(weights(nets[0]), weights(nets[1]))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_the_loss_falls(method):
    net = model()
    optimizer = TorchOptimizer(net, method)
    losses = [float(optimizer.step(closure(net))) for _ in range(40)]
    with optimizer.evaluating():
        assert closure(net)() < losses[0]


def test_gauss_newton_takes_a_batch_and_says_so():
    net = model()
    with pytest.raises(ValueError, match=r"which a closure hides: write TorchOptimizer\(model, method, loss\)"):
        TorchOptimizer(net, SubspaceGaussNewton()).step(closure(net))
    optimizer = TorchOptimizer(net, SubspaceGaussNewton(), F.mse_loss)
    losses = [float(optimizer.step(batch=(X, Y))) for _ in range(40)]
    assert losses[-1] < 0.9 * losses[0]
    assert optimizer.calls == {"gauss_newton": 40}


def test_adam_is_that_of_torch():
    nets = [model(), model()]
    ours, theirs = TorchOptimizer(nets[0], Adam(lr=0.01)), torch.optim.Adam(nets[1].parameters(), lr=0.01)
    for _ in range(5):
        ours.step(closure(nets[0]))
        theirs.zero_grad()
        closure(nets[1])().backward()
        theirs.step()
    assert torch.equal(weights(nets[0]), weights(nets[1]))


class Remembering(Optimizer):
    """Gradient descent that keeps the points where it was, without a copy."""

    lr: float = 0.1

    def init(self, params):
        return [params]

    def step(self, oracle, params, state, generator, rate):
        _, grads = oracle.grad(params)
        return {n: p - self.lr * rate * grads[n] for n, p in params.items()}, [*state, params]


def test_methods_may_remember_where_they_were():
    net = model()
    before = weights(net)
    optimizer = TorchOptimizer(net, Remembering())
    for _ in range(2):
        optimizer.step(closure(net))
    past = [torch.cat([p.flatten() for p in point.values()]) for point in optimizer.method_state]
    assert torch.equal(past[0], before)
    assert torch.equal(past[1], before)
    assert not torch.equal(past[2], before)
    assert not torch.equal(past[2], weights(net))


def test_schedulers_change_the_learning_rate():
    nets = [model(), model()]
    slow, plain = TorchOptimizer(nets[0], Fomoh(lr=0.4)), TorchOptimizer(nets[1], Fomoh(lr=0.1))
    scheduler = torch.optim.lr_scheduler.StepLR(slow, step_size=1, gamma=0.5)
    start = copy.deepcopy(nets[0].state_dict())
    for _ in range(2):
        slow.step(closure(nets[0]))
        scheduler.step()
        nets[0].load_state_dict(start)
        plain.step(closure(nets[1]))
        nets[1].load_state_dict(start)
    assert slow.param_groups[0]["lr"] == 0.1
    slow.step(closure(nets[0]))
    plain.step(closure(nets[1]))
    torch.testing.assert_close(weights(nets[0]), weights(nets[1]))


@pytest.mark.parametrize("method", [Fomoh(), Hizoo(smoothing=1e-3), Adam()], ids=lambda m: type(m).__name__)
def test_training_goes_on_from_a_checkpoint(method):
    net, other = model(), model(seed=1)
    first, second = TorchOptimizer(net, method), TorchOptimizer(other, method, seed=5)
    for _ in range(3):
        first.step(closure(net))
    file = io.BytesIO()
    torch.save([net.state_dict(), first.state_dict()], file)
    file.seek(0)
    weights_of_net, state = torch.load(file, weights_only=False)
    other.load_state_dict(weights_of_net)
    second.load_state_dict(state)
    for optimizer, trained in ((first, net), (second, other)):
        optimizer.step(closure(trained))
    assert torch.equal(weights(net), weights(other))


def test_dropout_has_one_mask_a_step_and_the_default_generator_is_left_alone():
    net = model(nn.Dropout(0.5))
    optimizer = TorchOptimizer(net, Fgd(lr=1e-12))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    losses = [float(optimizer.step(closure(net))) for _ in range(2)]
    assert torch.equal(torch.rand(2), expected)
    assert losses[0] != losses[1]


def test_parameters_stay_where_they_are_and_frozen_ones_are_left_alone():
    net = model()
    net[0].requires_grad_(False)
    places, frozen = [p.data_ptr() for p in net.parameters()], net[0].weight.clone()
    optimizer = TorchOptimizer(net, Newton(), F.mse_loss)
    for call in ({"closure": closure(net)}, {"batch": (X, Y)}):
        optimizer.step(**call)
    assert [p.data_ptr() for p in net.parameters()] == places
    assert torch.equal(net[0].weight, frozen)
    torch.testing.assert_close(closure(net)(), optimizer.step(closure(net)))


def backward(net):
    def evaluate():
        loss = F.mse_loss(net(X), Y)
        loss.backward()
        return loss

    return evaluate


@pytest.mark.parametrize("method", [Fomoh(), Fgd(K=2), Mezo(), Adam()], ids=lambda m: type(m).__name__)
def test_a_closure_that_calls_backward_is_refused(method):
    net = model()
    before = weights(net)
    with pytest.raises(ValueError, match="closure must compute and return the loss without calling backward on it"):
        TorchOptimizer(net, method).step(backward(net))
    assert torch.equal(weights(net), before)


def normed(*layers):
    return TorchOptimizer(model(*layers), Fgd(), F.mse_loss)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: normed().step(), "step takes a closure that returns the loss, or batch="),
        (lambda: normed().step(lambda: None), "closure must return the loss, a scalar tensor, got None"),
        (lambda: TorchOptimizer(model(), Fgd()).step(batch=(X, Y)), "needs the loss: TorchOptimizer"),
        (lambda: normed().add_param_group({"params": []}), "a TorchOptimizer has one group"),
        (lambda: TorchOptimizer(nn.Tanh(), Fgd()), "model must have parameters that require gradients"),
        (lambda: TorchOptimizer(model(), Newton(limit=5)), "newton is for at most 5 parameters"),
        (lambda: normed(nn.BatchNorm1d(6)).step(batch=(X, Y)), "Fgd cannot train this module: 2.running_mean would stay"),
        (lambda: TorchOptimizer(model(), FracAccumulate()).step(closure(model())), "needs parts of the batch"),
    ],
)
def test_mistakes_are_named(call, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        call()


class Paused(nn.Module):
    """A factor that reverse mode takes for a constant."""

    def forward(self, h):
        with torch.no_grad():
            factor = h.exp()
        return h * factor


def around(net):
    captured = list(net.parameters())
    return lambda: sum(p.square().sum() for p in captured)


@pytest.mark.parametrize("method", [Fgd(), Fgd(K=2), Fomoh(), FomohBP()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_closure_on_which_forward_and_reverse_mode_differ_is_refused(method, dtype):
    for net, loss in ((model(Paused()).to(dtype), None), (model().to(dtype), around)):
        before = weights(net)
        call = loss(net) if loss else lambda net=net: F.mse_loss(net(X.to(dtype)), Y.to(dtype))
        with pytest.raises(ValueError, match="differs from reverse mode: the closure must reach the parameters through"):
            TorchOptimizer(net, method).step(call)
        assert torch.equal(weights(net), before)
        TorchOptimizer(net, Adam()).step(call)


def test_another_closure_or_another_mode_is_compared_again():
    net = model()
    optimizer = TorchOptimizer(net, Fgd())
    runs, plain = [], closure(net)

    def counted():
        runs.append(1)
        return plain()

    counts = []
    for mode in (True, True, False, False):
        net.train(mode)
        optimizer.step(counted)
        counts.append(len(runs))
    assert counts[1] - counts[0] == counts[3] - counts[2] == 1
    assert counts[2] - counts[1] > 2
    assert optimizer.calls == {"jvp": 4}
    with pytest.raises(ValueError, match="differs from reverse mode"):
        optimizer.step(around(net))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("method", [Fgd(), Fomoh(), FomohBP()], ids=str)
def test_right_closures_are_not_refused(method, dtype):
    """Kinks, dropout, norms, running statistics and a loss that is linear in the parameters."""
    layers = [nn.ReLU(), nn.Dropout(0.5), nn.LayerNorm(6), nn.BatchNorm1d(6, momentum=0.5)]
    for seed in range(3):
        net = model(*layers[: 4 if "grad" in method.needs else 3], seed=seed).to(dtype)
        TorchOptimizer(net, method).step(lambda net=net: F.mse_loss(net(X.to(dtype)), Y.to(dtype)))

        def mixed(net=net):
            with torch.autocast("cpu", torch.bfloat16):
                return F.mse_loss(net(X.to(dtype)).float(), Y)

        TorchOptimizer(net, method).step(mixed)
        line = nn.Linear(4, 1).to(dtype)
        TorchOptimizer(line, method).step(lambda line=line: line(X.to(dtype)).sum())


@pytest.mark.parametrize("call", [lambda net: {"closure": closure(net)}, lambda net: {"batch": (X.half(), Y.half())}])
@pytest.mark.parametrize("method", [Fgd(), Fomoh()], ids=str)
def test_forward_mode_in_half_precision_is_refused(method, call):
    net = model().half()
    with pytest.raises(ValueError, match="cannot train this module: forward mode in float16 "):
        TorchOptimizer(net, method, F.mse_loss).step(**call(net))


def test_batch_norm_without_forward_mode_keeps_its_statistics():
    net = model(nn.BatchNorm1d(6))
    TorchOptimizer(net, Adam()).step(closure(net))
    assert (net[2].running_mean != 0).all()


@pytest.mark.slow
def test_nothing_warns_in_a_fresh_process():
    code = (
        "import torch; from baselines.forward.fomoh import Fomoh; from baselines.habit import TorchOptimizer\n"
        "net = torch.nn.Linear(2, 1); TorchOptimizer(net, Fomoh()).step(lambda: net(torch.ones(3, 2)).square().mean())"
    )
    line = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
