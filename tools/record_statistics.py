#!/usr/bin/env python3
"""Records what scipy says of the statistics: tests/files/statistics.json.

    python tools/record_statistics.py        needs numpy, scipy
"""
import json
import pathlib

import numpy as np
import scipy.stats

rng = np.random.default_rng(11)


def stratified_mean(strata, signs=None):
    signs = np.ones(sum(map(len, strata))) if signs is None else signs
    means, begin = [], 0
    for stratum in strata:
        means.append(np.mean(signs[begin:begin + len(stratum)] * stratum))
        begin += len(stratum)
    return float(np.mean(means))


def sign_flip_case(name, strata):
    """scipy flips the signs of all values; the strata enter by the statistic, a mean with weights."""
    strata = [np.asarray(stratum, dtype=float) for stratum in strata]
    weights = np.concatenate([np.full(len(s), 1 / (len(s) * len(strata))) for s in strata])
    values = np.concatenate(strata) * weights
    result = scipy.stats.permutation_test((values,), lambda x, axis: np.sum(x, axis=axis), permutation_type="samples",
                                          vectorized=True, n_resamples=np.inf, alternative="two-sided")
    return {"name": name, "strata": [list(map(float, s)) for s in strata], "mean": stratified_mean(strata),
            "p": float(result.pvalue)}


def sign_flip_cases():
    yield sign_flip_case("two pairs", [[0.2, 0.1]])
    yield sign_flip_case("three equal seeds", [[0.1, 0.1, 0.1]])
    yield sign_flip_case("four tasks, three seeds, one direction", [[1, 2, 3], [2, 1, 4], [5, 3, 2], [1, 1, 2]])
    yield sign_flip_case("a zero among them", [[0.0, 0.3, -0.1], [0.2, 0.25, 0.4]])
    yield sign_flip_case("strata of unequal size", [[0.5], [0.1, -0.2, 0.15], [0.02, 0.3]])
    yield sign_flip_case("no difference", [[0.3, -0.3], [0.1, -0.1]])
    for size in [(3, 3, 3), (4, 4), (5, 3, 4)]:
        yield sign_flip_case(f"random {size}", [rng.normal(0.4, 1, n) for n in size])


def mcnemar_case(only_first, only_second):
    discordant = only_first + only_second
    p = scipy.stats.binomtest(min(only_first, only_second), discordant, 0.5).pvalue if discordant else 1.0
    return {"only_first": only_first, "only_second": only_second, "p": float(p)}


def kruskal_case(name, groups):
    result = scipy.stats.kruskal(*groups)
    return {"name": name, "groups": [list(map(float, g)) for g in groups], "h": float(result.statistic),
            "p": float(result.pvalue)}


def kruskal_cases():
    yield kruskal_case("two groups", [[1, 2, 3], [4, 5, 6]])
    yield kruskal_case("ties", [[1, 2, 2], [2, 3, 3], [3, 3, 4, 4]])
    yield kruskal_case("unequal sizes", [rng.normal(0, 1, 4), rng.normal(1, 1, 7), rng.normal(0, 2, 2)])
    yield kruskal_case("equal medians", [[1, 4], [2, 3]])


def bootstrap_case(strata):
    """scipy's percentile interval, from its own draws; ours may differ by their scatter."""
    strata = tuple(np.asarray(s, dtype=float) for s in strata)
    result = scipy.stats.bootstrap(strata, lambda *s, axis: np.mean([np.mean(x, axis=axis) for x in s], axis=0),
                                   n_resamples=200000, method="percentile", rng=rng)
    return {"strata": [list(map(float, s)) for s in strata], "low": float(result.confidence_interval.low),
            "high": float(result.confidence_interval.high), "standard_error": float(result.standard_error)}


def holm(p_values):
    """By the definition: every p that is at most as large is corrected by its own place."""
    ordered, m = sorted(p_values), len(p_values)
    return [min(1.0, max((m - i) * q for i, q in enumerate(ordered) if q <= p)) for p in p_values]


holm_inputs = [[0.01], [0.01, 0.04, 0.03, 0.005], [0.2, 0.2, 0.2], [0.5, 0.9, 0.001, 0.02, 0.02]]
recorded = {
    "sign_flip": list(sign_flip_cases()),
    "mcnemar": [mcnemar_case(*pair) for pair in [(0, 0), (1, 0), (3, 3), (10, 2), (2, 10), (150, 121), (0, 40)]],
    "kruskal": list(kruskal_cases()),
    "bootstrap": [bootstrap_case(s) for s in [[rng.normal(1, 1, 12)], [rng.normal(0, 1, 5), rng.normal(2, 3, 8)]]],
    "holm": [{"p": p, "corrected": holm(p)} for p in holm_inputs],
}
target = pathlib.Path(__file__).resolve().parent.parent / "tests" / "files" / "statistics.json"
target.write_text(json.dumps(recorded) + "\n")
print(target, target.stat().st_size, "bytes")
