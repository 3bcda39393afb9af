package import JournalFormat
package import Primitives

/// What was appended under which idempotency key, for a window of time and at most so many keys.
///
/// A key is scoped to tenant and shard: one bulk request makes an entry per shard, all with its key. Time is the log's own (HLC),
/// so the table is the same function of the log on every replica.
package struct IdempotencyTable: Sendable {
    /// 128 bits of two seeded hashes: the seed is the process's, so nobody can choose keys that meet.
    package struct Key: Hashable, Sendable {
        private let a: Int
        private let b: Int

        package init(tenant: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, shard: UInt32) {
            func hash(_ lane: UInt8) -> Int {
                var hasher = Hasher()
                hasher.combine(lane)
                hasher.combine(shard)
                hasher.combine(tenant.count)
                hasher.combine(bytes: tenant)
                hasher.combine(bytes: key)
                return hasher.finalize()
            }
            self.a = hash(0)
            self.b = hash(1)
        }

        /// Nil for an entry without a key.
        package init?(_ view: EntryView) {
            let key = view.idempotencyKey
            guard !key.isEmpty else { return nil }
            self.init(tenant: view.tenant, key: key, shard: view.shard)
        }

        init(_ record: KeyRecord) {
            var tenant = record.tenant
            var key = record.key
            self = tenant.withUTF8 { tenant in
                key.withUTF8 { key in
                    Key(tenant: UnsafeRawBufferPointer(tenant), key: UnsafeRawBufferPointer(key), shard: record.shard)
                }
            }
        }
    }

    package struct Value: Equatable, Sendable {
        package let bodyHash: UInt64
        package let offset: JournalOffset
        package let hlc: HLCTimestamp
        package let term: UInt64

        package init(bodyHash: UInt64, offset: JournalOffset, hlc: HLCTimestamp, term: UInt64) {
            self.bodyHash = bodyHash
            self.offset = offset
            self.hlc = hlc
            self.term = term
        }

        init(_ record: KeyRecord) {
            self.init(bodyHash: record.bodyHash, offset: record.offset, hlc: record.hlc, term: record.term)
        }

        /// Of an entry that stands in the log.
        package init(_ view: EntryView) {
            self.init(bodyHash: view.bodyHash, offset: view.offset, hlc: view.hlc, term: view.term)
        }
    }

    private let windowMilliseconds: UInt64
    private let capacity: Int
    private var values: [Key: Value] = [:]
    /// Oldest first; what stands before `oldest` is gone.
    private var order: [(key: Key, hlc: HLCTimestamp)] = []
    private var oldest = 0

    package init(window: Duration, capacity: Int) {
        let (seconds, attoseconds) = window.components
        self.windowMilliseconds = UInt64(seconds) * 1000 + UInt64(attoseconds / 1_000_000_000_000_000)
        self.capacity = capacity
    }

    var count: Int { self.values.count }

    /// Whether a timestamp lies so far before `now` that its key is forgotten.
    func isForgotten(_ hlc: HLCTimestamp, now: HLCTimestamp) -> Bool {
        hlc.milliseconds + self.windowMilliseconds < now.milliseconds
    }

    /// - Parameter now: The log's time.
    package func value(of key: Key, now: HLCTimestamp) -> Value? {
        guard let value = self.values[key], !self.isForgotten(value.hlc, now: now) else { return nil }
        return value
    }

    /// Remembers an entry, later than all before it, and forgets what is too old or too much.
    package mutating func insert(_ value: Value, under key: Key) {
        guard self.capacity > 0 else { return }
        self.values[key] = value
        self.order.append((key, value.hlc))
        while let first = self.order[self.oldest...].first,
            self.values.count > self.capacity || self.isForgotten(first.hlc, now: value.hlc)
        {
            // The key may have been used again since it was forgotten; that newer use is not this one's to remove.
            if self.values[first.key]?.hlc == first.hlc { self.values[first.key] = nil }
            self.oldest += 1
        }
        if self.oldest > 1024, self.oldest > self.order.count / 2 {
            self.order.removeFirst(self.oldest)
            self.oldest = 0
        }
    }

    /// Forgets the keys of entries from an offset on: the log was cut there.
    package mutating func remove(from offset: JournalOffset) {
        while self.order.count > self.oldest, let last = self.order.last, let value = self.values[last.key] {
            guard value.hlc == last.hlc else {
                // Used again since by an entry that was removed already, or forgotten: nothing of it is left.
                self.order.removeLast()
                continue
            }
            guard value.offset >= offset else { return }
            self.values[last.key] = nil
            self.order.removeLast()
        }
    }
}
