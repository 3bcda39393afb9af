"""What is compared: our index, hnswlib, faiss and usearch, behind one face.

`build(threads)` gives vectors a second, `search(ef, seconds, threads)` queries a second and recall@10, `bytes_per_vector`
what the index keeps in memory for one vector, `build_cpu` the microseconds of processor time its insertion took. One thread is measured by its processor time, which a busy machine disturbs less.
"""
import os
import subprocess
import time

import faiss
import hnswlib
import numpy as np
import usearch.index

K = 10
M = 16
EF_CONSTRUCTION = 200


def pin(threads, process=0):
    """Onto processor 0, or as many as there are threads; every thread of the process."""
    cores = set(sorted(os.sched_getaffinity(os.getppid()))[:threads])
    for task in os.listdir(f"/proc/{process or os.getpid()}/task"):
        try:
            os.sched_setaffinity(int(task), cores)
        except ProcessLookupError:
            pass  # a thread that ended meanwhile


class Ours:
    """Talks to the index-benchmark program over its standard input and output."""

    def __init__(self, program, data, kind):
        self.name = f"vecraft {kind}"
        self.kind = kind
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.about = self.ask(f"load {data.folder} {data.metric}")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise RuntimeError(f"{line}: {answer or 'the program ended'}")
        return answer

    def values(self, line):
        """An answer of names and values."""
        words = self.ask(line).split()
        return dict(zip(words[::2], words[1::2]))

    def build(self, threads):
        pin(threads, self.process.pid)
        built = self.values(f"build g {self.kind} {threads} {M} {EF_CONSTRUCTION}")
        self.build_cpu = float(built["cpu"])
        self.sealed = self.values(f"seal g {self.kind} {threads}")
        return float(built["rate"])

    def timed(self, ef, seconds, threads):
        pin(threads, self.process.pid)
        values = self.values(f"search g {ef} {seconds} {threads}")
        return {name: float(values[name]) for name in ("qps", "wall", "recall", "cpu")}

    def search(self, ef, seconds, threads=1):
        values = self.timed(ef, seconds, threads)
        return values["qps"], values["recall"]

    def filtered(self, ef, seconds, share, pattern, strategy):
        pin(1, self.process.pid)
        values = self.values(f"filter g {ef} {seconds} {share} {pattern} {strategy}")
        return {name: float(values[name]) for name in ("qps", "wall", "recall", "short")}

    def made(self, share, pattern):
        """What the graphs of filters asked again took: microseconds a row to make, and bytes a row."""
        values = self.values(f"filter g 0 0 {share} {pattern} again")
        return float(values["row-us"]), int(values["row-bytes"])

    @property
    def bytes_per_vector(self):
        return float(self.sealed["resident"])

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Peer:
    """A library called from Python, all queries in one call."""

    def __init__(self, data):
        self.data = data
        self.known = {}

    def build(self, threads):
        pin(threads)
        start, cpu = time.perf_counter(), time.process_time()
        self.make(threads)
        self.build_cpu = 1e6 * (time.process_time() - cpu) / len(self.data.vectors)
        return len(self.data.vectors) / (time.perf_counter() - start)

    def search(self, ef, seconds, threads=1):
        pin(threads)
        clock = time.process_time if threads == 1 else time.perf_counter
        start, done = clock(), 0
        while True:
            found = self.run(ef, threads)
            done += len(self.data.queries)
            spent = clock() - start
            if spent >= seconds:
                break
        if ef not in self.known:
            self.known[ef] = self.data.recall(found, K)
        return done / spent, self.known[ef]

    def close(self):
        self.index = None


class Hnswlib(Peer):
    name = "hnswlib"

    def make(self, threads):
        vectors = self.data.vectors
        self.index = hnswlib.Index(space="l2" if self.data.metric == "l2" else "ip", dim=vectors.shape[1])
        self.index.init_index(max_elements=len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
        self.index.add_items(vectors, num_threads=threads)

    def run(self, ef, threads):
        self.index.set_ef(ef)
        return self.index.knn_query(self.data.queries, k=K, num_threads=threads)[0]

    @property
    def bytes_per_vector(self):
        return self.index.index_file_size() / len(self.data.vectors)


class Faiss(Peer):
    coded = False
    name = "faiss flat"

    def make(self, threads):
        faiss.omp_set_num_threads(threads)
        dimension = self.data.vectors.shape[1]
        metric = faiss.METRIC_L2 if self.data.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        if self.coded:
            self.index = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_8bit, M, metric)
        else:
            self.index = faiss.IndexHNSWFlat(dimension, M, metric)
        self.index.hnsw.efConstruction = EF_CONSTRUCTION
        if self.coded:
            self.index.train(self.data.vectors)
        self.index.add(self.data.vectors)

    def run(self, ef, threads):
        faiss.omp_set_num_threads(threads)
        self.index.hnsw.efSearch = ef
        return self.index.search(self.data.queries, K)[1]

    @property
    def bytes_per_vector(self):
        return faiss.serialize_index(self.index).size / len(self.data.vectors)


class FaissCoded(Faiss):
    coded = True
    name = "faiss sq8"


class Usearch(Peer):
    """8-bit codes by cosine; lengths do not survive them, so float16 otherwise."""

    def __init__(self, data):
        super().__init__(data)
        self.type = "i8" if data.metric == "cosine" else "f16"
        self.name = f"usearch {self.type}"

    def make(self, threads):
        metric = {"cosine": "cos", "dot": "ip", "l2": "l2sq"}[self.data.metric]
        self.index = usearch.index.Index(
            ndim=self.data.vectors.shape[1], metric=metric, dtype=self.type, connectivity=M,
            expansion_add=EF_CONSTRUCTION)
        self.index.add(np.arange(len(self.data.vectors)), self.data.vectors, threads=threads)

    def run(self, ef, threads):
        self.index.expansion_search = ef
        found = self.index.search(self.data.queries, K, threads=threads).keys.astype(np.int64)
        return np.clip(found, 0, len(self.data.vectors) - 1)

    @property
    def bytes_per_vector(self):
        return self.index.serialized_length / len(self.data.vectors)


PEERS = {"hnswlib": Hnswlib, "faiss-sq8": FaissCoded, "faiss-flat": Faiss, "usearch": Usearch}
