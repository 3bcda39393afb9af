import GRPC
import Metadata
import NIOCore
import Primitives
import Synchronization
import Wire

/// Calls to an etcd of several members: to the one that answered last, to another when it does not, until the call's time
/// is up.
///
/// Limits: a call holds one request and one answer (at most 64 MiB) and lives for ``EtcdSettings/callTimeout``; there are at
/// most 10,000 of them to a member at a time.
final class EtcdClient: Sendable {
    /// Whether a call may be sent again when nobody knows what became of it.
    enum Repeating {
        /// Twice is as good as once.
        case harmless
        /// Twice changes nothing more, but then a refusal may be the first one's doing: see ``Answer/followsUnknown``.
        case guarded
        case forbidden
    }

    struct Answer<Response: EtcdResponse> {
        let response: Response
        /// An earlier attempt of this call may have been applied.
        let followsUnknown: Bool
        /// When the attempt that was answered was made.
        let sentAt: ContinuousClock.Instant
    }

    let settings: EtcdSettings
    /// For what must not wait for a turn on the shared pool.
    let executor: LoopExecutor
    private let members: [GRPCClient]
    private let tokens = EtcdTokens()
    private struct State {
        /// Who is asked.
        var current = 0
        var isClosed = false
        var history = EtcdHistory()
        var statistics = EtcdStatistics()
    }
    private let state = Mutex(State())
    private static let firstPause: Duration = .milliseconds(50)

    init(_ settings: EtcdSettings, group: any EventLoopGroup) throws(VecraftError) {
        try settings.validate()
        self.settings = settings
        self.executor = LoopExecutor(group.next())
        self.members = try settings.endpoints.map { (endpoint) throws(VecraftError) in
            try GRPCClient(
                host: endpoint.host, port: endpoint.port, tls: settings.tls, settings: settings.client, group: group)
        }
    }

    func close() async {
        self.state.withLock { $0.isClosed = true }
        for member in self.members { await member.close() }
    }

    // MARK: State

    func count(_ change: (inout EtcdStatistics) -> Void) { self.state.withLock { change(&$0.statistics) } }

    var statistics: EtcdStatistics {
        self.state.withLock { state in
            state.statistics.revision = state.history.revision
            return state.statistics
        }
    }

    func check() throws(VecraftError) {
        let error = self.state.withLock { state in
            state.isClosed
                ? VecraftError(.unavailable, "the metadata store is closed", reason: "CLOSED") : state.history.lost
        }
        if let error { throw error }
    }

    /// Changes were heard of up to here.
    func saw(_ revision: Revision) { self.state.withLock { $0.history.saw(revision) } }

    /// The member to ask now, and its number.
    func member() -> (number: Int, client: GRPCClient) {
        let number = self.state.withLock { $0.current }
        return (number, self.members[number])
    }

    /// Another one is asked next, if this one is still who is asked.
    func failed(_ number: Int) {
        self.state.withLock { if $0.current == number { $0.current = (number + 1) % self.members.count } }
    }

    // MARK: Calls

    func call<Request: WireMessage, Response: EtcdResponse>(
        _ method: MethodDescriptor, _ request: Request, as: Response.Type = Response.self, _ repeating: Repeating
    ) async throws(VecraftError) -> Answer<Response> {
        try self.check()
        self.count { $0.calls += 1 }
        var course = Course(
            repeating: repeating, members: self.members.count, deadline: .now + self.settings.callTimeout,
            pause: Self.firstPause)
        let floor = self.state.withLock { $0.history.revision }
        let bytes = ByteBuffer(bytes: request.encode())
        while true {
            let (number, member) = self.member()
            let sentAt = ContinuousClock.now
            do throws(VecraftError) {
                let metadata = try await self.metadata(on: member, within: course.left)
                do throws(VecraftError) {
                    let reply = try await member.unary(
                        method.path, bytes, metadata: metadata, timeout: course.patience(self.settings.attemptTimeout))
                    let response: Response = try Self.decode(reply.message)
                    if Response.isLinearizable { try self.accept(response.header, floor: floor) }
                    return Answer(response: response, followsUnknown: course.isUnknown, sentAt: sentAt)
                } catch {
                    if case .authenticate = EtcdVerdict(error) { self.tokens.drop(metadata["token"]) }
                    if case .unknown = EtcdVerdict(error) { course.isUnknown = true }
                    throw error
                }
            } catch {
                try self.check()
                if Task.isCancelled { throw VecraftError(.cancelled, "the call was cancelled") }
                self.failed(number, error, &course)
                if course.end(after: error) == nil, let pause = course.nextPause(upTo: self.settings.maxPause) {
                    try? await Task.sleep(for: pause)
                }
                if let end = course.end(after: error) {
                    if end.code == .unavailable { self.count { $0.unanswered += 1 } }
                    throw end
                }
                self.count { $0.repeats += 1 }
            }
        }
    }

    private func failed(_ number: Int, _ error: VecraftError, _ course: inout Course) {
        course.failures += 1
        switch EtcdVerdict(error) {
        case .notApplied, .unknown: self.failed(number)
        case .authenticate: course.refusals += 1
        case .final: break
        }
    }

    private func accept(_ header: EtcdV3.ResponseHeader?, floor: Revision) throws(VecraftError) {
        guard let header else { throw VecraftError(.internalError, "etcd's answer has no header") }
        let outcome = self.state.withLock { state in
            state.statistics.lastAnswer = .now
            return Result { () throws(VecraftError) in try state.history.saw(header, floor: floor) }
        }
        try outcome.get()
    }

    static func decode<M: WireMessage>(_ bytes: ByteBuffer) throws(VecraftError) -> M {
        let outcome = bytes.withUnsafeReadableBytes { raw in
            Result { () throws(VecraftError) in try M.decode(raw) }
        }
        do throws(VecraftError) {
            return try outcome.get()
        } catch {
            // Not the caller's bad input.
            throw VecraftError(.internalError, "etcd's answer cannot be read: \(error.message)")
        }
    }

    // MARK: Authentication

    /// What goes with every call: a member without a leader refuses at once; and the token.
    func metadata(on member: GRPCClient, within limit: Duration) async throws(VecraftError) -> GRPCMetadata {
        var metadata: GRPCMetadata = ["hasleader": "true"]
        guard let credentials = self.settings.credentials else { return metadata }
        let token = try await self.tokens.token { () throws(VecraftError) in
            self.count { $0.authentications += 1 }
            return try await self.authenticate(credentials, member, limit)
        }
        if let token { metadata.add("token", token) }
        return metadata
    }

    func drop(_ metadata: GRPCMetadata) { self.tokens.drop(metadata["token"]) }

    private func authenticate(
        _ credentials: EtcdSettings.Credentials, _ member: GRPCClient, _ limit: Duration
    ) async throws(VecraftError) -> String? {
        let request = EtcdV3.AuthenticateRequest(name: credentials.user, password: credentials.password)
        do throws(VecraftError) {
            let reply = try await member.unary(
                EtcdV3.Auth.authenticate.path, ByteBuffer(bytes: request.encode()), metadata: ["hasleader": "true"],
                timeout: min(limit, self.settings.attemptTimeout))
            let response: EtcdV3.AuthenticateResponse = try Self.decode(reply.message)
            return response.token
        } catch {
            if error.message.contains("authentication is not enabled") { return nil }
            if case .final(let error) = EtcdVerdict(error) { throw error }
            if error.code == .cancelled { throw error }
            // Whatever it was, the request proper was not sent.
            throw VecraftError(
                .unavailable, "cannot authenticate: \(error.message)", reason: "CONNECTION_LOST", retryAfter: .zero)
        }
    }
}
