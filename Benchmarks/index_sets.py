"""Data sets for the index comparison: one real, the others generated from a seed.

Each becomes a folder of `vectors.f32.npy`, `queries.f32.npy` and `groundtruth.u32.npy` (100 exact neighbours a query).
"""
import os
import sys

import faiss
import numpy as np

NEIGHBOURS = 100


def unit(array):
    """Rows scaled to unit length."""
    return array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-30)


def manifold(seed, rows, dimension, latent, clusters, noise=0.05):
    """Points of a mixture in `latent` dimensions, bent into `dimension`: neighbours mean something, as in embeddings."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(clusters, latent))
    inner = centres[draw.integers(clusters, size=rows)] + 0.5 * draw.normal(size=(rows, latent))
    hidden = np.tanh(inner @ draw.normal(size=(latent, 2 * latent)) / np.sqrt(latent))
    flat = np.concatenate([inner, hidden], axis=1).astype(np.float32)
    outer = flat @ draw.normal(size=(3 * latent, dimension)).astype(np.float32) / np.sqrt(3 * latent)
    return outer + noise * draw.standard_normal(size=(rows, dimension), dtype=np.float32)


def split(points, queries):
    """The last rows of one cloud are asked for."""
    return points[:-queries], points[-queries:]


def l2_128():
    return "l2", *split(manifold(1, 201_000, 128, 32, 1_000), 1_000)


def l2_784():
    """Pictures, roughly: integers in 0...255, most of them zero."""
    ink = manifold(2, 60_500, 784, 20, 40)
    pictures = np.clip(np.round(90 * (ink - 0.6)), 0, 255).astype(np.float32)
    return "l2", *split(pictures, 500)


def cosine_1536():
    """All in one cone, as embeddings of large models are."""
    points = manifold(3, 20_500, 1_536, 48, 200)
    return "cosine", *split(points + 1.5 * np.abs(points).mean(), 500)


def duplicates():
    """Four of five rows are copies, some of them a thousand times."""
    draw = np.random.default_rng(4)
    distinct = manifold(4, 11_000, 96, 24, 100)
    originals, queries = split(distinct, 1_000)
    popular = np.repeat(draw.integers(len(originals), size=10), 1_000)
    copies = np.concatenate([np.arange(len(originals)), popular, draw.integers(len(originals), size=30_000)])
    return "l2", originals[draw.permutation(copies)], queries


def dominant():
    """One direction has fifty times the spread of any other."""
    draw = np.random.default_rng(5)
    points = manifold(5, 51_000, 128, 32, 200)
    direction = unit(draw.normal(size=(1, 128))).astype(np.float32)
    return "l2", *split(points + 50 * draw.normal(size=(len(points), 1)).astype(np.float32) * direction, 1_000)


def dot_256():
    """Maximum inner product: lengths differ by a factor of ten."""
    draw = np.random.default_rng(6)
    points = unit(manifold(6, 51_000, 256, 40, 300))
    lengths = np.exp(draw.normal(size=(len(points), 1), scale=0.4)).astype(np.float32)
    return "dot", *split(points * lengths, 1_000)


GENERATED = {
    "l2-128": l2_128, "l2-784": l2_784, "cosine-1536": cosine_1536,
    "duplicates": duplicates, "dominant": dominant, "dot-256": dot_256,
}


def debian(folder):
    """The 25,000 packages; with the sample of 2,500 alone, every tenth row is asked for instead."""
    vectors = unit(np.load(f"{folder}/vectors.f16.npy").astype(np.float32))
    if os.path.exists(f"{folder}/queries.f16.npy"):
        return "cosine", vectors, unit(np.load(f"{folder}/queries.f16.npy").astype(np.float32))
    asked = np.arange(len(vectors)) % 10 == 0
    return "cosine", vectors[~asked], vectors[asked]


def exact(metric, vectors, queries):
    """Row numbers of the true neighbours, nearest first."""
    index = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(vectors.shape[1])
    index.add(vectors)
    return index.search(queries, NEIGHBOURS)[1].astype(np.uint32)


class DataSet:
    """One set, in memory and in the folder that the benchmark program reads."""

    def __init__(self, name, root, debian_folder):
        self.name = name
        self.folder = f"{root}/sets/{name}"
        made = debian(debian_folder) if name == "debian" else GENERATED[name]()
        self.metric, vectors, queries = made
        if self.metric == "cosine":
            vectors, queries = unit(vectors), unit(queries)
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.queries = np.ascontiguousarray(queries, dtype=np.float32)
        os.makedirs(self.folder, exist_ok=True)
        self.truth = exact(self.metric, self.vectors, self.queries)
        np.save(f"{self.folder}/vectors.f32.npy", self.vectors)
        np.save(f"{self.folder}/queries.f32.npy", self.queries)
        np.save(f"{self.folder}/groundtruth.u32.npy", self.truth)

    def __str__(self):
        rows, dimension = self.vectors.shape
        return f"{self.name}: {rows:,} x {dimension:,} {self.metric}, {len(self.queries):,} queries"

    def distances(self, found):
        """Distances of rows found, one list a query; smaller is nearer."""
        rows = self.vectors[found]
        if self.metric == "l2":
            return ((rows - self.queries[:, None, :]) ** 2).sum(axis=2)
        return 1 - np.einsum("qkd,qd->qk", rows, self.queries)

    def recall(self, found, k):
        """Share of the k places filled by a row as near as the k-th true one: copies are as good as one another."""
        limit = self.distances(self.truth[:, :k]).max(axis=1)
        near = self.distances(np.asarray(found, dtype=np.int64)[:, :k]) <= (limit + 1e-6 * np.abs(limit) + 1e-9)[:, None]
        return float(near.mean())


def wanted(names, debian_folder):
    """The sets by these names; unknown ones end the program."""
    for name in names:
        if name != "debian" and name not in GENERATED:
            sys.exit(f"no set is called {name}: there are debian, {', '.join(GENERATED)}")
    if "debian" in names and not os.path.exists(f"{debian_folder}/vectors.f16.npy"):
        print(f"{debian_folder} is not there: the set debian is left out")
        names = [name for name in names if name != "debian"]
    return names
