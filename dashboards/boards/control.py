"""Who is in the cluster, who holds what, and what is decided."""

from .grafana import ORANGE, RED, YELLOW, Board, Row, counted, graph, quantile, stat, states

CONTROLLER = "and on (cluster, job, instance) vecraft_control_is_controller{@} == 1"


def seen(metric, by):
    """As the controller sees it; the others' numbers are of the time when they were controller."""
    return f"sum by ({by}) ({metric}{{@}} {CONTROLLER})"


board = Board(
    "vecraft-control", "Vecraft DB / Control plane",
    "Nodes, copies, decisions and the metadata store of a cluster that runs itself.",
    [
        Row("At a glance"),
        stat(
            "Controllers", "short", ("sum(vecraft_control_is_controller{@})", "controllers"),
            "Good: 1. 0 for longer than an election: nobody repairs anything; look at etcd. 2 for a moment while it changes hands.",
            width=4, limits=[(1, "green"), (2, ORANGE)], falling=True,
        ),
        stat(
            "Nodes that reach etcd", "percentunit", ("avg(vecraft_control_metadata_reachable{@})", "reach etcd"),
            "Good: 100 %. Reads and writes of points go on without; repairs, new nodes and elections of a controller do not.",
            width=4, limits=[(0.5, ORANGE), (1, "green")], falling=True,
        ),
        stat(
            "Missing copies", "short", ("max(vecraft_control_missing_replicas{@} " + CONTROLLER + ") or on () vector(0)", "copies"),
            "Copies that shards want and have not. Good: 0. Not 0 for 5 minutes: an alert fires; see Needed and not to be had.",
            width=4, limits=[(1, ORANGE)],
        ),
        stat(
            "Needed and not to be had", "short", ("max(vecraft_control_blocked{@} " + CONTROLLER + ") or on () vector(0)", "things"),
            "What the controller wants and cannot have: too few nodes, no room. `vecraft cluster status` says it in words.", width=4, limits=[(1, RED)],
        ),
        stat(
            "Map epochs apart", "short", ("max(vecraft_control_map_epoch{@}) - min(vecraft_control_map_epoch{@})", "epochs"),
            "Between the nodes that know most and least. Good: 0 at rest. Stays above: a node does not hear etcd.", width=4, limits=[(1, YELLOW), (10, ORANGE)],
        ),
        stat(
            "Soonest certificate to end", "s", ("min(vecraft_tls_certificate_expiry_timestamp_seconds{@}) - time()", "left"),
            "Where TLS is on, else nothing. Good: more than 14 days. Renew the files, then restart one node after another: they are read at the start.",
            width=4, limits=[(86400, ORANGE), (14 * 86400, "green")], falling=True,
        ),
        Row("Nodes and copies"),
        graph(
            "Nodes by health", "short", [(seen("vecraft_control_nodes", "health"), "{{health}}")],
            """As the controller sees them. suspected: silent for a moment. down: silent for `cluster.down_after_ms`, its copies are made
            elsewhere. flapping: comes and goes, and is not trusted with more.""",
            stacked=True,
        ),
        graph(
            "Copies by state", "short", [(seen("vecraft_control_shard_replicas", "state"), "{{state}}")],
            "live answer reads; building are being made; leaving go when others are there. Good at rest: all live.", stacked=True,
        ),
        graph(
            "Missing and blocked", "short",
            [
                ("max(vecraft_control_missing_replicas{@} " + CONTROLLER + ") or on () vector(0)", "missing"),
                ("max(vecraft_control_blocked{@} " + CONTROLLER + ") or on () vector(0)", "blocked"),
            ],
            "Missing falls while copies are made. Blocked stands until somebody adds a node or room.",
        ),
        states("Controller", ("max by (instance) (vecraft_control_is_controller{@})", "{{instance}}"), "Which node decides. Changes with etcd's trouble or a node's.", yes="decides", no="-"),
        states(
            "etcd reached", ("min by (instance) (vecraft_control_metadata_reachable{@})", "{{instance}}"),
            "One node without: its network. All: etcd, `etcdctl endpoint status --cluster`.", yes="reached", no="not reached",
        ),
        graph(
            "Changes of health", "short", [("sum by (health) (increase(vecraft_control_health_changes_total{@}[$__rate_interval]))", "{{health}}")],
            "Nodes that became up, suspected, down or flapping. Good: none. Many suspected that become up again: a busy machine or a bad link.",
        ),
        Row("Decisions"),
        graph(
            "Decisions", "short", [("sum by (kind) (increase(vecraft_control_decisions_total{@}[$__rate_interval]))", "{{kind}}")],
            "Written to the cluster map, by kind. Each is an entry of sys-0 with its reason: `vecraft journal tail sys-0`.",
        ),
        graph(
            "Decisions too late", "short", [("sum by (instance) (increase(vecraft_control_refused_decisions_total{@}[$__rate_interval]))", "{{instance}}")],
            "The map had changed meanwhile; they are made anew. Many: two nodes that both decide.",
        ),
        graph(
            "Time to plan", "s", [(quantile(0.99, "vecraft_control_plan_seconds", "instance"), "{{instance}} p99")],
            "Of one plan over the whole map. Good: milliseconds.", limits=[(0.25, ORANGE)],
        ),
        graph(
            "Map epoch", "short", [("max by (instance) (vecraft_control_map_epoch{@})", "{{instance}}")],
            "That each node knows. The lines should lie on each other.",
        ),
        graph(
            "DDL p99", "s", [(counted(quantile(0.99, "vecraft_request_duration_seconds", "operation", 'operation=~".*_collections?"')), "{{operation}}")],
            "Collections made, changed, dropped and listed. A creation waits until its copies are live.",
        ),
        graph(
            "Copies of the catalog put aside", "short", [("sum by (instance) (vecraft_meta_quarantined_copies_total{@})", "{{instance}}")],
            "Could not be trusted, and were rebuilt from the journal. Good: 0.", limits=[(1, RED)],
        ),
        graph(
            "Certificates", "s", [("min by (instance, listener) (vecraft_tls_certificate_expiry_timestamp_seconds{@}) - time()", "{{instance}} {{listener}}")],
            "Time until each listener's certificate ends. A saw, if they are renewed by a program.",
        ),
        graph(
            "Time since the start", "s", [("time() - max by (instance) (process_start_time_seconds{@})", "{{instance}}")],
            "Of each process. A saw is a node that ends again and again: read its log.",
        ),
        graph(
            "Open files", "percentunit", [("max by (instance) (process_open_fds{@} / process_max_fds{@})", "{{instance}}")],
            "Share of the process's limit. Good: below 50 %; raise the limit (`LimitNOFILE`) before it is reached.", limits=[(0.8, RED)], top=1,
        ),
    ],
)
