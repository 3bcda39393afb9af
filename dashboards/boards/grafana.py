"""The few kinds of panels that the boards are made of, as Grafana's JSON.

In an expression `{@` begins a selector that obeys the variables of its board: `up{@}`, `up{@, role="leader"}`. Seconds are written
`[$__rate_interval]`, so that a rate fits the zoom and the scrape interval. `or on () vector(0)` stands for what has no series before it
first happens: one 0, and only if there is nothing else.
"""

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"

#: As many as Grafana's grid has.
COLUMNS = 24
#: Panels are rewritten by Grafana when it loads an older schema; 39 is what Grafana 10 and 11 read as it is.
SCHEMA = 39

SOURCE = {"type": "prometheus", "uid": "${datasource}"}

#: Statuses that say that the server, and not the caller, is at fault.
FAULTS = 'status=~"UNKNOWN|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|DATA_LOSS"'
WRITES = 'operation=~"upsert|delete"'


def rate(metric, by, where=""):
    """Sum of a counter's rates."""
    return f"sum by ({by}) (rate({metric}{{@{', ' + where if where else ''}}}[$__rate_interval]))"


def quantile(q, metric, by="", where=""):
    """Of a histogram, by the labels named."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, {rate(metric + '_bucket', labels, where)})"


def quantiles(metric, where=""):
    """p50, p95 and p99, as queries."""
    return [(quantile(q, metric, where=where), f"p{int(q * 100)}") for q in (0.5, 0.95, 0.99)]


def counted(quantiles):
    """Of what was counted in the time, or 0 when nothing was: a quantile of nothing is no number."""
    return f"{quantiles} >= 0 or on () vector(0)"


def share(part, whole):
    """Part of the whole; 0 where nothing has been counted in the part yet."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def _thresholds(steps):
    """Green below the first of (value, colour)."""
    return {"mode": "absolute", "steps": [{"color": GREEN, "value": None}] + [{"color": c, "value": v} for v, c in steps]}


def _target(number, query, instant, form):
    expression, legend = query
    return {
        "refId": chr(ord("A") + number),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": " ".join(expression.split()),
        "legendFormat": legend,
        "format": form,
        "instant": instant,
        "range": not instant,
    }


class Panel:
    """One panel; its place is found by its board.

    text: what it shows, what good looks like, and what to do when it does not.
    """

    def __init__(self, kind, title, unit, queries, text, width, height, defaults, options, instant=False, form="time_series"):
        self.width, self.height = width, height
        self.queries = queries
        self.body = {
            "type": kind,
            "title": title,
            "description": " ".join(text.split()),
            "datasource": SOURCE,
            "fieldConfig": {"defaults": {"unit": unit, **defaults}, "overrides": []},
            "options": options,
            "targets": [_target(i, query, instant, form) for i, query in enumerate(queries)],
        }


def graph(title, unit, queries, text, width=8, height=8, limits=(), top=None, stacked=False):
    """Lines over time; limits are (value, colour) and are drawn."""
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 40 if stacked else 10,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
        "axisSoftMin": 0,
    }
    defaults = {"custom": custom, "min": 0, "thresholds": _thresholds(limits), "color": {"mode": "palette-classic"}}
    if top is not None:
        defaults["max"] = top
    options = {
        "legend": {"showLegend": True, "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel("timeseries", title, unit, queries, text, width, height, defaults, options)


def signed(panel):
    """A graph whose values may be below 0."""
    del panel.body["fieldConfig"]["defaults"]["min"]
    del panel.body["fieldConfig"]["defaults"]["custom"]["axisSoftMin"]
    return panel


def stat(title, unit, query, text, width=3, height=4, limits=(), falling=False):
    """One number. Limits colour it from below; falling: what is below the first of them is red."""
    steps = _thresholds(limits)
    if falling:
        steps["steps"][0]["color"] = RED
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background" if limits else "value",
        "graphMode": "area",
        "textMode": "auto",
        "justifyMode": "auto",
        "orientation": "auto",
    }
    return Panel("stat", title, unit, [query], text, width, height, {"thresholds": steps, "color": {"mode": "thresholds"}}, options)


def heat(title, metric, text, where="", width=8, height=8, unit="s"):
    """A histogram over time: how many fell into which bucket."""
    queries = [(rate(metric + "_bucket", "le", where), "{{le}}")]
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "fill": "dark-orange", "reverse": False, "steps": 64},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True, "show": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }
    defaults = {"custom": {"scaleDistribution": {"type": "linear"}, "hideFrom": {"legend": False, "tooltip": False, "viz": False}}}
    return Panel("heatmap", title, unit, queries, text, width, height, defaults, options, form="heatmap")


def states(title, query, text, yes, no, good=True, width=8, height=8):
    """What is 0 or 1, over time, a line for each; good: whether 1 is."""
    mappings = [
        {
            "type": "value",
            "options": {
                "0": {"text": no, "color": RED if good else GREEN, "index": 0},
                "1": {"text": yes, "color": GREEN if good else RED, "index": 1},
            },
        }
    ]
    defaults = {
        "mappings": mappings,
        "custom": {"fillOpacity": 70, "lineWidth": 0},
        "thresholds": _thresholds([]),
        "color": {"mode": "thresholds"},
    }
    options = {
        "alignValue": "left",
        "mergeValues": True,
        "rowHeight": 0.85,
        "showValue": "auto",
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return Panel("state-timeline", title, "short", [query], text, width, height, defaults, options)


def table(title, unit, query, text, hidden=(), width=8, height=8):
    """Labels and values as they are now."""
    defaults = {"custom": {"align": "auto", "displayMode": "auto", "inspect": False}, "thresholds": _thresholds([])}
    options = {"showHeader": True, "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""}}
    panel = Panel("table", title, unit, [query], text, width, height, defaults, options, instant=True, form="table")
    exclude = {name: True for name in ("Time", "__name__", "cluster", "job", *hidden)}
    panel.body["transformations"] = [{"id": "organize", "options": {"excludeByName": exclude, "indexByName": {}, "renameByName": {}}}]
    return panel


class Row:
    """A heading; the panels behind it belong to it."""

    def __init__(self, title):
        self.title = title


class Board:
    """One dashboard.

    variables: names of labels beside cluster, job and instance that the viewer chooses by, each with a metric that has it.
    """

    def __init__(self, uid, title, text, parts, variables=()):
        self.uid, self.title, self.text, self.parts = uid, title, text, parts
        known = "vecraft_build_info"
        self.variables = [("cluster", known), ("job", known), ("instance", known), *variables]

    def _selector(self, expression):
        names = ["cluster", "job", "instance"]
        # Labels that only some metrics have are asked for by name: {@collection}.
        for name, _ in self.variables[3:]:
            expression = expression.replace("{@" + name, "{" + ", ".join(f'{n}=~"${n}"' for n in [*names, name]))
        return expression.replace("{@", "{" + ", ".join(f'{n}=~"${n}"' for n in names))

    def _templating(self):
        found = [
            {
                "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1, "regex": "",
                "hide": 0, "includeAll": False, "multi": False, "options": [], "current": {},
            }
        ]
        chosen = []
        for name, metric in self.variables:
            selector = ", ".join(f'{other}=~"${other}"' for other in chosen)
            query = f"label_values({metric}{{{selector}}}, {name})" if selector else f"label_values({metric}, {name})"
            found.append(
                {
                    "name": name, "label": name.capitalize(), "type": "query", "datasource": SOURCE, "definition": query,
                    "query": {"query": query, "refId": "variable-" + name}, "refresh": 2, "sort": 1, "regex": "", "hide": 0,
                    # Not the list of all values, because a series that lacks the label belongs to all, too. But the list of all jobs:
                    # up and process_* are there of others as well.
                    "includeAll": True, "allValue": None if name == "job" else ".*", "multi": True, "options": [],
                    "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
                }
            )
            chosen.append(name)
        return found

    def _panels(self):
        """Left to right, top to bottom; a line is as high as its highest panel."""
        placed, x, y, line = [], 0, 0, 0
        for number, part in enumerate(self.parts, 1):
            if isinstance(part, Row):
                y, x, line = y + line, 0, 0
                body = {"type": "row", "title": part.title, "collapsed": False, "panels": []}
                placed.append({"id": number, **body, "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})
                y += 1
                continue
            if x + part.width > COLUMNS:
                y, x, line = y + line, 0, 0
            body = {**part.body, "targets": [{**t, "expr": self._selector(t["expr"])} for t in part.body["targets"]]}
            placed.append({"id": number, **body, "gridPos": {"x": x, "y": y, "w": part.width, "h": part.height}})
            x, line = x + part.width, max(line, part.height)
        return placed

    def json(self):
        """As Grafana imports it."""
        firing = self._selector('ALERTS{alertname=~"Vecraft.*", alertstate="firing", cluster=~"$cluster"}')
        return {
            "id": None,
            "uid": self.uid,
            "title": self.title,
            "description": " ".join(self.text.split()),
            "tags": ["vecraft"],
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "",
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {},
            "fiscalYearStartMonth": 0,
            "weekStart": "",
            "links": [
                {
                    "type": "dashboards", "title": "Vecraft DB", "tags": ["vecraft"], "asDropdown": True, "includeVars": True,
                    "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": "",
                }
            ],
            "annotations": {
                "list": [
                    {
                        "name": "Alerts", "datasource": SOURCE, "enable": True, "hide": False, "iconColor": RED, "expr": firing,
                        "titleFormat": "{{alertname}}", "textFormat": "{{severity}}", "tagKeys": "severity", "step": "60s",
                    }
                ]
            },
            "templating": {"list": self._templating()},
            "panels": self._panels(),
        }
