internal import GRPC
internal import NIOCore
package import Primitives
package import Wire

/// What an import does with each batch.
package struct ImportPlan: Sendable {
    package var collection: String
    package var tenant: String
    package var wait = VecraftV1.Wait.committed
    /// Names this import in idempotency keys: with the same name, what is stored already is not written again.
    package var runID: String
    package var pointsPerRequest = 500
    /// A request is closed when it holds this much, whatever its count.
    package var bytesPerRequest = 4 << 20
    /// Points at the file's beginning to leave out: what ``ImportFailure/storedPrefix`` said. The batches after it are then
    /// the same as in the run that failed, with the same keys.
    package var skip = 0
    package var limits = ImportWindow.Limits()

    package init(collection: String, tenant: String, runID: String) {
        self.collection = collection
        self.tenant = tenant
        self.runID = runID
    }
}

package struct ImportResult: Sendable {
    package var points = 0
    package var requests = 0
    /// Requests that an earlier try had written already.
    package var replayed = 0
    /// Points sent without any vector, which no search finds.
    package var withoutVector = 0
    package var last: VecraftV1.WriteInfo?
}

/// An import that ended early.
package struct ImportFailure: Error, Sendable {
    package var cause: VecraftError
    package var result: ImportResult
    /// Points at the file's beginning that are all stored.
    package var storedPrefix: Int
}

/// Sends points over one `UpsertStream`, several requests ahead of their answers, and again when the connection is lost.
package struct Importer {
    private let node: Node
    private let plan: ImportPlan
    private let source: PointSource
    private var window: ImportWindow
    /// Read but not yet sent: it would have made the batch before it too large.
    private var pending: Item?
    /// Position in the file of the first point that is in no batch yet.
    private var nextStart: Int
    private var last: VecraftV1.WriteInfo?
    private var withoutVector = 0

    private struct Item {
        var point: VecraftV1.Point
        /// Of the file; nil where there are none.
        var line: Int?
    }

    package init(node: Node, plan: ImportPlan, source: PointSource) {
        self.node = node
        self.plan = plan
        self.source = source
        self.window = ImportWindow(limits: plan.limits)
        self.nextStart = plan.skip
    }

    /// - Parameter progress: Called with the points stored so far.
    package mutating func run(progress: (Int) -> Void) async throws -> ImportResult {
        do throws(VecraftError) {
            try self.source.skip(self.plan.skip)
            while true {
                do throws(VecraftError) {
                    try await self.stream(progress)
                    return self.result
                } catch {
                    guard error.code == .unavailable || error.code == .cancelled, let pause = self.window.lost() else {
                        throw error
                    }
                    try await self.sleep(max(pause, error.retryAfter ?? .zero))
                }
            }
        } catch {
            let prefix = self.window.firstMissing ?? self.nextStart
            throw ImportFailure(cause: error, result: self.result, storedPrefix: prefix)
        }
    }

    private var result: ImportResult {
        ImportResult(
            points: self.window.storedPoints, requests: self.window.storedRequests,
            replayed: self.window.replayedRequests, withoutVector: self.withoutVector, last: self.last)
    }

    /// One connection's worth: until everything is stored, or the stream breaks.
    private mutating func stream(_ progress: (Int) -> Void) async throws(VecraftError) {
        let call = try await self.node.client.bidirectional(
            VecraftV1.Points.upsertStream.path, metadata: self.node.metadata)
        var replies = call.replies.makeAsyncIterator()
        for batch in self.window.inFlight { try await call.send(batch.request) }
        while true {
            while self.window.hasRoom, let batch = try self.nextBatch() {
                self.window.sent(batch)
                try await call.send(batch.request)
            }
            if self.window.inFlight.isEmpty { break }
            guard let reply = try await replies.next() else {
                throw VecraftError(.unavailable, "the node ended the stream")
            }
            if let retry = try self.take(reply) {
                try await self.sleep(retry.after)
                try await call.send(retry.batch.request)
            }
            progress(self.window.storedPoints)
        }
        call.finishSending()
    }

    /// Accounts for one answer; returns the batch to send again, if that is what it says.
    private mutating func take(
        _ reply: ByteBuffer
    ) throws(VecraftError) -> (batch: ImportWindow.Batch, after: Duration)? {
        let response = try VecraftV1.UpsertResponse.decode(Array(reply.readableBytesView))
        let answer = self.window.answered(
            code: Int(response.code), message: response.message, replayed: response.write?.replayed ?? false)
        switch answer {
        case .stored:
            self.last = response.write ?? self.last
            return nil
        case .again(let batch, let after): return (batch, after)
        case .failed(let error): throw self.placed(error)
        }
    }

    /// The node counts points from the request's beginning; who reads this knows lines of the file. The batch that was refused
    /// is the oldest.
    private func placed(_ error: VecraftError) -> VecraftError {
        guard let batch = self.window.inFlight.first, error.message.hasPrefix("points["),
            let end = error.message.firstIndex(of: "]"),
            let index = Int(error.message[..<end].dropFirst("points[".utf8.count)), index < batch.points
        else { return error }
        let place =
            batch.lines.indices.contains(index)
            ? "line \(batch.lines[index])" : "row \(batch.start + index)"
        let rest = error.message[error.message.index(after: end)...]
        let what = rest.hasPrefix(".") ? rest.dropFirst().description : "the point" + rest
        return VecraftError(
            error.code, "\(self.source.path), \(place): \(what)", field: error.field, reason: error.reason,
            retryAfter: error.retryAfter)
    }

    private func sleep(_ duration: Duration) async throws(VecraftError) {
        do {
            try await Task.sleep(for: duration)
        } catch {
            throw VecraftError(.cancelled, "interrupted")
        }
    }

    private mutating func nextBatch() throws(VecraftError) -> ImportWindow.Batch? {
        var request = VecraftV1.UpsertRequest(
            collection: self.plan.collection, wait: self.plan.wait,
            idempotencyKey: "import-\(self.plan.runID)-\(self.nextStart)", tenant: self.plan.tenant)
        request.points.reserveCapacity(self.plan.pointsPerRequest)
        var bytes = 0
        var lines: [Int] = []
        while request.points.count < self.plan.pointsPerRequest {
            guard let item = try self.nextItem() else { break }
            let size = Self.size(item.point)
            if bytes > 0, bytes + size > self.plan.bytesPerRequest {
                self.pending = item
                break
            }
            bytes += size
            if let line = item.line { lines.append(line) }
            if item.point.vector == nil, item.point.vectors.isEmpty { self.withoutVector += 1 }
            request.points.append(item.point)
        }
        guard !request.points.isEmpty else { return nil }
        var batch = ImportWindow.Batch(start: self.nextStart, points: request.points.count, request: request.encode())
        batch.lines = lines
        self.nextStart += batch.points
        return batch
    }

    private mutating func nextItem() throws(VecraftError) -> Item? {
        if let item = self.pending {
            self.pending = nil
            return item
        }
        return try self.source.next().map { Item(point: Self.wire($0), line: self.source.line) }
    }

    /// About what the point takes on the wire.
    private static func size(_ point: VecraftV1.Point) -> Int {
        let vectors = point.vectors.values.reduce(point.vector?.packed.count ?? 0) { $0 + $1.packed.count + 32 }
        return point.id.utf8.count + vectors + (point.payload?.json.count ?? 0) + 32
    }

    package static func wire(_ point: FilePoint) -> VecraftV1.Point {
        var wire = VecraftV1.Point(id: point.id)
        for vector in point.vectors {
            // Every machine that Swift runs on for servers is little-endian, and so is the wire.
            let packed = vector.values.withUnsafeBytes { [UInt8]($0) }
            if vector.name.isEmpty {
                wire.vector = VecraftV1.Vector(packed: packed)
            } else {
                wire.vectors[vector.name] = VecraftV1.Vector(packed: packed)
            }
        }
        wire.payload = point.payload.map { VecraftV1.Payload(json: $0) }
        return wire
    }
}
