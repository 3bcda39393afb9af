package import Primitives

extension Filter {
    /// Checks the limits of ``Limits`` and that every operator is well formed.
    ///
    /// - Parameter path: How the request calls this filter; errors name the condition below it ("filter.must[2].range").
    package func validate(at path: String = "filter") throws(VecraftError) {
        var conditions = 0
        try self.validate(at: { path }, depth: 1, &conditions)
    }

    private func validate(at path: () -> String, depth: Int, _ conditions: inout Int) throws(VecraftError) {
        guard depth <= Limits.filterDepth else {
            throw .invalid(path(), "filters are nested deeper than \(Limits.filterDepth)")
        }
        for (name, list) in [("must", self.must), ("should", self.should), ("must_not", self.mustNot)] {
            for (index, condition) in list.enumerated() {
                conditions += 1
                guard conditions <= Limits.filterConditions else {
                    throw .invalid(path(), "a filter has at most \(Limits.filterConditions) conditions")
                }
                // The place is spelled out for an error only: a filter is checked for every search.
                let here = { "\(path()).\(name)[\(index)]" }
                if case .filter(let inner) = condition {
                    try inner.validate(at: here, depth: depth + 1, &conditions)
                } else {
                    try condition.validate(at: here)
                }
            }
        }
    }
}

extension Filter.Condition {
    fileprivate func validate(at path: () -> String) throws(VecraftError) {
        if let key = self.key { try FieldPath.validate(key, at: path() + ".key") }
        switch self {
        case .match(_, let value):
            try value.validate { path() + ".match.value" }
        case .matchAny(_, let values):
            try Self.validate(values) { path() + ".match.any" }
        case .matchExcept(_, let values):
            try Self.validate(values) { path() + ".match.except" }
        case .range(_, let range):
            try range.validate { path() + ".range" }
        case .hasID(let ids):
            guard ids.count <= Limits.filterValues else {
                throw .invalid(path() + ".has_id", "at most \(Limits.filterValues) ids, not \(ids.count)")
            }
            for (index, id) in ids.enumerated() where !(1...Limits.idBytes).contains(id.utf8.count) {
                throw .invalid("\(path()).has_id[\(index)]", "an id has 1 to \(Limits.idBytes) bytes")
            }
        case .isNull, .filter: break
        }
    }

    private static func validate(_ values: [FilterValue], at path: () -> String) throws(VecraftError) {
        guard values.count <= Limits.filterValues else {
            throw .invalid(path(), "at most \(Limits.filterValues) values, not \(values.count)")
        }
        for (index, value) in values.enumerated() { try value.validate { "\(path())[\(index)]" } }
    }
}

extension FilterValue {
    fileprivate func validate(at path: () -> String) throws(VecraftError) {
        if let number = self.number, !number.isFinite { throw .invalid(path(), "a number must be finite") }
    }
}

extension NumericRange {
    fileprivate func validate(at path: () -> String) throws(VecraftError) {
        let bounds = [("gt", self.gt), ("gte", self.gte), ("lt", self.lt), ("lte", self.lte)]
        for (name, bound) in bounds {
            if let bound, !bound.isFinite { throw .invalid("\(path()).\(name)", "a bound must be finite") }
        }
        guard bounds.contains(where: { $0.1 != nil }) else {
            throw .invalid(path(), "a range needs at least one of gt, gte, lt, lte")
        }
    }
}
