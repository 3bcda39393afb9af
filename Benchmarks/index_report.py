"""Table, JSON and plot of the index comparison."""
import json
import os
import statistics

RECALLS = (0.95, 0.99)


def at_recall(points, recall):
    """Queries a second where a curve of (recall, q/s) passes `recall`, between its two nearest points; None if it does not.

    Of the points that reach a recall the fastest counts. Between two of them the time a query takes is taken as linear.
    """
    points = sorted(points)
    above = [p for p in points if p[0] >= recall]
    below = [p for p in points if p[0] < recall]
    if not above:
        return None
    right = max(above, key=lambda p: p[1])
    if not below:
        return right[1]
    left = max(below)
    right = min(above)
    share = (recall - left[0]) / (right[0] - left[0])
    return 1 / ((1 - share) / left[1] + share / right[1])


def ratio(ours, theirs):
    """Median over the rounds of ours by theirs; None where one is missing."""
    pairs = [a / b for a, b in zip(ours, theirs) if a and b]
    return statistics.median(pairs) if pairs else None


def text(value, pattern="{:.2f}"):
    return "-" if value is None else pattern.format(value)


def print_set(result):
    """The table of one set: q/s at each recall, its ratio to hnswlib in the same round, building and bytes."""
    base = result["indexes"].get("hnswlib")
    head = "".join(f"{'q/s at ' + str(r):>14}{'x hnswlib':>11}" for r in RECALLS)
    print(f"{'':16}{head}{'build/s':>10}{'x hnswlib':>11}{'bytes':>8}{'x hnswlib':>11}")
    for name, index in result["indexes"].items():
        line = f"{name:16}"
        for recall in RECALLS:
            rates = index["rates"][str(recall)]
            known = [rate for rate in rates if rate]
            line += f"{text(statistics.median(known) if known else None, '{:,.0f}'):>14}"
            line += f"{text(ratio(rates, base['rates'][str(recall)]) if base else None):>11}"
        line += f"{index['build']:>10,.0f}{text(index['build'] / base['build'] if base else None):>11}"
        line += f"{index['bytes']:>8,.0f}{text(index['bytes'] / base['bytes'] if base else None):>11}"
        print(line)
    for line in result.get("notes", []):
        print("  " + line)
    print(flush=True)


def save(results, folder):
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/index.json", "w") as file:
        json.dump(results, file, indent=1)
    print(f"{folder}/index.json")
    plot(results, folder)


def plot(results, folder):
    """One panel a set: recall against q/s."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(6.5 * len(results), 5), squeeze=False)
    for panel, result in zip(panels[0], results):
        for name, index in result["indexes"].items():
            points = [(p["recall"], p["qps"]) for p in index["curve"] if p["recall"] >= 0.8]
            ours = name.startswith("vecraft")
            panel.plot(*zip(*points), marker="o", markersize=3, label=name, linewidth=2.5 if ours else 1.2)
        panel.set_title(result["about"])
        panel.set_xlabel("recall@10")
        panel.set_ylabel("queries a second, one thread")
        panel.set_yscale("log")
        panel.grid(True, which="both", alpha=0.3)
        panel.legend()
    figure.tight_layout()
    for ending in ("png", "svg"):
        figure.savefig(f"{folder}/index.{ending}", dpi=110)
        print(f"{folder}/index.{ending}")
