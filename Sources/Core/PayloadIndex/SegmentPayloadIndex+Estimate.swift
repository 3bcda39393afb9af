import Filter
import Primitives

/// How many rows satisfy a filter, before looking.
package struct CardinalityEstimate: Sendable, Equatable {
    /// The true number lies in `lower...upper`.
    package var lower: Int
    package var expected: Int
    package var upper: Int
    package init(lower: Int, expected: Int, upper: Int) {
        self.lower = lower
        self.expected = expected
        self.upper = upper
    }
}

extension SegmentPayloadIndex {
    /// Bounds and a guess of how many rows match, in microseconds, without reading a payload. Conditions are taken as
    /// independent; a field without an index is taken to match one row in ten.
    package func estimate(_ filter: CompiledFilter, rows: Int) -> CardinalityEstimate {
        let filter = filter.fingerprint == self.fingerprint ? filter : self.compile(filter.filter)
        let share = self.share(filter.root, rows)
        return CardinalityEstimate(lower: share.lower, expected: Int(share.expected.rounded()), upper: share.upper)
    }

    private struct Share {
        var lower: Int
        var expected: Double
        var upper: Int
    }

    private func share(_ group: CompiledFilter.Group, _ rows: Int) -> Share {
        var all = Share(lower: rows, expected: Double(rows), upper: rows)
        func require(_ part: Share) {
            all.lower = max(0, all.lower + part.lower - rows)
            all.upper = min(all.upper, part.upper)
            all.expected = rows == 0 ? 0 : all.expected * part.expected / Double(rows)
        }
        func opposite(_ part: Share) -> Share {
            Share(lower: rows - part.upper, expected: Double(rows) - part.expected, upper: rows - part.lower)
        }
        for node in group.must { require(self.share(node, rows)) }
        for node in group.mustNot { require(opposite(self.share(node, rows))) }
        if !group.should.isEmpty {
            var any = Share(lower: 0, expected: Double(rows), upper: 0)
            for node in group.should {
                let part = self.share(node, rows)
                any.lower = max(any.lower, part.lower)
                any.upper = min(rows, any.upper + part.upper)
                any.expected = rows == 0 ? 0 : any.expected * (1 - part.expected / Double(rows))
            }
            any.expected = Double(rows) - any.expected
            require(any)
        }
        all.expected = min(max(all.expected, Double(all.lower)), Double(all.upper))
        return all
    }

    private func share(_ node: CompiledFilter.Node, _ rows: Int) -> Share {
        switch node {
        case .group(let group, _): return self.share(group, rows)
        case .ids(_, let set): return Share(lower: 0, expected: Double(min(set.count, rows)), upper: min(set.count, rows))
        case .test(let test):
            guard let index = test.column else { return Share(lower: 0, expected: Double(rows) / 10, upper: rows) }
            return self.share(test, index, rows)
        }
    }

    private func share(_ test: FieldTest, _ index: Int, _ rows: Int) -> Share {
        let column = self.columns[index]
        if case .isNull = test.predicate {
            let missing = rows - column.presentCount
            return self.widened(Share(lower: missing, expected: Double(missing), upper: missing), 0, rows)
        }
        // A row with several of the values is counted for each: the greatest count is sure, the sum is the most.
        var greatest = 0
        var sum = 0
        func add(_ count: Int) {
            greatest = max(greatest, count)
            sum += count
        }
        for keys in test.keys { add(column.count(keys: keys)) }
        if case .any(let set) = test.predicate {
            if column.type == .keyword { set.texts.forEach { add(column.count(text: $0)) } }
            if column.type == .bool, set.hasTrue { add(column.isTrue.count()) }
            if column.type == .bool, set.hasFalse { add(column.isFalse.count()) }
        }
        var others = 0
        if test.others.contains(.strings) { others += column.otherStrings.count }
        if test.others.contains(.numbers) { others += column.otherNumbers.count }
        if test.others.contains(.bools) { others += column.otherBools.count }
        let upper = min(sum, rows)
        return self.widened(Share(lower: max(0, min(greatest - column.surplus, upper)), expected: Double(upper), upper: upper), others, rows)
    }

    /// With rows that only their payloads can answer for.
    private func widened(_ share: Share, _ others: Int, _ rows: Int) -> Share {
        Share(
            lower: max(0, share.lower - self.staleCount), expected: min(share.expected + Double(others) / 10, Double(rows)),
            upper: min(rows, share.upper + others + self.staleCount))
    }
}
