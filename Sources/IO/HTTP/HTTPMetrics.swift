package import Observability

/// The HTTP server as a transport; requests by what they ask for are in `RequestMetrics`.
package struct HTTPMetrics: Sendable {
    /// Answers. Counter by route (its pattern), method and code (HTTP status); unknown paths share the route
    /// "unmatched".
    package let requests: CounterFamily
    /// Seconds from head read to answer built. Histogram by route and method.
    package let duration: HistogramFamily
    /// Requests read or being answered. Gauge.
    package let inFlight: Gauge
    /// Bytes of request bodies held. Gauge.
    package let bufferedBytes: Gauge

    package init(_ registry: MetricsRegistry) {
        self.requests = registry.counter(
            "vecraft_http_requests_total", help: "HTTP requests answered, by route and status.",
            labels: ["route", "method", "code"])
        self.duration = registry.histogram(
            "vecraft_http_request_duration_seconds", help: "Time from a request's head read to its answer built.",
            labels: ["route", "method"])
        self.inFlight = registry.gauge("vecraft_http_requests_in_flight", help: "HTTP requests being read or answered.")
        self.bufferedBytes = registry.gauge(
            "vecraft_http_buffered_bytes", help: "Bytes of HTTP request bodies held in memory.")
    }
}
