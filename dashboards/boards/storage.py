"""Replay, shards, checkpoints, copies on the move."""

from .grafana import ORANGE, RED, YELLOW, Board, Row, graph, heat, rate, stat

C = "{@collection}"
MB = 1 << 20


def worst(metric, by="instance, partition"):
    return f"max by ({by}) ({metric}{{@}})"


def copies(metric):
    """Of all copies on all nodes."""
    return f"sum by (collection) ({metric}{C})"


def once(metric):
    """Each shard counted once."""
    return f"sum by (collection) (max by (collection, shard) ({metric}{C}))"


def grown(metric, by="collection"):
    return f"sum by ({by}) (increase({metric}{C}[$__rate_interval])) or on () vector(0)"


board = Board(
    "vecraft-storage", "Vecraft DB / Storage and index",
    "How far replicas are behind the journal, what shards hold, and how they are kept.",
    [
        Row("Replay"),
        stat(
            "Longest lag", "s", ("max(vecraft_storage_replay_lag_seconds{@})", "lag"),
            "Good: below 0.2 s. 0.5 s is critical; at 1 s writes of tiers 2 and 3 are held back and an alert fires.",
            width=4, limits=[(0.2, YELLOW), (0.5, ORANGE), (1, RED)],
        ),
        stat(
            "Most entries behind", "short", ("max(vecraft_storage_replay_lag_entries{@})", "entries"),
            "Good: below 1,000; critical from 5,000, back-pressure from 10,000.",
            width=4, limits=[(1000, YELLOW), (5000, ORANGE), (10000, RED)],
        ),
        stat(
            "Most bytes behind", "bytes", ("max(vecraft_storage_replay_lag_bytes{@})", "bytes"),
            "Good: below 5 MB; critical from 10 MB, back-pressure from 25 MB.",
            width=4, limits=[(5 * MB, YELLOW), (10 * MB, ORANGE), (25 * MB, RED)],
        ),
        stat(
            "In memory alone", "bytes", ("max(vecraft_storage_replay_lag_memory_bytes{@})", "bytes"),
            "Applied and in no checkpoint yet: what a restart replays. Good: below 100 MB; critical from 200 MB, back-pressure from 500 MB.",
            width=4, limits=[(100 * MB, YELLOW), (200 * MB, ORANGE), (500 * MB, RED)],
        ),
        stat(
            "Reads that wait", "short", ("sum(vecraft_storage_waiting_reads{@})", "reads"),
            "Reads that asked for an offset that is not applied yet. Good: a few under load, none when idle.", width=4, limits=[(100, ORANGE)],
        ),
        stat(
            "Replay failures", "short",
            ("sum(increase(vecraft_storage_replay_failures_total{@}[$__range])) + sum(increase(vecraft_storage_entries_refused_total{@}[$__range]))", "failures"),
            "Attempts that failed and entries passed over, in the time shown. Good: 0. The log names partition, offset and reason.",
            width=4, limits=[(1, RED)],
        ),
        graph(
            "Lag in time", "s", [(worst("vecraft_storage_replay_lag_seconds"), "{{instance}} {{partition}}")],
            """Age of the oldest committed entry that is not applied. One replica: its node is short of processor or disk. All of a partition:
            the write rate is more than replay can do; `vecraft cluster status` shows the same.""",
            limits=[(0.2, YELLOW), (0.5, ORANGE), (1, RED)],
        ),
        graph(
            "Lag in entries", "short", [(worst("vecraft_storage_replay_lag_entries"), "{{instance}} {{partition}}")],
            "Committed and not applied. A saw that returns to 0 is a bulk load; a ramp is a replica that does not keep up.",
            limits=[(1000, YELLOW), (5000, ORANGE), (10000, RED)],
        ),
        graph(
            "Lag in bytes", "bytes", [(worst("vecraft_storage_replay_lag_bytes"), "{{instance}} {{partition}}")],
            "The same in bytes, estimated from the sizes of entries.", limits=[(5 * MB, YELLOW), (10 * MB, ORANGE), (25 * MB, RED)],
        ),
        graph(
            "Applied, in memory alone", "bytes", [(worst("vecraft_storage_replay_lag_memory_bytes"), "{{instance}} {{partition}}")],
            "A saw: it grows with writes and falls with each checkpoint. It does not fall: see Checkpoint failures.",
            limits=[(100 * MB, YELLOW), (200 * MB, ORANGE), (500 * MB, RED)],
        ),
        graph(
            "Entries applied", "ops", [(rate("vecraft_storage_applied_entries_total", "instance"), "{{instance}}")],
            "A second. All nodes with copies of the same shards should draw the same line.",
        ),
        graph(
            "Bytes applied", "Bps", [(rate("vecraft_storage_applied_bytes_total", "instance"), "{{instance}}")],
            "Of entries, a second.",
        ),
        heat(
            "Time to apply a batch", "vecraft_storage_apply_duration_seconds",
            "Points go into the index as they are applied. Good: below 50 ms. Growing with the collection is the graph; jumps are merges.",
        ),
        graph(
            "Applied offset", "short", [("min by (partition) (vecraft_storage_applied_offset{@})", "{{partition}}, slowest"), ("max by (partition) (vecraft_storage_applied_offset{@})", "{{partition}}, fastest")],
            "Slowest and fastest replica of each partition. The lines should lie on each other.",
        ),
        graph(
            "Reads that wait for replay", "short", [("sum by (instance) (vecraft_storage_waiting_reads{@})", "{{instance}}")],
            "Pull before read. Good: short spikes. A plateau: the replica is behind for good, and these reads will time out.",
        ),
        Row("Collections"),
        graph("Points", "short", [(once("vecraft_storage_points"), "{{collection}}")], "Live points, each shard counted once.", stacked=True),
        graph(
            "Vectors in graphs", "percentunit",
            [(f"{copies('vecraft_storage_indexed_vectors')} / ({copies('vecraft_storage_vectors')} > 0)", "{{collection}}")],
            """Share of stored vectors that a graph holds; the others are compared one by one, which is exact and slow. Good: above 95 % a while
            after a bulk load. Stays low: indexing does not keep up, add nodes or load slower.""",
            top=1,
        ),
        graph(
            "Deleted and not merged away", "percentunit",
            [(f"{copies('vecraft_storage_deleted_rows')} / ({copies('vecraft_storage_deleted_rows')} + {copies('vecraft_storage_vectors')} > 0)", "{{collection}}")],
            "Rows replaced or deleted that still take room and time. Good: below 30 %; merges bring it down behind your back.",
            limits=[(0.3, YELLOW), (0.5, ORANGE)], top=1,
        ),
        graph(
            "Memory", "bytes", [(copies("vecraft_storage_memory_bytes"), "{{collection}}")],
            "Held by shards, all copies, mapped files apart. Growing segments live here until they are sealed.", stacked=True,
        ),
        graph("Shard files", "bytes", [(copies("vecraft_storage_disk_bytes"), "{{collection}}")], "On disk, all copies.", stacked=True),
        graph(
            "Segments", "short", [(copies("vecraft_storage_segments"), "{{collection}}"), (copies("vecraft_storage_recoding_segments"), "{{collection}} to be recoded")],
            "A search asks each. Good: a handful a shard. To be recoded: after `vecraft collection update`, falling to 0.",
        ),
        graph(
            "Graphs for filters", "bytes", [(copies("vecraft_storage_filter_graph_bytes"), "{{collection}}")],
            "Memory of graphs made for filters that are asked again and again; a part of Memory. They are made and dropped by need.",
        ),
        graph(
            "Points by shard", "short", [(f"max by (collection, shard) (vecraft_storage_points{C})", "{{collection}} {{shard}}")],
            "Points are spread by a hash of their ids: shards of a collection should be alike.",
        ),
        graph(
            "Copies that differ", "short",
            [(f"max by (collection, shard) (vecraft_storage_points{C}) - min by (collection, shard) (vecraft_storage_points{C})", "{{collection}} {{shard}}")],
            "Points that one copy has and another not yet. Good: 0 at rest. Stays above 0 without lag: compare digests, `vecraft collection describe`.",
        ),
        Row("Checkpoints and repair"),
        graph(
            "Checkpoints", "short", [(grown("vecraft_storage_checkpoints_total"), "{{collection}}")],
            "Made durable. None for long while writes flow: a restart will replay that much.",
        ),
        graph(
            "Checkpoint p99", "s",
            [(f"histogram_quantile(0.99, sum by (le, collection) (rate(vecraft_storage_checkpoint_duration_seconds_bucket{C}[$__rate_interval])))", "{{collection}}")],
            "Grows with what changed since the one before, and with a slow disk. Writes go on meanwhile.",
        ),
        graph(
            "Checkpoint failures", "short", [(grown("vecraft_storage_checkpoint_failures_total"), "{{collection}}")],
            "Good: 0. They are tried again; the log says why (most often no room on the disk).", limits=[(1, RED)],
        ),
        graph(
            "Merges", "short", [(grown("vecraft_storage_merges_total"), "{{collection}}")],
            "Segments made into larger ones. Each costs processor time for a while.",
        ),
        graph(
            "Damaged files", "short",
            [
                (f"sum by (instance) (vecraft_storage_quarantined_files_total{C}) or on () vector(0)", "{{instance}} put aside"),
                (f"sum by (instance) (vecraft_storage_rebuilt_files_total{C}) or on () vector(0)", "{{instance}} rebuilt"),
            ],
            "Since the process began. Good: 0. A file whose checksum is wrong is put aside and rebuilt; more than one on a node: suspect its disk.",
            limits=[(1, RED)],
        ),
        graph(
            "Checkpointed offset", "short", [(f"min by (collection) (vecraft_storage_checkpointed_offset{C})", "{{collection}}")],
            "Of the copy that is furthest behind. The journal is not trimmed beyond what this holds on disk.",
        ),
        Row("Copies on the move"),
        graph(
            "Bytes moved", "Bps", [(rate("vecraft_storage_transfer_bytes_total", "instance, direction") + " or on () vector(0)", "{{instance}} {{direction}}")],
            "Shard files sent to and taken from other nodes, after a node was lost or added.",
        ),
        graph(
            "Moving now", "short", [("sum by (instance, direction) (vecraft_storage_transfers_running{@}) or on () vector(0)", "{{instance}} {{direction}}")],
            "Good: 0 at rest. Stands above 0 without Bytes moved: the other end is stuck, see its log.",
        ),
        graph(
            "Moved", "short",
            [("sum by (direction, outcome) (increase(vecraft_storage_transfers_total{@}[$__rate_interval])) or on () vector(0)", "{{direction}} {{outcome}}")],
            "By outcome. Failed ones are begun again where they stopped.",
        ),
        graph(
            "Progress", "percentunit", [(f"min by (instance, collection, shard) (vecraft_storage_transfer_progress_ratio{C}) or on () vector(1)", "{{instance}} {{collection}} {{shard}}")],
            "Share of a shard's bytes that has arrived, while it is built. Nothing to build: 100 %.", top=1,
        ),
        graph(
            "Time left", "s", [(f"max by (instance, collection, shard) (vecraft_storage_transfer_remaining_seconds{C}) or on () vector(0)", "{{instance}} {{collection}} {{shard}}")],
            "Estimated until a shard's bytes have arrived; 0: nothing to do, or not known yet.",
        ),
        graph(
            "Replay failures", "short",
            [
                ("sum by (instance) (increase(vecraft_storage_replay_failures_total{@}[$__rate_interval]))", "{{instance}} failures"),
                ("sum by (instance) (increase(vecraft_storage_entries_refused_total{@}[$__rate_interval]))", "{{instance}} entries refused"),
            ],
            """Failures while the journal has no leader are normal and end with it. Refused entries were passed over because they hold what
            cannot be applied: a fault to report, with the log line.""",
        ),
    ],
    variables=[("collection", "vecraft_storage_points")],
)
