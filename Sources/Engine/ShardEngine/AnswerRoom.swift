package import Primitives

/// How large an answer may become. Counted while points are copied out, so one that would be too large is never built.
package struct AnswerRoom: Sendable {
    /// How numbers travel, which decides what a component takes.
    package enum Form: Sendable { case binary, text }

    /// Of the encoded answer, by an estimate that is seldom too small and never by much.
    package var bytes: Int
    package var form: Form
    /// Monotonic nanoseconds; past it copying ends with DEADLINE_EXCEEDED.
    package var deadline: UInt64?

    package init(bytes: Int = .max, form: Form = .binary, deadline: UInt64? = nil) {
        self.bytes = bytes
        self.form = form
        self.deadline = deadline
    }

    package static let tooLarge = "ANSWER_TOO_LARGE"

    package static func exceeded(_ bytes: Int) -> VecraftError {
        VecraftError(
            .resourceExhausted,
            "the answer would be larger than \(bytes) bytes, the limit of a message; ask for fewer points, or without vectors or payloads",
            reason: Self.tooLarge)
    }

    /// - Throws: ANSWER_TOO_LARGE if the points of several shards are too many for one answer.
    package func check(_ batches: [PointBatch]) throws(VecraftError) {
        var bytes = 0
        for batch in batches { for i in 0..<batch.count { bytes += self.bytes(batch, i) } }
        if bytes > self.bytes { throw Self.exceeded(self.bytes) }
    }

    /// What a row takes of the answer.
    /// - Parameter columns: Whose vectors go with it.
    func bytes(_ segment: Segment, _ row: Int, _ columns: Range<Int>?, withPayload: Bool) -> Int {
        let stored = segment.storage.rows[row]
        var bytes = self.frame + Int(stored.idCount)
        if withPayload, let payload = segment.storage.payload(row) { bytes += payload.count }
        for index in columns ?? 0..<0 where stored.present >> UInt16(index) & 1 == 1 {
            let column = segment.shape.columns[index]
            bytes += self.vector(name: column.name.utf8.count, components: column.dimension)
        }
        return bytes
    }

    /// Field tags and lengths of a point; or names, quotes and the longest version.
    package var frame: Int { self.form == .binary ? 32 : 128 }

    /// What a vector takes of the answer. The longest text of a float is 15 bytes with its comma.
    package func vector(name bytes: Int, components: Int) -> Int {
        self.frame + bytes + components * (self.form == .binary ? 4 : 15)
    }

    /// The same of a point that was copied out.
    package func bytes(_ batch: PointBatch, _ i: Int) -> Int {
        let record = batch.records[i]
        var bytes = self.frame + record.idCount + max(0, record.payloadCount)
        for vector in batch.vectors[record.firstVector..<record.firstVector + record.vectorCount] {
            bytes += self.vector(name: batch.names[vector.field].utf8.count, components: vector.count)
        }
        return bytes
    }
}
