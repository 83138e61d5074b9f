"""The update rules again, in NumPy, as an oracle: float64, one variable, from the papers."""

from collections.abc import Iterator

import numpy as np

Array = np.ndarray


def sgd(w: Array, grads: list[Array], lr: float, momentum=0.0, nesterov=False, decay=0.0) -> Array:
    v = np.zeros_like(w)
    for i, g in enumerate(grads):
        rate = lr / (1 + decay * i)
        v = momentum * v - rate * g
        w = w + (momentum * v - rate * g if nesterov else v)
    return w


def adam(
    w: Array, grads: list[Array], lr: float, b1=0.9, b2=0.999, epsilon=1e-7, wd=0.0, amsgrad=False
) -> Array:
    m, v, largest = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        w = w - lr * wd * w
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        largest = np.maximum(largest, v)
        root = np.sqrt(largest if amsgrad else v)
        w = w - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (root + epsilon)
    return w


def rmsprop(
    w: Array, grads: list[Array], lr: float, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False
) -> Array:
    r, mean, v = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for g in grads:
        r = rho * r + (1 - rho) * g**2
        mean = rho * mean + (1 - rho) * g
        d = r - mean**2 if centered else r
        if momentum:
            v = momentum * v + lr * g / np.sqrt(d + epsilon)
            w = w - v
        else:
            w = w - lr * g / (np.sqrt(d) + epsilon)
    return w


def adagrad(w: Array, grads: list[Array], lr: float, start=0.1, epsilon=1e-7) -> Array:
    a = np.full_like(w, start)
    for g in grads:
        a = a + g**2
        w = w - lr * g / (np.sqrt(a) + epsilon)
    return w


def lamb(
    w: Array, grads: list[Array], lr: float, b1=0.9, b2=0.999, epsilon=1e-6, wd=0.0, adapt=True
) -> Array:
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        u = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + epsilon) + wd * w
        w = w - lr * (trust(w, u) if adapt else 1.0) * u
    return w


def lars(
    w: Array,
    grads: list[Array],
    lr: float,
    momentum=0.9,
    wd=0.0,
    eeta=0.001,
    nesterov=False,
    classic=True,
    adapt=True,
) -> Array:
    v = np.zeros_like(w)
    for g in grads:
        g = g + wd * w
        if classic:
            step = lr * (trust(w, g, eeta) if adapt else 1.0) * g
            v = momentum * v + step
            w = w - (momentum * v + step if nesterov else v)
        else:
            v = momentum * v + g
            u = momentum * v + g if nesterov else v
            w = w - lr * (trust(w, u, eeta) if adapt else 1.0) * u
    return w


def trust(w: Array, u: Array, coefficient: float = 1.0) -> float:
    norms = np.linalg.norm(w), np.linalg.norm(u)
    return coefficient * norms[0] / norms[1] if min(norms) > 0 else 1.0


def clip_by_global_norm(grads: list[Array], norm: float) -> list[Array]:
    total = np.sqrt(sum(np.sum(g**2) for g in grads))
    return [g * min(1.0, norm / total) for g in grads]


def make_gradients(shapes: list[tuple[int, ...]], num_steps: int, seed=0) -> Iterator[list[Array]]:
    """For each step, a float64 gradient of each shape."""
    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        yield [rng.normal(size=shape) for shape in shapes]
