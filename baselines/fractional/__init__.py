"""Fractional-order derivatives in layers and optimizers.

Left out on purpose:

* FROND (Kang et al. 2024, arXiv 2404.17099), whose states, not gradients, follow an equation of fractional order: networks
  on graphs, for which there is no task here. Its solver is the predictor of `fctm`.
* Stochastic gradient descent by the L1 scheme: as known from secondary sources, its factor has the sign of how a parameter
  has moved, so that the method is not the same after a parameter and its data change their signs.
* The printed formula of FGD-ED, which shrinks the whole step; `lagged_terminal` with `kappa` does what its text says.
* IFOGD, the mode `power` of `FLinear`, without the fractional derivative of the squared loss, whose text is not known here.
"""
