package import Filter
package import Primitives

/// Bitmaps of evaluation, kept from query to query so that evaluating allocates nothing. One per thread.
package struct FilterScratch: Sendable {
    private var free: [Bitmap] = []
    package init() {}

    mutating func take(size: Int) -> Bitmap {
        var bitmap = self.free.popLast() ?? Bitmap()
        bitmap.reset(size: size)
        return bitmap
    }
    mutating func give(_ bitmap: consuming Bitmap) { self.free.append(bitmap) }
}

/// Whoever asked for an evaluation does not want it any more.
package struct EvaluationStopped: Error {
    package init() {}
}

extension SegmentPayloadIndex {
    /// Where evaluation finds what the index does not hold.
    fileprivate struct Source {
        let rows: Int
        let payloadOf: (UInt32) throws(EvaluationStopped) -> UnsafeRawBufferPointer?
        let idRows: (String) -> UInt32?
    }

    /// A filter for this segment (and every other with the same `fields`).
    package func compile(_ filter: Filter) -> CompiledFilter { CompiledFilter(filter, fields: self.fields) }

    /// Sets in `result` exactly the rows whose points the filter matches; deleted rows are the caller's to remove.
    ///
    /// - Parameters:
    ///   - rows: Rows of the segment: at least `rowCount`. Rows never committed count as having no payload.
    ///   - payloadOf: A row's payload, valid JSON or nil; asked only for fields without an index and for values that an
    ///     index does not hold. It may end the evaluation, and what is in `result` then means nothing.
    ///   - idRows: The row of a point in this segment.
    package func evaluate(
        _ filter: CompiledFilter, rows: Int, payloadOf: (UInt32) throws(EvaluationStopped) -> UnsafeRawBufferPointer?,
        idRows: (String) -> UInt32?, scratch: inout FilterScratch, into result: inout Bitmap
    ) throws(EvaluationStopped) {
        precondition(rows >= self.rowCount, "\(rows) rows, \(self.rowCount) in the index")
        let filter = filter.fingerprint == self.fingerprint ? filter : self.compile(filter.filter)
        result.reset(size: rows)
        result.fill()
        try withoutActuallyEscaping(payloadOf) { (payloadOf) throws(EvaluationStopped) in
            try withoutActuallyEscaping(idRows) { (idRows) throws(EvaluationStopped) in
                let source = Source(rows: rows, payloadOf: payloadOf, idRows: idRows)
                try self.refine(&result, by: filter.root, source, &scratch)
            }
        }
    }

    package func evaluate(
        _ filter: CompiledFilter, rows: Int, payloadOf: (UInt32) -> UnsafeRawBufferPointer?,
        idRows: (String) -> UInt32?,
        into result: inout Bitmap
    ) {
        var scratch = FilterScratch()
        do throws(EvaluationStopped) {
            try self.evaluate(
                filter, rows: rows, payloadOf: payloadOf, idRows: idRows, scratch: &scratch, into: &result)
        } catch {
            preconditionFailure("an evaluation that nobody can stop was stopped")
        }
    }

    /// Removes from the candidates those that the group refuses.
    private func refine(
        _ candidates: inout Bitmap, by group: CompiledFilter.Group, _ source: Source, _ scratch: inout FilterScratch
    ) throws(EvaluationStopped) {
        // Within each list what reads payloads stands last; between the lists it goes in two rounds.
        for late in [false, true] {
            for node in group.must where node.readsPayload == late {
                try self.keep(&candidates, node, source, &scratch)
            }
            for node in group.mustNot where node.readsPayload == late {
                var refused = scratch.take(size: source.rows)
                refused.formUnion(candidates)
                try self.keep(&refused, node, source, &scratch)
                candidates.subtract(refused)
                scratch.give(refused)
            }
            if !group.should.isEmpty, group.should.contains(where: \.readsPayload) == late {
                try self.keepAny(&candidates, group.should, source, &scratch)
            }
        }
    }

    private func keepAny(
        _ candidates: inout Bitmap, _ nodes: [CompiledFilter.Node], _ source: Source, _ scratch: inout FilterScratch
    ) throws(EvaluationStopped) {
        var accepted = scratch.take(size: source.rows)
        var left = scratch.take(size: source.rows)
        for node in nodes {
            left.assign(candidates)
            left.subtract(accepted)
            try self.keep(&left, node, source, &scratch)
            accepted.formUnion(left)
        }
        swap(&candidates, &accepted)
        scratch.give(left)
        scratch.give(accepted)
    }

    /// Keeps the candidates that satisfy one condition.
    private func keep(
        _ candidates: inout Bitmap, _ node: CompiledFilter.Node, _ source: Source, _ scratch: inout FilterScratch
    ) throws(EvaluationStopped) {
        switch node {
        case .group(let group, _):
            try self.refine(&candidates, by: group, source, &scratch)
        case .ids(let ids, _):
            var found = scratch.take(size: source.rows)
            for id in ids {
                if let row = source.idRows(id), Int(row) < source.rows { found.set(row) }
            }
            candidates.formIntersection(found)
            scratch.give(found)
        case .test(let test):
            guard let column = test.column else {
                try candidates.filter { (row) throws(EvaluationStopped) in
                    test.matches(try source.payloadOf(UInt32(row)))
                }
                return
            }
            var found = scratch.take(size: source.rows)
            self.collect(test, column, into: &found)
            try self.lookUp(test, column, candidates, source, &found)
            candidates.formIntersection(found)
            scratch.give(found)
        }
    }

    /// Sets the rows that the column knows to satisfy the test.
    private func collect(_ test: FieldTest, _ index: Int, into found: inout Bitmap) {
        if case .isNull = test.predicate {
            found.formUnion(self.columns[index].present)
            found.formComplement()
            return
        }
        let column = self.columns[index]
        for keys in test.keys { column.collect(keys: keys, into: &found) }
        guard case .any(let set) = test.predicate else { return }
        switch column.type {
        case .keyword: set.texts.forEach { column.collect(text: $0, into: &found) }
        case .bool:
            if set.hasTrue { found.formUnion(column.isTrue) }
            if set.hasFalse { found.formUnion(column.isFalse) }
        case .integer, .float: break
        }
    }

    /// Reads the payloads of candidates that the column cannot answer for.
    private func lookUp(
        _ test: FieldTest, _ index: Int, _ candidates: Bitmap, _ source: Source, _ found: inout Bitmap
    ) throws(EvaluationStopped) {
        func look(_ rows: [UInt32]) throws(EvaluationStopped) {
            for row in rows where candidates.test(row) && !found.test(row) {
                if test.matches(try source.payloadOf(row)) { found.set(row) }
            }
        }
        if test.others.contains(.strings) { try look(self.columns[index].otherStrings) }
        if test.others.contains(.numbers) { try look(self.columns[index].otherNumbers) }
        if test.others.contains(.bools) { try look(self.columns[index].otherBools) }
        guard self.staleCount > 0 else { return }
        found.subtract(self.stale)
        try self.stale.forEach { (row) throws(EvaluationStopped) in
            if candidates[row], test.matches(try source.payloadOf(UInt32(row))) { found.set(row) }
        }
    }
}
