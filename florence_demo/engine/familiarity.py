"""How much a picture is like those a model was trained on.

A small model answers every picture with confidence, also one of a kind it never saw. Its own image
features tell, in two ways: where the middle of a picture's features lies, and how far its places
lie from that middle. Over training pictures both are close to a Gaussian, and the Mahalanobis
distance (Lee et al. 2018, arXiv:1807.03888) is large for other kinds. A photograph often differs in
one of the two only; the sum tells it better than either. A checkpoint's folder may hold the
Gaussians and the sum that 97 of 100 training pictures stay under; one that holds none says nothing.
Knows features and numbers. Does not know models or pictures.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

FILE = "familiarity.safetensors"

MAX_HEADER = 10_000
"""Bytes that the file has beside its numbers."""

Floats = NDArray[np.float32]

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
"""Where the distances of a picture's places are read off."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Hold a normal distribution of vectors.

    Attributes:
        mean: Its middle, (D,).
        whiten: Takes a difference from the middle to unit variance, (D, D).
    """

    mean: Floats
    whiten: Floats

    @classmethod
    def fit(cls, vectors: Floats, shrink: float) -> Gaussian:
        """Fit to vectors (N, D), their covariance drawn a little towards independent numbers."""
        covariance = np.cov(vectors, rowvar=False)
        covariance = (1 - shrink) * covariance + shrink * np.diag(np.diag(covariance))
        values, axes = np.linalg.eigh(covariance)
        whiten = axes / np.sqrt(np.maximum(values, 1e-8))
        return cls(vectors.mean(axis=0).astype(np.float32), whiten.astype(np.float32))

    def distances(self, vectors: Floats) -> Floats:
        """Return the logarithm of the Mahalanobis distance of vectors (..., D), by dimension."""
        import torch

        # numpy's own threads would spin beside torch's: an answer of 80 ms took 160 ms.
        scaled = (torch.from_numpy(vectors - self.mean) @ torch.from_numpy(self.whiten)).numpy()
        result: Floats = 0.5 * np.log((scaled**2).mean(axis=-1) + 1e-12)
        return result


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Hold what the features of training pictures are like.

    Attributes:
        middle: Of the mean feature of a picture.
        places: Of the features of single places, as differences from their picture's mean.
        spread: Of the quantiles of the distances of a picture's places.
        scale: (2, 2), mean and standard deviation of the distances from ``middle``, ``spread``.
        limit: Strangeness beyond which a picture is of another kind.
    """

    middle: Gaussian
    places: Gaussian
    spread: Gaussian
    scale: Floats
    limit: float

    @classmethod
    def fit(cls, features: Floats, share: float = 0.97) -> Familiarity:
        """Fit to training pictures.

        Args:
            features: Image features (N, T, D) of N pictures, half of them used for the limit.
            share: Part of the training pictures that are to be familiar.
        """
        from einops import rearrange

        features = np.asarray(features, np.float32)
        known, other = features[::2], features[1::2]
        middle = Gaussian.fit(known.mean(axis=1), 0.02)
        places = Gaussian.fit(rearrange(_places(known), "n t d -> (n t) d"), 0.001)
        spread = Gaussian.fit(_quantiles(places, known), 0.02)
        none = np.array([[0, 1], [0, 1]], np.float32)
        fitted = cls(middle, places, spread, none, float("inf"))
        # Scale and limit come from pictures that the Gaussians have not seen.
        apart = fitted._apart(other)
        scale = np.stack([apart.mean(axis=0), apart.std(axis=0)], axis=1).astype(np.float32)
        fitted = cls(middle, places, spread, scale, float("inf"))
        limit = float(np.quantile(fitted.strangeness(other), share))
        return cls(middle, places, spread, scale, limit)

    def strangeness(self, features: Floats) -> Floats:
        """Return how unlike the training pictures are pictures of features (N, T, D); (N,)."""
        result: Floats = ((self._apart(features) - self.scale[:, 0]) / self.scale[:, 1]).sum(axis=1)
        return result

    def _apart(self, features: Floats) -> Floats:
        """Return the two distances of pictures of features (N, T, D), (N, 2)."""
        features = np.asarray(features, np.float32)
        quantiles = _quantiles(self.places, features)
        near = self.middle.distances(features.mean(axis=1)), self.spread.distances(quantiles)
        return np.stack(near, axis=1)

    def knows(self, features: Floats) -> bool:
        """Return whether one picture's features (T, D) are of the kind that was trained on."""
        return bool(self.strangeness(features[None])[0] <= self.limit)

    def save(self, folder: Path) -> None:
        """Write it into a checkpoint's folder."""
        from safetensors.numpy import save_file

        tensors = {"scale": self.scale, "limit": np.array([self.limit], np.float32)}
        for name in ("middle", "places", "spread"):
            part: Gaussian = getattr(self, name)
            tensors |= {f"{name}.mean": part.mean, f"{name}.whiten": part.whiten.astype(np.float16)}
        save_file(tensors, folder / FILE)

    @classmethod
    def load(cls, folder: Path, width: int) -> Familiarity | None:
        """Return what a checkpoint's folder holds; None if there is none for features so wide."""
        from safetensors import SafetensorError, safe_open

        file = folder / FILE
        if not file.is_file():
            return None
        wide = {"middle": width, "places": width, "spread": len(QUANTILES)}
        shapes: dict[str, tuple[int, ...]] = {"scale": (2, 2), "limit": (1,)}
        shapes |= {f"{name}.mean": (n,) for name, n in wide.items()}
        shapes |= {f"{name}.whiten": (n, n) for name, n in wide.items()}
        try:
            # The folder may be a stranger's: neither its header nor its tensors need be this small.
            if file.stat().st_size > 8 * sum(map(math.prod, shapes.values())) + MAX_HEADER:
                raise ValueError("it is too large")
            with safe_open(file, framework="numpy") as stored:
                names = stored.keys()
                found = {name: tuple(stored.get_slice(name).get_shape()) for name in names}
                if found != shapes:
                    log.warning("%s is of another model or version and is left out", file)
                    return None
                held = {name: stored.get_tensor(name).astype(np.float32) for name in shapes}
        except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError):
            log.warning("%s is damaged and is left out", file, exc_info=True)
            return None

        def part(name: str) -> Gaussian:
            return Gaussian(held[f"{name}.mean"], held[f"{name}.whiten"])

        parts = part("middle"), part("places"), part("spread")
        return cls(*parts, held["scale"], float(held["limit"][0]))


def _places(features: Floats) -> Floats:
    """Return features (N, T, D) as differences from the mean of their picture."""
    result: Floats = features - features.mean(axis=1, keepdims=True)
    return result


def _quantiles(places: Gaussian, features: Floats) -> Floats:
    """Return the quantiles of the distances of the places of pictures (N, T, D); (N, Q)."""
    far = places.distances(_places(features))
    quantiles: Floats = np.quantile(far, QUANTILES, axis=1).T.astype(np.float32)
    return quantiles
