internal import Foundation

/// What Prometheus's own linter and the strict parser of its Python client say of a process's metrics.
package enum MetricsPageJudge {
    /// - Returns: What is wrong, an empty list if nothing is. Where a judge is missing it says nothing, but on CI that is a finding.
    package static func findings(httpPort: Int) async throws -> [String] {
        let isNeeded = ProcessInfo.processInfo.environment["CI"] == "true"
        let directory = try TemporaryDirectory()
        var findings: [String] = []
        let plain = try await http("GET", httpPort, "/metrics").body
        if let promtool = findProgram("promtool") {
            let file = directory.file("page")
            try plain.write(toFile: file, atomically: true, encoding: .utf8)
            let check = try await PythonEnvironment.run(
                "/bin/sh", ["-c", "\"\(promtool)\" check metrics <\"\(file)\""], limit: .seconds(60))
            if !check.succeeded || !check.output.isEmpty || !check.errors.isEmpty { findings.append("promtool: \(check)") }
        } else if isNeeded {
            findings.append("promtool is missing (Debian package prometheus)")
        }
        guard let python = await PythonEnvironment.python(modules: [.prometheus]) else {
            return findings + (isNeeded ? ["there is no Python with prometheus_client; .ci/python makes it"] : [])
        }
        let open = try await http(
            "GET", httpPort, "/metrics", headers: ["accept": "application/openmetrics-text; version=1.0.0"]
        ).body
        let file = directory.file("open")
        try open.write(toFile: file, atomically: true, encoding: .utf8)
        let program =
            "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as p; print(len(list(p(open(sys.argv[1]).read()))))"
        let parsed = try await PythonEnvironment.run(python, ["-c", program, file], limit: .seconds(60))
        let families = plain.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.count
        let known = Int(parsed.output.split(separator: "\n").first ?? "") ?? 0
        if !parsed.succeeded || known < families / 2 { findings.append("strict parser, \(known) of \(families): \(parsed)") }
        return findings
    }
}
