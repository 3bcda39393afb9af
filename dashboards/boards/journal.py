"""Writes: order, durability, replication."""

from .grafana import ORANGE, RED, YELLOW, Board, Row, graph, heat, quantile, rate, signed, stat, states

P = "{@partition}"


def worst(metric, by="partition"):
    return f"max by ({by}) ({metric}{P})"


def grown(metric, by="partition"):
    return f"sum by ({by}) (rate({metric}{P}[$__rate_interval]))"


def p99(metric, by):
    return f"histogram_quantile(0.99, sum by (le, {by}) (rate({metric}_bucket{P}[$__rate_interval])))"


board = Board(
    "vecraft-journal", "Vecraft DB / Journal",
    "Appends, fsyncs, Raft groups and the links between nodes.",
    [
        Row("Appends"),
        stat(
            "Append p99", "s", ("max(" + p99("vecraft_journal_append_duration_seconds", "partition") + ")", "p99"),
            "Of the slowest partition, from arrival in the queue to durable on a majority. Good: below 10 ms; above it an alert fires.",
            width=4, limits=[(0.005, YELLOW), (0.01, RED)],
        ),
        stat(
            "fsync p99", "s", ("max(" + p99("vecraft_journal_fsync_duration_seconds", "instance") + ")", "p99"),
            "Of the slowest node. Appends cannot be faster than this. Good: below 5 ms on local flash.",
            width=4, limits=[(0.005, YELLOW), (0.01, RED)],
        ),
        stat(
            "Entries a second", "ops", (f"sum(max by (cluster, partition) (rate(vecraft_journal_entries_total{P}[$__rate_interval])))", "entries"),
            "Over all partitions, each entry counted once. One entry is one write request.", width=4,
        ),
        stat(
            "Waiting to be written", "bytes", (f"sum(vecraft_journal_queue_bytes{P})", "queued"),
            "Entries in the queues before the log. Good: near 0; at `journal.queue_bytes` appends are refused as RESOURCE_EXHAUSTED.",
            width=4, limits=[(16 << 20, ORANGE), (48 << 20, RED)],
        ),
        stat(
            "Appends refused", "ops", (f"sum(rate(vecraft_journal_rejected_total{P}[$__rate_interval])) or on () vector(0)", "refused"),
            "A second, for all reasons. Good: 0. The panel Refused below names the reason.", width=4, limits=[(0.01, ORANGE), (1, RED)],
        ),
        stat(
            "Partitions without leader", "short",
            (f"count(max by (cluster, partition) (vecraft_raft_has_leader{P}) == 0) or on () vector(0)", "partitions"),
            "Good: 0. More: their writes wait; `vecraft journal partitions` shows which voters are there.", width=4, limits=[(1, RED)],
        ),
        heat(
            "Append time", "vecraft_journal_append_duration_seconds",
            "Where appends' times lie. Good: one dark band below 5 ms. A band at a multiple of the fsync time is queueing behind other appends.",
        ),
        graph(
            "Append p99 by partition", "s", [(p99("vecraft_journal_append_duration_seconds", "partition"), "{{partition}}")],
            """One partition slow: its leader's disk, or its followers' (an append waits for the fastest majority). All slow: the load, or
            shared disks. `vecraft journal transfer PARTITION NODE` takes a slow leader out of the way.""",
            limits=[(0.01, RED)],
        ),
        graph(
            "Refused", "ops", [(grown("vecraft_journal_rejected_total", "partition, reason") + " or on () vector(0)", "{{partition}} {{reason}}")],
            """By reason. A full queue: writers are faster than the disk. A full disk: see Disk free on the overview. Not the leader: callers
            went to a node that had just lost leadership; harmless if short.""",
        ),
        heat(
            "fsync time", "vecraft_journal_fsync_duration_seconds",
            "Each is one write to the device. A band that moves up for all nodes of a host is the device; for one node, its neighbours.",
        ),
        graph(
            "fsync p99 by node", "s", [(p99("vecraft_journal_fsync_duration_seconds", "instance"), "{{instance}}")],
            "The device under each node. One node far above the others: move its leaderships away and look at the device.",
            limits=[(0.01, ORANGE)],
        ),
        graph(
            "Entries and bytes per fsync", "short",
            [
                (f"sum(rate(vecraft_journal_batch_entries_sum{P}[$__rate_interval])) / sum(rate(vecraft_journal_batch_entries_count{P}[$__rate_interval]))", "entries"),
                (f"sum(rate(vecraft_journal_batch_bytes_sum{P}[$__rate_interval])) / sum(rate(vecraft_journal_batch_bytes_count{P}[$__rate_interval])) / 1024", "KiB"),
            ],
            "One fsync serves all who wait. 1 entry: an idle journal, which flushes at once. Many: load, and group commit at work.",
        ),
        graph(
            "Entries", "ops", [(f"max by (partition) (rate(vecraft_journal_entries_total{P}[$__rate_interval]))", "{{partition}}")],
            "Appended a second. One partition far above the others: a large tenant lives there.",
        ),
        graph(
            "Bytes", "Bps", [(f"max by (partition) (rate(vecraft_journal_bytes_total{P}[$__rate_interval]))", "{{partition}}")],
            "Of entries, appended a second; each voter writes as much. The disk's bandwidth is the limit in bulk.",
        ),
        graph(
            "Answered from an earlier append", "ops", [(grown("vecraft_journal_idempotent_replays_total"), "{{partition}}")],
            "Requests sent again under the same idempotency key, which were written once. Good: few; many says that answers get lost or late.",
        ),
        Row("Raft"),
        states(
            "Leader known", (f"min by (instance, partition) (vecraft_raft_has_leader{P})", "{{instance}} {{partition}}"),
            "Whether a node knows its partition's leader. One node without one is cut off; all of them: no majority.", yes="leader", no="none",
        ),
        states(
            "Leads", (f'max by (instance, partition) (vecraft_raft_role{{@partition, role="leader"}})', "{{instance}} {{partition}}"),
            "Which node leads which partition. Good: evenly spread, and still. Changes: see Elections.", yes="leads", no="follows",
        ),
        graph(
            "Elections and changes of leader", "ops",
            [
                (grown("vecraft_raft_elections_total", "instance"), "{{instance}} elections"),
                (grown("vecraft_raft_leader_changes_total", "instance"), "{{instance}} changes"),
            ],
            """Good: none but when nodes come and go. Many with nobody dying: a node that cannot keep up with heartbeats (processor, disk) or
            a bad link (Round trip below).""",
        ),
        graph(
            "Followers' lag", "s", [(worst("vecraft_raft_peer_lag_seconds", "partition, peer"), "{{partition}} to {{peer}}")],
            "Since the oldest entry not durable on a follower was proposed, as its leader knows. Good: milliseconds. One peer: its disk or link.",
            limits=[(0.5, ORANGE), (1, RED)],
        ),
        graph(
            "Followers' lag in bytes", "bytes", [(worst("vecraft_raft_peer_lag_bytes", "partition, peer"), "{{partition}} to {{peer}}")],
            "What a follower still has to write. Falls steadily while it catches up; grows: it never will at this load.",
        ),
        graph(
            "Silence of followers", "s", [(worst("vecraft_raft_peer_silence_seconds", "partition, peer"), "{{partition}} to {{peer}}")],
            "Since a peer's last answer to its leader. Good: below a heartbeat. Grows in a straight line: that node is down or cut off.",
            limits=[(1, ORANGE), (5, RED)],
        ),
        graph(
            "Appended and not committed", "short",
            [(f"max by (partition) (vecraft_raft_last_index{P} - vecraft_raft_commit_index{P})", "{{partition}}")],
            "Entries in a log that a majority has not made durable. Good: as many as are on their way. Stands still above 0: no majority.",
        ),
        graph(
            "Sent and not durable yet", "bytes", [(worst("vecraft_raft_in_flight_bytes"), "{{partition}}")],
            "What leaders have on the way to followers. At its limit a leader waits: followers or links are the bottleneck.",
        ),
        graph(
            "Voters", "short", [(f"min by (partition) (vecraft_raft_voters{P})", "{{partition}}")],
            "Of each partition's group. Good: 3 or 5. Less than wanted: a node was removed and none has taken its place.",
        ),
        graph(
            "Terms", "short", [(worst("vecraft_raft_term"), "{{partition}}")],
            "Grows by one with each election. A staircase says that leadership does not hold.",
        ),
        states(
            "Fit to lead", (f"max by (instance, partition) (vecraft_raft_unfit_to_lead{P})", "{{instance}} {{partition}}"),
            "Unfit: the disk is nearly full, or the clock is far from the others'. The log line says which; leadership has moved.",
            yes="unfit", no="fit", good=False,
        ),
        states(
            "Recovering", (f"max by (instance, partition) (vecraft_raft_recovering{P})", "{{instance}} {{partition}}"),
            "A replica that lost acknowledged entries does not vote until it has them again. Two of three at once: see the runbook on lost disks.",
            yes="recovering", no="whole", good=False,
        ),
        graph(
            "Refused votes and appends", "ops",
            [
                (grown("vecraft_raft_votes_refused_total", "instance"), "{{instance}} votes"),
                (grown("vecraft_raft_append_rejects_total", "instance"), "{{instance}} appends"),
                (grown("vecraft_raft_messages_dropped_total", "instance"), "{{instance}} dropped"),
            ],
            "Some when leadership moves. Steady: two nodes disagree again and again; look at links and clocks.", width=24,
        ),
        Row("Links between nodes"),
        states(
            "Link up", ("min by (instance, peer) (vecraft_peer_link_up{@})", "{{instance}} to {{peer}}"),
            "Good: all up. One way only: a firewall. To one node from all: that node.", yes="up", no="down",
        ),
        graph(
            "Round trip p99", "s", [(quantile(0.99, "vecraft_peer_round_trip_seconds", "instance, peer"), "{{instance}} to {{peer}}")],
            "Of a ping. A write needs one round trip to the nearer follower. Good: well below 5 ms within a site.", limits=[(0.05, ORANGE)],
        ),
        signed(
            graph(
                "Clock offset", "s", [("vecraft_peer_clock_offset_seconds{@}", "{{instance}} sees {{peer}}")],
                """How far a peer's wall clock is ahead. Good: below 10 ms with NTP or chrony. At 100 ms an alert fires, at 500 ms messages are
                refused and the node gives up leading: repair time synchronisation on the node that differs from both others.""",
                limits=[(0.1, ORANGE), (0.5, RED)],
            )
        ),
        graph(
            "Bytes sent", "Bps", [(rate("vecraft_peer_sent_bytes_total", "instance, class"), "{{instance}} {{class}}")],
            "By class: control (heartbeats, votes) is small and constant; bulk is entries.",
        ),
        graph(
            "Waiting to be sent", "bytes", [("max by (instance, peer) (vecraft_peer_queue_bytes{@})", "{{instance}} to {{peer}}")],
            "Entries queued for a peer. Good: near 0. Grows for one peer: its link or its node is slower than the writes.",
        ),
        graph(
            "Links made, refused, messages lost", "ops",
            [
                (rate("vecraft_peer_links_made_total", "instance"), "{{instance}} made"),
                (rate("vecraft_peer_links_refused_total", "instance, reason") + " or on () vector(0)", "{{instance}} refused {{reason}}"),
                (rate("vecraft_peer_messages_dropped_total", "instance, reason") + " or on () vector(0)", "{{instance}} lost {{reason}}"),
            ],
            "Good: nothing once all nodes run. Refused links name why (another cluster, another version). Lost messages are made up for.",
        ),
        Row("On disk"),
        graph(
            "Bytes on disk", "bytes", [("sum by (instance) (vecraft_journal_disk_bytes{@partition})", "{{instance}}")],
            "Of journal files, preallocated 64 MiB each. Grows until trimmed: `vecraft journal trim PARTITION --through OFFSET`.",
        ),
        graph(
            "Entries held", "short",
            [(f"max by (partition) (vecraft_journal_committed_offset{P} - vecraft_journal_first_offset{P} + 1)", "{{partition}}")],
            "From the first still held to the last committed. This is how far back lineage can answer.",
        ),
        graph(
            "Since the newest entry", "s", [(f"time() - max by (partition) (vecraft_journal_last_entry_timestamp_seconds{P})", "{{partition}}")],
            "An idle partition grows old, which is well. A busy one that grows old has stopped.",
        ),
        graph(
            "Segments", "short", [("sum by (instance, partition) (vecraft_journal_segments{@partition})", "{{instance}} {{partition}}")],
            "Files. Falls when the log's start is moved by trimming.",
        ),
        graph(
            "Whole logs sent or taken", "short",
            [
                ("sum by (instance, direction, outcome) (increase(vecraft_peer_log_transfers_total{@}[$__rate_interval])) or on () vector(0)", "{{instance}} {{direction}} {{outcome}}"),
                ("sum by (instance) (increase(vecraft_raft_trims_total{@partition}[$__rate_interval]))", "{{instance}} trims"),
            ],
            "A follower below the log's start takes the log as a whole. Good: only for new or long-absent nodes.",
        ),
        graph(
            "Tails cut at start", "short", [("sum by (instance) (vecraft_journal_torn_tails_total{@partition})", "{{instance}}")],
            "Unacknowledged bytes at a log's end after a crash, cut when it was opened. Harmless; damage before the tail is an error instead.",
        ),
    ],
    variables=[("partition", "vecraft_journal_committed_offset")],
)
