"""Draws of counts: exact where they are few, by the normal law where they are many. Pure.

Every draw keeps totals: what is spread is all somewhere, and nothing is drawn that is not there.
A thousand nodes take some draws each in every step, so this is written to be fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, sqrt
from random import Random
from typing import Final

FEW: Final = 10.0
"""Below so many expected, draws are exact."""


def binomial(random: Random, count: int, share: float) -> int:
    """How many of `count` it happens to, each with the probability `share`."""
    mean = count * share
    if mean <= 0.0:
        return 0
    if share >= 1.0:
        return count
    if mean >= FEW and count - mean >= FEW:
        # The sum of three even numbers is close to normal, and quicker. It is never further from
        # the mean than three standard deviations, which is within 0 and `count` here.
        uniform = random.random
        deviations = 2.0 * (uniform() + uniform() + uniform() - 1.5)
        return int(mean + deviations * sqrt(mean * (1.0 - share)) + 0.5)
    if mean >= FEW:
        return count - _few(random, count, 1.0 - share)
    return _few(random, count, share)


def _few(random: Random, count: int, share: float) -> int:
    """By inversion: as many steps as are drawn."""
    rest = random.random()
    odds = share / (1.0 - share)
    likely = (1.0 - share) ** count
    drawn = 0
    while rest > likely and drawn < count:
        rest -= likely
        likely *= odds * (count - drawn) / (drawn + 1)
        drawn += 1
    return drawn


def spread(random: Random, count: int, places: int) -> list[int]:
    """Throw `count` into places at random, each as likely: a multinomial draw."""
    thrown = []
    for left in range(places, 1, -1):
        here = binomial(random, count, 1.0 / left)
        thrown.append(here)
        count -= here
    if places:
        thrown.append(count)
    return thrown


def split(random: Random, count: int, weights: Sequence[float]) -> list[int]:
    """Throw `count` into places that are as likely as their weights, one of them above 0."""
    thrown = []
    rest = sum(weights)
    for index, weight in enumerate(weights):
        is_last = rest <= weight or index == len(weights) - 1
        here = count if is_last else binomial(random, count, weight / rest)
        thrown.append(here)
        count -= here
        rest -= weight
    return thrown


def start_s(random: Random, median_s: float, sigma: float) -> float:
    """How long a Pod takes to be ready: lognormal."""
    return median_s * exp(sigma * random.gauss(0.0, 1.0))
