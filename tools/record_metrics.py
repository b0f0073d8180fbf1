#!/usr/bin/env python3
"""Records what scikit-learn and scipy say of the metrics: tests/files/metrics.json.

    python tools/record_metrics.py        needs numpy, scikit-learn, scipy
"""
import json
import math
import pathlib
import warnings

import numpy as np
import scipy.stats
import sklearn.metrics

warnings.simplefilter("ignore")  # constant inputs are among the cases on purpose
rng = np.random.default_rng(7)


def class_case(name, predictions, labels, num_classes=2):
    predictions, labels = [int(p) for p in predictions], [int(l) for l in labels]
    return {
        "name": name,
        "num_classes": num_classes,
        "predictions": predictions,
        "labels": labels,
        "accuracy": sklearn.metrics.accuracy_score(labels, predictions),
        "matthews_correlation": sklearn.metrics.matthews_corrcoef(labels, predictions),
        "f1": sklearn.metrics.f1_score(labels, predictions, average="binary", pos_label=1, zero_division=0)
        if num_classes == 2 else None,
        "macro_f1": sklearn.metrics.f1_score(labels, predictions, average="macro", zero_division=0),
    }


def score_case(name, predictions, targets):
    predictions, targets = [float(p) for p in predictions], [float(t) for t in targets]
    finite = lambda value: None if math.isnan(value) else float(value)
    return {
        "name": name,
        "predictions": predictions,
        "targets": targets,
        "pearson": finite(scipy.stats.pearsonr(predictions, targets)[0]),
        "spearmanr": finite(scipy.stats.spearmanr(predictions, targets)[0]),
    }


def class_cases():
    yield class_case("one right", [1], [1])
    yield class_case("one wrong", [0], [1])
    yield class_case("two", [1, 0], [1, 1])
    yield class_case("all right", [0, 1, 1, 0, 1], [0, 1, 1, 0, 1])
    yield class_case("all wrong", [1, 0, 0, 1], [0, 1, 1, 0])
    yield class_case("constant 1", [1] * 9, [1, 0, 1, 1, 0, 1, 1, 0, 1])
    yield class_case("constant 0", [0] * 9, [1, 0, 1, 1, 0, 1, 1, 0, 1])
    yield class_case("no positive anywhere", [0] * 6, [0] * 6)
    for size, share in [(7, 0.5), (97, 0.3), (1043, 0.69)]:
        labels = rng.random(size) < share
        yield class_case(f"random {size}", np.where(rng.random(size) < 0.8, labels, ~labels), labels)
    for size in [5, 211]:
        labels = rng.integers(0, 3, size)
        yield class_case(f"three classes {size}", np.where(rng.random(size) < 0.6, labels, rng.integers(0, 3, size)),
                         labels, 3)
    yield class_case("four classes, one absent", [0, 1, 1, 3, 0, 3], [0, 1, 3, 3, 1, 0], 4)


def score_cases():
    yield score_case("two", [1.0, 2.0], [0.5, 3.0])
    yield score_case("two, opposite", [2.0, 1.0], [0.5, 3.0])
    yield score_case("constant predictions", [0.1] * 5, [1, 2, 3, 4, 5])
    yield score_case("constant targets", [1, 2, 3, 4, 5], [2.7] * 5)
    yield score_case("ties on both sides", [1, 1, 2, 2, 3, 3, 3], [5, 4, 4, 4, 2, 2, 1])
    yield score_case("monotone, not linear", np.exp(np.arange(12.0)), np.arange(12.0))
    yield score_case("large offset", 1e8 + np.arange(9) * 0.25, [1, 3, 2, 5, 4, 7, 6, 9, 8])
    yield score_case("large values", np.array([1.0, -2.0, 3.0, 5.0, -4.0]) * 1e200, [1, 2, 3, 4, 5])
    yield score_case("small values", np.array([1.0, -2.0, 3.0, 5.0, -4.0]) * 1e-200, [1, 2, 3, 4, 5])
    targets = np.round(rng.random(150) * 25) / 5  # many ties, as in STS-B
    yield score_case("scores 150", targets + rng.normal(0, 1, 150), targets)
    yield score_case("scores 150, rounded", np.round(targets + rng.normal(0, 1, 150)), targets)


target = pathlib.Path(__file__).resolve().parent.parent / "tests" / "files" / "metrics.json"
target.write_text(json.dumps({"classes": list(class_cases()), "scores": list(score_cases())}) + "\n")
print(target, target.stat().st_size, "bytes")
