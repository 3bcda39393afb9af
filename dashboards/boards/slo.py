"""Tiers: objectives, budgets, limits."""

from .grafana import FAULTS, ORANGE, RED, YELLOW, Board, Row, counted, graph, quantile, rate, stat, states

#: Tier, p99 objective in seconds, availability objective (design, QoS).
TIERS = [("critical", 0.025, 0.9999), ("interactive", 0.05, 0.999), ("batch", 0.2, 0.995), ("background", 1, 0.99)]


def budget(tier):
    return stat(
        f"Budget left, {tier}", "percentunit", (f'min(vecraft_error_budget_remaining{{@, tier="{tier}"}})', tier),
        """Of the node that has least. 100 %: nothing spent; below 20 % an alert fires; below 0 the objective of the period is missed.
        Stop rollouts and experiments until it grows again.""",
        width=6, limits=[(0, ORANGE), (0.2, "green")], falling=True,
    )


def latency(tier, target, _):
    return graph(
        f"p99, {tier}", "s",
        [(counted(quantile(0.99, "vecraft_request_duration_seconds", "operation", f'tier="{tier}"')), "{{operation}}")],
        f"The objective is {target * 1000:.0f} ms. Above it, requests that took longer spend the error budget.", width=6, limits=[(target, RED)],
    )


def availability(tier, _, target):
    every = rate("vecraft_request_total", "tier", f'tier="{tier}"')
    failed = rate("vecraft_request_total", "tier", f'tier="{tier}", {FAULTS}')
    shed = rate("vecraft_request_shed_total", "tier", f'tier="{tier}"')
    bad = f"(({failed} or 0 * {every}) + ({shed} or 0 * {every}))"
    return graph(
        f"Failed, {tier}", "percentunit", [(f"{bad} / ({every} > 0) or on () vector(0)", "{{tier}}")],
        f"""Share answered by a fault of the server or turned away for want of room; the objective allows {(1 - target) * 100:.2f} %.
        Which fault: Answers by status on the overview; what room: Turned away.""",
        width=6, limits=[(round(1 - target, 6), RED)],
    )


board = Board(
    "vecraft-slo", "Vecraft DB / QoS and SLO",
    "Objectives of the four tiers: what is left of the error budgets, how fast they are spent, and what is turned away.",
    [
        Row("Error budgets"),
        *[budget(tier) for tier, _, _ in TIERS],
        graph(
            "Budget left", "percentunit", [("min by (tier) (vecraft_error_budget_remaining{@})", "{{tier}}")],
            "A slow fall is wear: find the steady cause. A step is an incident.", width=12, limits=[(0.2, ORANGE)],
        ),
        graph(
            "Burn rate", "short", [("max by (tier, window) (vecraft_slo_burn_rate{@})", "{{tier}} {{window}}")],
            """How many times faster than allowed the budget is spent; 1 spends it exactly in its period. At 14.4 over an hour (2 % of a
            30-day budget) an alert fires for tier 1. 5m above 1h: it is getting worse; below: it is over.""",
            width=12, limits=[(1, YELLOW), (6, ORANGE), (14.4, RED)],
        ),
        Row("Time against the objective"),
        *[latency(*tier) for tier in TIERS],
        Row("Faults against the objective"),
        *[availability(*tier) for tier in TIERS],
        Row("Load and limits"),
        graph("Requests by tier", "reqps", [(rate("vecraft_request_total", "tier"), "{{tier}}")], "Answers a second. Tokens of the tiers: 1000, 5000, 2000 and 500 a second.", stacked=True),
        graph(
            "Capacity in use", "percentunit", [("max by (tier, service) (vecraft_capacity_utilization{@})", "{{tier}} {{service}}")],
            "Used part of what a service can do. Good: below 70 %. Near 100 % the lower tiers are turned away first: add nodes.",
            limits=[(0.7, YELLOW), (0.9, RED)], top=1,
        ),
        states(
            "Degraded", ("max by (tier, reason) (vecraft_degradation_active{@})", "{{tier}} {{reason}}"),
            "Whether requests of a tier are served with less than they ask for, and why. Ends by itself when the reason does.",
            yes="degraded", no="normal", good=False,
        ),
        graph(
            "Turned away", "reqps", [(rate("vecraft_request_shed_total", "tier, reason") + " or on () vector(0)", "{{tier}} {{reason}}")],
            "Refused because the server had no room, with the time after which to try again (429), by reason. Good: 0 for tiers 0 and 1.",
            limits=[(1, ORANGE)],
        ),
        graph(
            "In flight", "short",
            [
                ("sum by (instance) (vecraft_grpc_requests_running{@})", "{{instance}} gRPC"),
                ("sum by (instance) (vecraft_http_requests_in_flight{@})", "{{instance}} HTTP"),
            ],
            "Requests being served. A plateau at a limit with idle processors is something everybody waits for: replay or the journal.",
        ),
        graph(
            "Connections", "short",
            [
                ("sum by (instance) (vecraft_grpc_connections{@})", "{{instance}} open"),
                ("sum by (instance) (rate(vecraft_grpc_connections_refused_total{@}[$__rate_interval]))", "{{instance}} refused a second"),
            ],
            "gRPC. Refused ones: too many are open; clients should keep one and share it.",
        ),
        graph(
            "Bytes in and out", "Bps",
            [
                ("sum by (instance) (rate(vecraft_grpc_received_bytes_total{@}[$__rate_interval]))", "{{instance}} in"),
                ("sum by (instance) (rate(vecraft_grpc_sent_bytes_total{@}[$__rate_interval]))", "{{instance}} out"),
            ],
            "Of gRPC messages at the edge.",
        ),
        graph(
            "gRPC p99 by method", "s", [(quantile(0.99, "vecraft_grpc_request_duration_seconds", "method"), "{{method}}")],
            "From a call's headers to its status. Streams last as long as their clients like.",
        ),
        graph(
            "gRPC failures by method", "ops", [(rate("vecraft_grpc_requests_total", "method, code", 'code!="OK"') + " or on () vector(0)", "{{method}} {{code}}")],
            "Calls that did not end with OK, by method and status: who is it that fails, and how.",
        ),
        graph(
            "HTTP failures by route", "ops", [(rate("vecraft_http_requests_total", "route, code", 'code=~"4..|5.."') + " or on () vector(0)", "{{route}} {{code}}")],
            "Answers of 400 and above. 4xx are callers' mistakes and load turned away (429); 5xx are ours.",
        ),
        graph(
            "HTTP p99 by route", "s", [(quantile(0.99, "vecraft_http_request_duration_seconds", "route"), "{{route}}")],
            "REST and the operator's own paths. /metrics above 1 s: shorten what is scraped or scrape less often.",
        ),
        graph(
            "Bodies in memory", "bytes", [("sum by (instance) (vecraft_http_buffered_bytes{@})", "{{instance}}")],
            "Of HTTP requests being read. Bulk loads are better sent by gRPC (`vecraft import`).",
        ),
    ],
)
