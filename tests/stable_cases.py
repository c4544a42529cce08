"""Stable networks with layers that differ, to compute with in float64."""

import torch

from suite.catalog import Catalog

CATALOG = Catalog()
REVERSIBLE = ("hamiltonian", "hamiltonian_two_layer", "leapfrog", "midpoint", "momentum_resnet", "revnet")
ONE_WAY = ("antisymmetric", "h1_dnn", "lm_resnet", "parabolic", "resnet", "resnet_sn")
DENSE = ONE_WAY + REVERSIBLE


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(name, **fields):
    return CATALOG.build("network", {"name": name, "fields": fields})


def built(name, in_shape=(5,), out_features=3, **fields):
    """A float64 module whose parameters are all away from their start."""
    torch.manual_seed(0)
    module = network(name, **fields).build(in_shape, out_features).double()
    with torch.no_grad():
        for k, leaf in enumerate(module.parameters()):
            leaf.add_(0.2 * draw(*leaf.shape, seed=k + 1))
    return module


def gradient(module, x):
    """The gradient of some scalar of the predictions in all parameters, as a vector."""
    found = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    return torch.cat([leaf.flatten() for leaf in found])
