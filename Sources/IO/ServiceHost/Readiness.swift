import Primitives
import Synchronization

/// Whether the process can do its work, and why not: the answers of `/livez`, `/readyz` and `/healthz`, and of gRPC
/// health.
///
/// Ready means: the state is ``State/ready`` and every check passes. Draining is final.
package final class Readiness: Sendable {
    package enum State: String, Sendable { case starting, replaying, ready, draining }

    package struct Check: Sendable, Equatable {
        package let ok: Bool
        /// What was found, for a person: "leader known, term 3", "412 entries behind".
        package let detail: String
        package init(ok: Bool, _ detail: String) {
            self.ok = ok
            self.detail = detail
        }
    }

    /// An answer ready to be sent: 200 or 503, and JSON.
    package struct Answer: Sendable, Equatable {
        package let status: Int
        package let json: String
    }

    private struct Registry {
        var state = State.starting
        /// What the present state is busy with ("data-1 at 80 of 100").
        var progress = ""
        var checks: [(name: String, run: @Sendable () -> Check)] = []
        var observers: [@Sendable (State) -> Void] = []
    }
    private let registry = Mutex(Registry())

    package init() {}

    package var state: State { self.registry.withLock { $0.state } }

    /// Enters a state. Leaving ``State/draining`` is refused silently: shutdown wins over whatever finishes late.
    package func enter(_ state: State, progress: String = "") {
        let observers: [@Sendable (State) -> Void] = self.registry.withLock { registry in
            if registry.state == .draining { return [] }
            let changed = registry.state != state
            registry.state = state
            registry.progress = progress
            return changed ? registry.observers : []
        }
        for observer in observers { observer(state) }
    }

    /// Adds a named check, asked at each `/readyz`. It must answer at once from what it knows.
    package func add(_ name: String, _ check: @escaping @Sendable () -> Check) {
        self.registry.withLock { $0.checks.append((name, check)) }
    }

    /// Is told of each change of state, from the thread that changed it.
    package func onChange(_ observer: @escaping @Sendable (State) -> Void) {
        self.registry.withLock { $0.observers.append(observer) }
    }

    /// The state is ready and every check passes.
    package var isReady: Bool {
        let (state, checks) = self.registry.withLock { ($0.state, $0.checks) }
        return state == .ready && checks.allSatisfy { $0.run().ok }
    }

    /// The checks and what they found.
    package var results: [(name: String, ok: Bool, detail: String)] {
        let checks = self.registry.withLock { $0.checks }
        return checks.map { check in
            let result = check.run()
            return (check.name, result.ok, result.detail)
        }
    }

    /// The process answers; nothing more. Never fails while there is somebody to ask.
    package var livez: Answer { Answer(status: 200, json: "{\"status\":\"alive\"}") }

    /// Whether requests should be sent here. 503 with the same body when not.
    package var readyz: Answer {
        let (state, progress, checks) = self.registry.withLock { ($0.state, $0.progress, $0.checks) }
        // Outside the lock: a check may take its own.
        let results = checks.map { (name: $0.name, result: $0.run()) }
        let ready = state == .ready && results.allSatisfy(\.result.ok)
        var json = JSONWriter()
        json.beginObject()
        json.key("status")
        json.string(state == .ready && !ready ? "unready" : state.rawValue)
        json.key("ready")
        json.bool(ready)
        if !progress.isEmpty {
            json.key("progress")
            json.string(progress)
        }
        json.key("checks")
        json.beginArray()
        for check in results {
            json.beginObject()
            json.key("name")
            json.string(check.name)
            json.key("ok")
            json.bool(check.result.ok)
            json.key("detail")
            json.string(check.result.detail)
            json.endObject()
        }
        json.endArray()
        json.endObject()
        return Answer(status: ready ? 200 : 503, json: json.text)
    }

    /// The older name of ``readyz``, which many tools still ask.
    package var healthz: Answer { self.readyz }
}
