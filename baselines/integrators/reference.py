"""What theory says of the named schemes, as numbers: certificates compare the code with them."""

from __future__ import annotations

from math import inf

from baselines.integrators.coefficients import RuleName

Row = tuple[int, str, bool, float, float]

# rule: order, error constant C/σ(1), zero-stable, largest parasitic root, β; derived from the order conditions
MULTISTEP: dict[str, Row] = {
    "ab1": (1, "1/2", True, 0.0, 2.0),
    "ab2": (2, "5/12", True, 0.0, 1.0),
    "ab3": (3, "3/8", True, 0.0, 6 / 11),
    "ab4": (4, "251/720", True, 0.0, 0.3),
    "ab5": (5, "95/288", True, 0.0, 90 / 551),
    "leapfrog": (2, "1/6", True, 1.0, 0.0),
    "forward_difference_3": (2, "-1/3", False, 3.0, 0.0),
    "forward_difference_4": (3, "1/4", False, 2.3452, 0.0),
    "look_ahead_4": (3, "1/12", False, 2.6861, 0.0),
    "look_ahead_5": (4, "1/20", False, 4.7028, 0.0),
    "nm4": (2, "2/3", True, 0.7071, 1.0),
    "nm4_star": (2, "5/12", True, 0.5774, 2.0),
    "nm5": (3, "7/36", True, 0.9025, (17**0.5 - 3) / 4),
    "bdf2_explicit": (1, "1", True, 1 / 3, 4.0),
    "sbdf2": (2, "2/3", True, 1 / 3, 4 / 3),
    "sbdf3": (3, "3/4", True, 0.4264, 20 / 21),
    "ogda": (1, "-1/2", True, 0.0, 2 / 3),
    "heavy_ball": (1, "19/2", True, 0.9, 38.0),
    "nesterov": (1, "43/5", True, 0.9, 20 * 1.9 / 2.8),
    "bdf1": (1, "-1/2", True, 0.0, inf),
    "bdf2": (2, "-1/3", True, 1 / 3, inf),
    "bdf3": (3, "-1/4", True, 0.4264, inf),
    "trapezoidal": (2, "-1/12", True, 0.0, inf),
}

# p: β, C of the rules of order two from four points
FOUR_POINT: dict[str, tuple[float, str]] = {
    "1/20": (4 / 19, "11/57"), "1/10": (4 / 9, "2/9"), "1/5": (1.0, "7/24"), "1/4": (4 / 3, "1/3"),
    "3/10": (12 / 7, "8/21"), "1/3": (2.0, "5/12"), "2/5": (1.5, "1/2"), "1/2": (1.0, "2/3"), "3/5": (2 / 3, "11/12"),
    "4/5": (0.25, "13/6"),
}  # fmt: skip
# hλ: spectral radius of nm4_star at the end of its stability
NEAR_LIMIT = {1.9: 0.987259, 1.99: 0.998748, 1.9999: 0.999987, 2.0001: 1.010063, 2.01: 1.106478}

RUNGE_KUTTA = {1: 2.0, 2: 2.0, 3: 2.51275, 4: 2.78529}  # order: β
# order, s, ε: β, R(−1) where it is known
CHEBYSHEV: dict[tuple[int, int, float], tuple[float, float | None]] = {
    **{(1, s, 0.0): (2.0 * s * s, None) for s in (2, 3, 5, 10)},
    (1, 2, 0.05): (7.80839, 0.128067), (1, 3, 0.05): (17.48800, 0.146136), (1, 5, 0.05): (48.46241, 0.154915),
    (1, 10, 0.05): (193.65466, 0.158530), (2, 2, 2 / 13): (2.0, 0.5), (2, 3, 2 / 13): (6.18024, 0.436806),
    (2, 5, 2 / 13): (16.60280, 0.417761), (2, 10, 2 / 13): (64.73812, 0.411183),
}  # fmt: skip
LOOKAHEAD = {5: 1 + 3**0.2, 6: 2.0}  # k: β for α = 1/2

# scheme: error at time 1 on x' = −(x³ + x), x(0) = 1.2, by the number of steps; multistep rules start with "rk4"
ERRORS_AT = (40, 80, 160, 320)
GLOBAL_ERRORS: dict[str, tuple[float, float, float, float]] = {
    "ab1": (9.02e-3, 4.47e-3, 2.22e-3, 1.11e-3), "ab2": (8.24e-4, 2.07e-4, 5.17e-5, 1.29e-5),
    "ab3": (1.36e-4, 1.77e-5, 2.27e-6, 2.87e-7), "ab4": (3.17e-5, 2.24e-6, 1.49e-7, 9.64e-9),
    "nm4": (1.19e-3, 3.14e-4, 8.06e-5, 2.04e-5), "nm4_star": (7.35e-4, 1.95e-4, 5.02e-5, 1.27e-5),
    "nm5": (5.61e-5, 8.37e-6, 1.12e-6, 1.45e-7), "bdf2_explicit": (1.78e-2, 8.86e-3, 4.43e-3, 2.21e-3),
    "sbdf2": (1.37e-3, 3.37e-4, 8.36e-5, 2.08e-5), "leapfrog": (1.65e-3, 2.71e-4, 4.57e-5, 8.40e-6),
    "rk2": (1.31e-4, 3.25e-5, 8.07e-6, 2.01e-6), "rk3": (1.34e-6, 1.50e-7, 1.79e-8, 2.18e-9),
    "rkc1": (6.05e-3, 3.00e-3, 1.49e-3, 7.45e-4), "rkc2": (1.65e-4, 4.00e-5, 9.83e-6, 2.44e-6),
}  # fmt: skip
# rule: slope from 160 to 320 steps after an Euler start
EULER_SLOPES: dict[RuleName, float] = {
    "ab1": 1.00, "ab2": 2.00, "ab3": 2.02, "ab4": 1.99, "nm4": 2.00, "nm4_star": 1.85, "nm5": 2.01, "bdf2_explicit": 1.01,
    "sbdf2": 2.00, "leapfrog": 2.00,
}  # fmt: skip

# rule: training loss of a small classifier by effective step, the median of three seeds, infinite where training diverged
CLASSIFIER_STEPS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
CLASSIFIER: dict[RuleName, tuple[float, ...]] = {
    "ab1": (0.878, 0.314, 0.135, 0.067, 0.036, 37.8), "ab2": (0.875, 0.313, 0.135, 0.070, 0.045, 47.5),
    "ab3": (0.875, 0.317, 0.142, 0.085, 24.5, 49.6), "ab4": (0.878, 0.356, 0.304, 14.4, 54.7, 124.0),
    "nm4": (0.875, 0.314, 0.139, 0.081, 0.317, 54.9), "nm4_star": (0.875, 0.313, 0.136, 0.069, 0.048, 45.8),
    "nm5": (0.893, 0.433, 0.516, 16.2, 79.6, 147.0), "bdf2_explicit": (0.881, 0.314, 0.136, 0.067, 0.035, 31.5),
    "sbdf2": (0.875, 0.313, 0.135, 0.068, 0.040, 46.4), "heavy_ball": (0.930, 0.324, 0.135, 0.064, 0.026, 0.009),
    "leapfrog": (3.82, 31.2, 79.2, 191.0, 488.0, 596.0), "look_ahead_4": (inf, inf, inf, inf, inf, inf),
}  # fmt: skip

# κ: cost of a method per gradient, over that of gradient descent, each with its best step on spectra in [1/κ, 1]. Every step
# up to β counts. At κ = 10 the best one of s stages of order one is h ≈ 2.9 for all s, far below β where s is large; with
# long steps, all hλ where R is damped, a step contracts by 1/T_s(w_0) alone: s = 3, 5, 10 would cost 12.3, 20.4, 40.8.
CONDITIONS = (10.0, 100.0, 1000.0)
COSTS: dict[str, tuple[float, float, float]] = {
    "ab1": (1.0, 1.0, 1.0), "ab2": (2.159, 2.016, 2.002), "ab3": (3.892, 3.690, 3.668), "ab4": (6.982, 6.699, 6.669),
    "nm4": (2.882, 2.098, 2.009), "nm5": (9.273, 7.333, 7.146), "sbdf2": (1.633, 1.512, 1.502),
    "ogda": (3.279, 3.027, 3.002), "bdf2_explicit": (0.365, 0.484, 0.498), "rk2": (2.221, 2.020, 2.002),
    "rk3": (2.531, 2.403, 2.388), "rk4": (3.070, 2.893, 2.873), "rkc1_3": (1.939, 1.217, 0.341),
    "rkc1_5": (3.144, 2.026, 0.203), "rkc1_10": (6.209, 4.045, 0.403), "rkc2_5": (2.930, 1.947, 0.602),
    "lookahead": (2.297, 1.820, 1.785),
}  # fmt: skip
# condition: heavy ball with the best momentum and step, Nesterov's method with 1/L and with 4/(3L + μ)
MOMENTUM_COSTS = {10.0: (0.306, 0.528, 0.451), 100.0: (0.100, 0.190, 0.163), 1000.0: (0.032, 0.062, 0.054)}

# rule: stationary variance over that of SGD at each hλ, infinite where unstable
NOISE_AT = (0.01, 0.1, 0.25, 0.5, 0.9)
NOISE: dict[str, tuple[float, ...]] = {
    "ab2": (1.010, 1.106, 1.296, 1.800, 7.207), "ab3": (1.026, 1.307, 2.128, 14.652, inf),
    "ab4": (1.071, 2.008, 10.628, inf, inf), "ogda": (1.030, 1.321, 1.960, 5.000, inf),
    "nm4": (1.013, 1.137, 1.400, 2.143, 10.290), "nm4_star": (1.010, 1.105, 1.286, 1.667, 2.636),
    "nm5": (1.140, 3.497, 59.000, inf, inf), "bdf2_explicit": (0.997, 0.974, 0.933, 0.857, 0.710),
    "sbdf2": (1.007, 1.074, 1.185, 1.400, 2.093), "heavy_ball": (0.995, 0.953, 0.881, 0.760, 0.563),
}  # fmt: skip
