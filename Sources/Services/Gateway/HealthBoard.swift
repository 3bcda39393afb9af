internal import Primitives
internal import Synchronization
internal import Wire

/// The standard gRPC health service: the node as a whole ("") and each service by name share one status.
final class HealthBoard: Sendable {
    typealias Status = GRPCHealthV1.HealthCheckResponse.ServingStatus
    /// Watchers at a time; each is an open call.
    static let maxWatchers = 10_000

    private struct State {
        var serving = false
        var watchers: [Int: AsyncStream<Status>.Continuation] = [:]
        var next = 0
    }
    private let state = Mutex(State())
    private let services = Set(ServiceDescriptors.all.map(\.name))

    func set(serving: Bool) {
        let watchers = self.state.withLock { state -> [AsyncStream<Status>.Continuation] in
            guard state.serving != serving else { return [] }
            state.serving = serving
            return Array(state.watchers.values)
        }
        for watcher in watchers { watcher.yield(serving ? .serving : .notServing) }
    }

    func check(_ service: String) throws(VecraftError) -> Status {
        guard service.isEmpty || self.services.contains(service) else {
            throw VecraftError(.notFound, "there is no service \"\(service.prefix(100))\"", field: "service")
        }
        return self.state.withLock { $0.serving } ? .serving : .notServing
    }

    /// The status now, and each later one. Only the newest untaken one is kept: a watcher wants the present.
    func watch(_ service: String) throws(VecraftError) -> AsyncStream<Status> {
        let known = service.isEmpty || self.services.contains(service)
        let (stream, continuation) = AsyncStream.makeStream(of: Status.self, bufferingPolicy: .bufferingNewest(1))
        let id = try self.state.withLock { (state) throws(VecraftError) -> Int in
            guard state.watchers.count < Self.maxWatchers else {
                throw VecraftError(.resourceExhausted, "\(Self.maxWatchers) watch already")
            }
            state.next += 1
            continuation.yield(known ? (state.serving ? .serving : .notServing) : .serviceUnknown)
            if known { state.watchers[state.next] = continuation }
            return state.next
        }
        continuation.onTermination = { [self] _ in _ = self.state.withLock { $0.watchers.removeValue(forKey: id) } }
        return stream
    }
}
