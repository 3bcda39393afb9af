import Filter
import HNSW
import Primitives
import Testing

@testable import ShardEngine

/// Compares everything a shard says with the model.
struct Judge {
    let engine: ShardEngine
    let model: Model
    var workload: Workload
    /// Printed with every failure.
    let seed: UInt64

    /// - Parameter rounds: Random questions of each kind.
    mutating func check(rounds: Int = 4) throws {
        let state = self.engine.state
        #expect(state.applied == self.model.applied, "seed \(self.seed)")
        #expect(state.points == self.model.points.count, "seed \(self.seed)")
        #expect(self.engine.invariants() == [], "seed \(self.seed)")
        try self.checkPoints()
        for _ in 0..<rounds {
            let filter = self.workload.filter()
            try self.checkMatches(filter)
            for vector in self.model.schema.vectors {
                let query = self.workload.vector(vector)
                let limit = Int.random(in: 1...25, using: &self.workload.rng)
                try self.checkExact(query, vector.name, limit, nil)
                try self.checkExact(query, vector.name, limit, filter)
                try self.checkGraph(query, vector.name, limit, nil)
                try self.checkGraph(query, vector.name, limit, filter)
                try self.checkAskedAgain(query, vector.name, limit)
            }
        }
        #expect(self.engine.filterGraphs.faults() == [], "seed \(self.seed)")
    }

    /// One of few filters, so often that it may have graphs of its own; then an answer that these give.
    private mutating func checkAskedAgain(_ query: [Float], _ using: String, _ limit: Int) throws {
        let filter = self.workload.pick(Self.favourites)
        for _ in 0..<2 { try self.checkGraph(query, using, limit, filter) }
        self.engine.settleFilterGraphs()
        try self.checkGraph(query, using, limit, filter)
    }

    private static let favourites = [
        Filter(must: [.match("city", .string("Ulm"))]), Filter(mustNot: [.match("city", .string("Bern"))]),
        Filter(must: [.match("free", .integer(3))]), Filter(mustNot: [.hasID(["p0", "id-3", "id-9", "p14"])]),
        Filter(must: [.hasID(["p7", "id-4", "id-5", "p21", "id-10", "id-12"])]),
    ]

    /// Get: every point of the model, as it was written, and some that are not there.
    private func checkPoints() throws {
        let ids = self.model.matching(nil)
        let result = try self.engine.get(ids: ids + ["nobody", ""], withVectors: true, withPayload: true)
        #expect(result.missing == [ids.count, ids.count + 1], "seed \(self.seed)")
        #expect(result.points.ids == ids, "seed \(self.seed)")
        var digest: UInt64 = 0
        for (i, id) in ids.enumerated() where i < result.points.count {
            let stored = self.model.points[id]!
            #expect(result.points.version(i) == stored.version, "\(id), seed \(self.seed)")
            #expect(result.points.payload(i) == stored.point.payload, "\(id), seed \(self.seed)")
            var names: [String] = []
            result.points.forEachVector(i) { name, values in
                names.append(name)
                let written = stored.point.vectors[name] ?? []
                let isCosine = self.model.schema.vectors.first { $0.name == name }!.metric == .cosine
                let length = isCosine ? written.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot() : 1
                let close = zip(values, written).allSatisfy { abs(Double($0) - Double($1) / length) < (isCosine ? 1e-6 : 0) || Double($0) == Double($1) }
                #expect(values.count == written.count && close, "\(id) \(name), seed \(self.seed)")
            }
            #expect(names == stored.point.vectors.keys.sorted(), "\(id), seed \(self.seed)")
            digest ^= Self.digest(result.points, i)
        }
        #expect(digest == self.engine.digest, "seed \(self.seed)")
    }

    /// The digest by its definition, from what is read.
    private static func digest(_ points: PointBatch, _ i: Int) -> UInt64 {
        var hash = StableHash()
        points.withID(i) { id in
            hash.combine(UInt64(id.count))
            hash.combine(id)
        }
        hash.combine(points.version(i).rawValue)
        points.forEachVector(i) { name, values in
            hash.combine(StableHash.of(name))
            hash.combine(UnsafeRawBufferPointer(values))
        }
        points.withPayload(i) { payload in
            hash.combine(payload.map { UInt64($0.count) } ?? UInt64.max)
            if let payload { hash.combine(payload) }
        }
        return hash.finish()
    }

    private mutating func checkMatches(_ filter: Filter) throws {
        let matching = self.model.matching(filter)
        #expect(try self.engine.count(filter).count == UInt64(matching.count), "\(filter), seed \(self.seed)")
        #expect(try self.engine.count(nil).count == UInt64(self.model.points.count), "seed \(self.seed)")
        let page = Int.random(in: 1...40, using: &self.workload.rng)
        #expect(try self.engine.scrollAll(filter, page: page) == matching, "\(filter) by \(page), seed \(self.seed)")
        #expect(try self.engine.scrollAll(nil, page: page) == self.model.matching(nil), "by \(page), seed \(self.seed)")
    }

    private func checkExact(_ query: [Float], _ using: String, _ limit: Int, _ filter: Filter?) throws {
        let result = try self.engine.search(query, using: using, limit: limit, filter: filter, exact: true)
        let truth = self.model.distances(query, using: using, filter)
        self.checkHits(result, truth, limit, "exact \(using) \(String(describing: filter))")
        // The distances are the nearest there are.
        for (i, distance) in result.distances.enumerated() where i < truth.count {
            let wanted = truth[i].distance
            #expect(abs(Double(distance) - wanted) <= 1e-4 * max(1, abs(wanted)), "hit \(i) of \(using), seed \(self.seed)")
        }
        #expect(result.plan.strategy == "exact")
        if let filter { #expect(result.plan.matching == UInt64(self.model.matching(filter).count), "seed \(self.seed)") }
    }

    private func checkGraph(_ query: [Float], _ using: String, _ limit: Int, _ filter: Filter?) throws {
        let result = try self.engine.search(query, using: using, limit: limit, filter: filter)
        if let filter { #expect(result.plan.matching == UInt64(self.model.matching(filter).count), "seed \(self.seed)") }
        self.checkHits(
            result, self.model.distances(query, using: using, filter), limit, "graph \(using) \(String(describing: filter))")
    }

    /// `limit` points if so many match, each of them a match, at its true distance, in order.
    private func checkHits(
        _ result: ShardSearchResult, _ truth: [(id: String, distance: Double)], _ limit: Int, _ what: String
    ) {
        #expect(result.points.count == min(limit, truth.count), "\(what), seed \(self.seed)")
        #expect(Set(result.points.ids).count == result.points.count, "\(what), seed \(self.seed)")
        let byID = Dictionary(uniqueKeysWithValues: truth.map { ($0.id, $0.distance) })
        for i in 0..<result.points.count {
            guard let wanted = byID[result.points.id(i)] else {
                Issue.record("\(result.points.id(i)) does not match: \(what), seed \(self.seed)")
                continue
            }
            #expect(
                abs(Double(result.distances[i]) - wanted) <= 1e-4 * max(1, abs(wanted)),
                "\(result.points.id(i)), \(what), seed \(self.seed)")
            if i > 0 {
                let (before, now) = (result.distances[i - 1], result.distances[i])
                let inOrder = before < now
                    || before == now && result.points.id(i - 1).utf8.lexicographicallyPrecedes(result.points.id(i).utf8)
                #expect(inOrder, "hits \(i - 1), \(i) of \(what), seed \(self.seed)")
            }
        }
    }
}

extension ShardEngine {
    /// What is wrong with the engine's own bookkeeping, in words; empty when sound. Entries must not be applied meanwhile.
    func invariants() -> [String] {
        self.lock.reading {
            var wrong: [String] = []
            var live = 0
            for segment in self.segments {
                live += segment.liveCount
                if segment.deleted.count(segment.rowCount) != segment.deletedCount {
                    wrong.append("segment \(segment.number) counts its deleted rows wrong")
                }
                if self.table.segments[Int(segment.slot)] !== segment { wrong.append("slot of segment \(segment.number)") }
                for (column, graph) in segment.graphs.enumerated() where segment.linkedRows(column) == segment.rowCount {
                    wrong += (graph?.checkInvariants() ?? []).map { "segment \(segment.number): \($0)" }
                }
            }
            if live != self.ids.count { wrong.append("\(live) live rows, \(self.ids.count) ids") }
            var digest: UInt64 = 0
            self.ids.forEach { hash, location in
                let place = self.table.views.resolve(location)
                guard let segment = self.table.segments[Int(place.slot)], !segment.deleted[Int(place.row)] else {
                    wrong.append("an id leads to a row that is gone")
                    return
                }
                if StableHash.of(self.table.views.id(place)) != hash { wrong.append("an id under another hash") }
                digest ^= self.table.views.record(place).pointee.digest
            }
            if digest != self.pointsDigest { wrong.append("digest") }
            return wrong
        }
    }
}
