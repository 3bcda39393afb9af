"""Our index beside hnswlib, faiss and usearch: the same data, one run, pinned, rounds interleaved.

The machine's speed drifts, so only ratios within a round count. usage: compare_index.py PROGRAM [--sets a,b] ...
"""
import argparse
import statistics

from index_peers import Ours, PEERS
from index_report import RECALLS, at_recall, print_set, ratio, save
from index_sets import DataSet, wanted

EFS = (10, 12, 14, 17, 20, 24, 28, 34, 40, 48, 56, 68, 80, 96, 128, 160, 200, 256, 320, 400, 512, 640, 800)


def useful_efs(index):
    """Up to the first that is past the last recall asked for; those far below the first are left out."""
    efs = []
    for ef in EFS:
        recall = index.search(ef, 0)[1]
        efs.append((ef, recall))
        if recall >= RECALLS[-1] + 0.003:
            break
    first = next((i for i, (_, recall) in enumerate(efs) if recall >= RECALLS[0] - 0.03), len(efs) - 1)
    return [ef for ef, _ in efs[max(0, first - 1):]]


def measure(indexes, options):
    """Curves, and per round the interpolated q/s at each recall."""
    efs = {index.name: useful_efs(index) for index in indexes}
    curves = {index.name: {} for index in indexes}
    rates = {index.name: {recall: [] for recall in RECALLS} for index in indexes}
    for _ in range(options.rounds):
        points = {index.name: [] for index in indexes}
        # One point of each library in turn, so that a slow moment meets them all.
        for i in range(max(map(len, efs.values()))):
            for index in indexes:
                if i < len(efs[index.name]):
                    qps, recall = index.search(efs[index.name][i], options.seconds)
                    points[index.name].append((recall, qps))
                    curves[index.name].setdefault(efs[index.name][i], (recall, []))[1].append(qps)
        for name, reached in points.items():
            for recall in RECALLS:
                rates[name][recall].append(at_recall(reached, recall))
    return curves, rates


def ef_for(curve, recall):
    """The smallest ef that reaches a recall, or the largest there is."""
    return next((ef for ef in sorted(curve) if curve[ef][0] >= recall), max(curve))


def scaling(ours, curve, options):
    """Two threads against one at recall 0.95: by the clock, and by what a query takes of a processor, which others on the
    machine disturb less."""
    ef = ef_for(curve, RECALLS[0])
    clock, processor = [], []
    for _ in range(options.rounds):
        one, two = (ours.timed(ef, options.seconds, threads) for threads in (1, 2))
        clock.append(two["qps"] / one["qps"])
        processor.append(2 * one["cpu"] / two["cpu"])
    return f"{statistics.median(clock):.2f} x one by the clock, {statistics.median(processor):.2f} by processor time"


def filters(ours, curve, options):
    """Filtered searches against the unfiltered one and a scan of the matches: asked for the first time ("cold") and by a
    filter that has a graph of its own ("again"), at the ef of recall 0.95 and at the default. Ratios by processor time, and
    by the clock in brackets."""
    lines = []
    for ef, name in ((ef_for(curve, RECALLS[0]), "ef of 0.95"), (0, "default ef")):
        for share in (0.1, 0.01):
            for pattern in ("random", "near", "far"):
                lines += filtered(ours, ef, name, share, pattern, options)
    return lines


def filtered(ours, ef, name, share, pattern, options):
    runs = {"plain": [], "scan": [], "automatic": [], "again": []}
    for _ in range(options.rounds):
        runs["plain"].append(ours.timed(ef, options.seconds, 1))
        for strategy in ("scan", "automatic", "again"):
            runs[strategy].append(ours.filtered(ef, options.seconds, share, pattern, strategy))

    def times(one, other):
        by = [ratio([run[clock] for run in runs[one]], [run[clock] for run in runs[other]]) for clock in ("qps", "wall")]
        return f"{by[0]:5.2f} ({by[1]:5.2f})"

    lines = []
    for strategy, title in (("automatic", "cold"), ("again", "again")):
        first = runs[strategy][0]
        rate = statistics.median(run["qps"] for run in runs[strategy])
        lines.append(
            f"filter {share:4.0%} {pattern:6} {name}, {title:5}: {rate:9,.0f} q/s, {times(strategy, 'plain')} x unfiltered, "
            f"{times(strategy, 'scan')} x scan of the matches, recall {first['recall']:.4f}, "
            f"{first['short']:.0f} queries short of k")
    if name == "default ef":
        row, size = ours.made(share, pattern)
        lines[-1] += f"; graphs made in {row:.0f} us a row, {size} bytes a row"
    return lines


def compare(name, options):
    data = DataSet(name, options.out, options.debian)
    print(data, flush=True)
    ours = [Ours(options.program, data, kind) for kind in options.kinds.split(",")]
    indexes = ours + [PEERS[name](data) for name in options.peers.split(",") if name]
    builds = {}
    for index in indexes:
        builds[index.name] = index.build(options.threads)
    curves, rates = measure(indexes, options)
    result = {"set": name, "about": str(data), "kernels": ours[0].about, "indexes": {}, "notes": []}
    for index in indexes:
        curve = curves[index.name]
        result["indexes"][index.name] = {
            "build": builds[index.name], "bytes": index.bytes_per_vector,
            "rates": {str(recall): rates[index.name][recall] for recall in RECALLS},
            "curve": [{"ef": ef, "recall": r, "qps": statistics.median(q)} for ef, (r, q) in sorted(curve.items())],
        }
    for index in ours:
        result["notes"].append(
            f"{index.name}: codes {index.sealed['codes']}, sealed in {float(index.sealed['seconds']):.2f} s, "
            f"{index.sealed['rescoring']} bytes a vector beside for re-scoring, "
            f"two threads {scaling(index, curves[index.name], options)}")
        result["notes"].append(f"{index.name}: trials, codes/floats at ef 24 and 96: {index.sealed['trials']}")
    theirs = next((index for index in indexes if index.name == "hnswlib"), None)
    if theirs:
        for index in ours:
            result["notes"].append(
                f"{index.name}: built in {index.build_cpu:.1f} us of processor time a vector, hnswlib in {theirs.build_cpu:.1f}: "
                f"{theirs.build_cpu / index.build_cpu:.2f} times")
    base = curves.get("hnswlib", {})
    for index in ours:
        shared = [ef for ef in sorted(curves[index.name]) if ef in base]
        gains = [f"{ef}: {curves[index.name][ef][0] - base[ef][0]:+.4f}" for ef in shared]
        result["notes"].append(f"{index.name}: recall less that of hnswlib at equal ef: {', '.join(gains)}")
    if options.filters:
        result["notes"] += filters(ours[0], curves[ours[0].name], options)
    for index in indexes:
        index.close()
    print_set(result)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", help="the index-benchmark executable")
    parser.add_argument("--sets", default="debian,l2-128")
    parser.add_argument("--debian", default="../shared/data/debian-packages", help="folder of the Debian set")
    parser.add_argument("--kinds", default="auto", help="code kinds of ours: auto, none, int8, int4")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15)
    parser.add_argument("--threads", type=int, default=2, help="for building")
    parser.add_argument("--filters", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", default=".build/bench")
    options = parser.parse_args()
    results = [compare(name, options) for name in wanted(options.sets.split(","), options.debian)]
    if results:
        save(results, options.out)


main()
