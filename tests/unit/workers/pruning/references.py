"""Wanda and SparseGPT restated in plain float64 numpy, from the papers, without the engine."""

import numpy as np


def lowest(scores, count):
    """Mask of the `count` smallest, lowest flat index first."""
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(scores.ravel(), kind="stable")[:count]] = True
    return mask.reshape(scores.shape)


def by_pattern(scores, sparsity, pattern):
    """Mask of a whole matrix: per `row`, per `matrix`, or (n, m)."""
    if pattern == "row":
        return np.stack([lowest(row, int(sparsity * len(row))) for row in scores])
    if pattern == "matrix":
        return lowest(scores, int(sparsity * scores.size))
    n, m = pattern
    groups = scores.reshape(-1, m)
    return np.stack([lowest(group, m - n) for group in groups]).reshape(scores.shape)


def wanda(weight, tokens, sparsity, pattern):
    """|w_ij| * ||x_j||: the weights that stay."""
    weight, tokens = np.float64(weight), np.float64(tokens)
    scores = np.abs(weight) * np.sqrt((tokens**2).sum(0))
    return np.where(by_pattern(scores, sparsity, pattern), 0, weight)


def sparsegpt(weight, tokens, samples, sparsity, pattern, *, block):
    """Column by column with the full inverse, recomputed by its own definition."""
    w, x = np.float64(weight).copy(), np.float64(tokens)
    columns = w.shape[1]
    hessian = 2 * x.T @ x / samples
    dead = np.diag(hessian) == 0
    hessian[dead, dead] = 1
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(columns)
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T  # U^T U = H^-1
    scale = np.where(dead, 0, 1 / np.diag(upper))
    mask = np.zeros(w.shape, bool)
    pruned = 0
    for column in range(columns):
        if pattern == "matrix" and column % block == 0:
            stop = min(column + block, columns)
            share = int(sparsity * w.size) * stop // columns - pruned
            pruned += share
            part = slice(column, stop)
            mask[:, part] = lowest((w[:, part] * scale[part]) ** 2, share)
        elif pattern != "matrix" and column % pattern[1] == 0:
            part = slice(column, column + pattern[1])
            mask[:, part] = by_pattern((w[:, part] * scale[part]) ** 2, None, pattern)
        error = np.where(mask[:, column], w[:, column] * scale[column], 0)
        w[:, column + 1 :] -= np.outer(error, upper[column, column + 1 :])
        w[mask[:, column], column] = 0
    return w
