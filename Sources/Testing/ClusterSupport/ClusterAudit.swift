import JournalFormat
package import Linearizability
import Primitives
import TestSupport
import Wire

/// Reads what all nodes hold in the end, and compares: with each other, and with what clients were told.
package struct ClusterAudit {
    private let cluster: TestCluster

    package init(_ cluster: TestCluster) { self.cluster = cluster }

    /// An entry as one node has it.
    private struct Entry: Equatable {
        var offset: UInt64
        var term: UInt64
        var hlc: UInt64
        var key: String
        /// Of all its bytes.
        var hash: UInt64
    }

    /// - The nodes agree on every entry of every partition, byte by byte; offsets have no gap, terms and HLCs never fall.
    /// - Each acknowledged write stands where its answer said, each key once.
    /// - All nodes read every register alike, strongly, and the whole history, these reads in it, is linearizable.
    /// - Every replica of a shard has the same digest, and every shard is somewhere.
    ///
    /// All nodes must run, and nobody write.
    package func findings(_ record: LoadRecord, collection: String, registers: Int) async throws -> [String] {
        try await self.cluster.awaitRest()
        var record = record
        for node in self.cluster.nodes {
            for register in 0..<registers {
                let (operation, version) = try await StrongRead.persistently(
                    register, collection, at: node, by: 1_000 + node.id, timeout: .seconds(60))
                record.history.append(operation)
                if let value = operation.value { record.versions[value] = version }
            }
        }
        var findings = record.findings()
        let last = record
        findings += try await self.atRest { try await self.logFindings(last.writes) { last.appends(to: $0) } }
        findings += try await self.digestFindings(collection)
        return findings
    }

    /// The same for appends alone.
    package func findings(_ appends: AppendHistory, partition: String) async throws -> [String] {
        try await self.atRest {
            try await self.logFindings([]) { $0 == partition ? appends : AppendHistory() }
        }
    }

    /// On a busy machine leaders change at any time, and each writes an entry: logs that grew while they were read are read again.
    private func atRest(_ body: () async throws -> [String]) async throws -> [String] {
        func lengths() async -> [Int: [String: UInt64]] {
            await self.cluster.partitions(timeout: .seconds(10)).mapValues { $0.mapValues(\.lastOffset) }
        }
        for _ in 0..<20 {
            try await self.cluster.awaitRest()
            let before = await lengths()
            let findings = try await body()
            if findings.isEmpty { return [] }
            if await lengths() == before { return findings }
        }
        return ["leaders changed again and again: there was no rest in which to compare logs"]
    }

    /// When each term's first entry was written, by its leader's wall clock, in milliseconds since 1970.
    package func termStarts(_ partition: String) async throws -> [UInt64: Double] {
        var starts: [UInt64: Double] = [:]
        for entry in try await self.log(partition, at: self.cluster.nodes[0]) where starts[entry.term] == nil {
            starts[entry.term] = Double(entry.hlc >> 16)
        }
        return starts
    }

    // MARK: Logs

    private func logFindings(
        _ writes: [AcknowledgedWrite], _ appends: (String) -> AppendHistory
    ) async throws -> [String] {
        var findings: [String] = []
        for partition in try await self.cluster.nodes[0].partitions(timeout: .seconds(60)).keys.sorted() {
            var reference: (node: Int, log: [Entry])?
            for node in self.cluster.nodes {
                let log = try await self.log(partition, at: node)
                findings += Self.disorder(log).map { "\(partition) at node \(node.id): \($0)" }
                if let (other, theirs) = reference {
                    findings += Self.difference(log, theirs).map {
                        "\(partition) at nodes \(node.id) and \(other): \($0)"
                    }
                    if log.count > theirs.count { reference = (node.id, log) }
                } else {
                    reference = (node.id, log)
                }
            }
            let log = reference?.log ?? []
            findings += Self.missing(writes.filter { $0.partition == partition }, in: log).map { "\(partition): \($0)" }
            let keys = Dictionary(log.filter { !$0.key.isEmpty }.map { ($0.offset, $0.key) }) { first, _ in first }
            if let first = log.first?.offset, first <= 1, let violation = appends(partition).check(log: keys).violation
            {
                findings.append("\(partition): \(violation)")
            }
        }
        return findings
    }

    private func log(_ partition: String, at node: ClusterNode) async throws -> [Entry] {
        var entries: [Entry] = []
        var from = try await node.partitions(timeout: .seconds(60))[partition]?.firstOffset ?? 1
        while true {
            let batch: VecraftInternalV1.EntryBatch = try await node.call(
                "vecraft.internal.v1.Journal/Read",
                VecraftInternalV1.ReadRequest(partition: partition, from: from, maxBytes: 4 << 20),
                timeout: .seconds(60))
            guard !batch.entries.isEmpty else { return entries }
            for bytes in batch.entries {
                let entry = try EncodedEntry(validating: bytes)
                var hash = StableHash(seed: 0)
                bytes.withUnsafeBytes { hash.combine($0) }
                entries.append(
                    entry.withView {
                        Entry(
                            offset: $0.offset, term: $0.term, hlc: $0.hlc.rawValue,
                            key: String(decoding: $0.idempotencyKey, as: UTF8.self), hash: hash.finish())
                    })
            }
            from = entries.last!.offset + 1
        }
    }

    private static func disorder(_ log: [Entry]) -> [String] {
        var found: [String] = []
        for (before, after) in zip(log, log.dropFirst()) where found.count < 3 {
            if after.offset != before.offset + 1 { found.append("\(after.offset) follows \(before.offset)") }
            if after.term < before.term { found.append("term \(after.term) at \(after.offset) follows \(before.term)") }
            if after.hlc <= before.hlc { found.append("HLC \(after.hlc) at \(after.offset) follows \(before.hlc)") }
        }
        return found
    }

    private static func difference(_ a: [Entry], _ b: [Entry]) -> [String] {
        guard let first = a.first, let other = b.first else { return a.count == b.count ? [] : ["one log is empty"] }
        var findings: [String] = []
        if a.last!.offset != b.last!.offset { findings.append("they end with \(a.last!.offset) and \(b.last!.offset)") }
        let start = max(first.offset, other.offset)
        let pairs = zip(a.drop { $0.offset < start }, b.drop { $0.offset < start })
        if let (x, y) = pairs.first(where: { $0 != $1 }) {
            findings.append("entry \(x.offset) differs: term \(x.term), key \(x.key) and term \(y.term), key \(y.key)")
        }
        return findings
    }

    private static func missing(_ writes: [AcknowledgedWrite], in log: [Entry]) -> [String] {
        let places = Dictionary(log.map { ($0.offset, $0) }) { first, _ in first }
        let start = log.first?.offset ?? 1
        var found: [String] = []
        for write in writes where write.offset >= start && found.count < 3 {
            guard let entry = places[write.offset] else {
                found.append("\(write.key), acknowledged at \(write.offset), is lost")
                continue
            }
            if entry.key != write.key {
                found.append("\(write.key), acknowledged at \(write.offset), where \(entry.key) is")
            }
            if entry.hlc != write.hlc {
                found.append("\(write.key), acknowledged with HLC \(write.hlc), has \(entry.hlc)")
            }
        }
        return found
    }

    // MARK: Shards

    private func digestFindings(_ collection: String) async throws -> [String] {
        var seen: [UInt32: [Int: String]] = [:]
        do {
            try await eventually("all replicas of each shard to have one digest", within: .seconds(300)) {
                seen = [:]
                var shards: UInt32 = 0
                for node in self.cluster.nodes {
                    let described = try await self.cluster.describe(collection, on: node)
                    shards = described.config?.shards ?? 0
                    for shard in described.status?.shards ?? [] {
                        seen[shard.shard, default: [:]][node.id] = "\(shard.digest), \(shard.points) points"
                    }
                }
                return shards > 0 && seen.count == Int(shards) && seen.values.allSatisfy { Set($0.values).count == 1 }
            }
            return []
        } catch {
            let found = seen.sorted { $0.key < $1.key }.map { shard, nodes in
                "shard \(shard): "
                    + nodes.sorted { $0.key < $1.key }.map { "node \($0.key): \($0.value)" }.joined(separator: ", ")
            }
            return ["\(error); \(found.joined(separator: "; "))"]
        }
    }
}
