"""Our index beside hnswlib and faiss, in one run, pinned, interleaved: only ratios within one run count.

usage: compare_index.py INDEX_BENCHMARK DATA_FOLDER [--rounds N] [--build]
needs: pip install hnswlib faiss-cpu numpy
"""
import argparse
import os
import statistics
import subprocess
import time

import faiss
import hnswlib
import numpy as np

K = 10


class Ours:
    """Talks to the IndexBenchmark program over its standard input and output."""

    def __init__(self, program, folder, core, store):
        self.name = f"vecraft {store}"
        self.store = store
        self.process = subprocess.Popen(
            ["taskset", "-c", core, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.kernels = self.ask(f"load {folder}")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def build(self, threads):
        os.system(f"taskset -a -c -p {'0,1' if threads > 1 else '1'} {self.process.pid} > /dev/null")
        rate = float(self.ask(f"build g {self.store} {threads} 16 200").split()[3])
        self.ask("seal g")
        os.system(f"taskset -a -c -p 1 {self.process.pid} > /dev/null")
        return rate

    def search(self, ef, seconds):
        words = self.ask(f"search g {ef} {seconds}").split()
        return float(words[1]), float(words[3])


class Peer:
    def __init__(self, name, vectors, queries, truth):
        self.name, self.vectors, self.queries = name, vectors, queries
        self.truth = [set(t[:K]) for t in truth]

    def search(self, ef, seconds):
        start, done = time.perf_counter(), 0
        while True:
            found = self.run(ef)
            done += len(self.queries)
            spent = time.perf_counter() - start
            if spent >= seconds:
                break
        hits = sum(len(t.intersection(f)) for t, f in zip(self.truth, found))
        return done / spent, hits / (K * len(self.queries))


class Hnswlib(Peer):
    def build(self, threads):
        os.sched_setaffinity(0, {0, 1} if threads > 1 else {1})
        self.index = hnswlib.Index(space="ip", dim=self.vectors.shape[1])
        self.index.init_index(max_elements=len(self.vectors), M=16, ef_construction=200)
        start = time.perf_counter()
        self.index.add_items(self.vectors, num_threads=threads)
        spent = time.perf_counter() - start
        os.sched_setaffinity(0, {1})
        return len(self.vectors) / spent

    def run(self, ef):
        self.index.set_ef(ef)
        return self.index.knn_query(self.queries, k=K, num_threads=1)[0]


class Faiss(Peer):
    def __init__(self, name, coded, *rest):
        super().__init__(name, *rest)
        self.coded = coded

    def build(self, threads):
        os.sched_setaffinity(0, {0, 1} if threads > 1 else {1})
        faiss.omp_set_num_threads(threads)
        dimension = self.vectors.shape[1]
        if self.coded:
            self.index = faiss.IndexHNSWSQ(
                dimension, faiss.ScalarQuantizer.QT_8bit, 16, faiss.METRIC_INNER_PRODUCT)
        else:
            self.index = faiss.IndexHNSWFlat(dimension, 16, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = 200
        start = time.perf_counter()
        if self.coded:
            self.index.train(self.vectors)
        self.index.add(self.vectors)
        spent = time.perf_counter() - start
        faiss.omp_set_num_threads(1)
        os.sched_setaffinity(0, {1})
        return len(self.vectors) / spent

    def run(self, ef):
        self.index.hnsw.efSearch = ef
        return self.index.search(self.queries, K)[1]


def ef_for(index, recall):
    low, high = K, 1024
    while low < high:
        middle = (low + high) // 2
        if index.search(middle, 0)[1] >= recall:
            high = middle
        else:
            low = middle + 1
    return low


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--stores", default="float32,int8")
    options = parser.parse_args()

    def unit(name):
        array = np.load(f"{options.folder}/{name}.f16.npy").astype(np.float32)
        return array / np.linalg.norm(array, axis=1, keepdims=True)

    data = unit("vectors"), unit("queries"), np.load(f"{options.folder}/groundtruth.u32.npy")
    peers = [Hnswlib("hnswlib", *data), Faiss("faiss flat", False, *data), Faiss("faiss sq8", True, *data)]
    ours = [Ours(options.program, options.folder, "1", store) for store in options.stores.split(",")]
    print(ours[0].kernels)
    for threads in (2,):
        rates = {index.name: index.build(threads) for index in peers + ours}
        for name, rate in rates.items():
            print(f"build, {threads} threads: {name:16} {rate:8.0f}/s  {rate / rates['hnswlib']:.2f} x hnswlib")
    for recall in (0.95, 0.99):
        efs = {index.name: ef_for(index, recall) for index in peers + ours}
        rounds = {index.name: [] for index in peers + ours}
        reached = {}
        for _ in range(options.rounds):
            for index in peers + ours:
                rate, reached[index.name] = index.search(efs[index.name], options.seconds)
                rounds[index.name].append(rate)
        for name, rates in rounds.items():
            ratios = [a / b for a, b in zip(rates, rounds["hnswlib"])]
            print(
                f"recall {recall}: {name:16} ef {efs[name]:4} recall {reached[name]:.4f} best {max(rates):7.0f} q/s "
                f"median {statistics.median(rates):7.0f} q/s  {statistics.median(ratios):.2f} x hnswlib")


main()
