"""Fractional-order derivatives in layers and optimizers.

Left out on purpose: Sheng's gradient at θ_{t-1} in `lagged_terminal`, a terminal that varies by itself in `weight_power`,
the adaptive terminal -λ∇f of `cfgd`, FracM, whose weights are known from code alone, gradient descent by the L1 scheme,
and equations of fractional order in the state instead of the gradient (FROND).
"""
