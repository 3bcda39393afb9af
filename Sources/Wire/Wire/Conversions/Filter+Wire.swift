package import Filter
package import Primitives

extension Filter {
    /// Reads and validates a filter of a request.
    ///
    /// - Parameter path: How the request calls this filter.
    /// - Throws: `INVALID_ARGUMENT` naming the condition at fault ("filter.must[2].range") and the limit it breaks.
    package init(wire view: VecraftV1.Filter.View, at path: String = "filter") throws(VecraftError) {
        var reading = FilterReading()
        do {
            self = try reading.filter(view, depth: 1)
        } catch {
            throw .invalid(path + error.path, error.what)
        }
        try self.validate(at: path)
    }

    package init(wire message: VecraftV1.Filter, at path: String = "filter") throws(VecraftError) {
        self = try ArenaPool.shared.withArena { arena throws(VecraftError) in
            try Filter(wire: message.built(in: arena).view, at: path)
        }
    }
}

/// Why a condition cannot be read; its path is put together while unwinding, so a good filter pays nothing for it.
private struct Misfit: Error {
    var path: String
    var what: String

    func below(_ step: String) -> Misfit { Misfit(path: step + self.path, what: self.what) }
}

/// Stops at the limits on depth and number of conditions before a hostile filter has become large.
private struct FilterReading {
    var conditions = 0

    mutating func filter(_ view: VecraftV1.Filter.View, depth: Int) throws(Misfit) -> Filter {
        guard depth <= Limits.filterDepth else {
            throw Misfit(path: "", what: "filters are nested deeper than \(Limits.filterDepth)")
        }
        return Filter(
            must: try self.list(view.must, ".must", depth), should: try self.list(view.should, ".should", depth),
            mustNot: try self.list(view.mustNot, ".must_not", depth))
    }

    private mutating func list(
        _ views: RepeatedView<VecraftV1.Condition.View>, _ name: String, _ depth: Int
    ) throws(Misfit) -> [Filter.Condition] {
        self.conditions += views.count
        guard self.conditions <= Limits.filterConditions else {
            throw Misfit(path: name, what: "a filter has at most \(Limits.filterConditions) conditions")
        }
        var list: [Filter.Condition] = []
        list.reserveCapacity(views.count)
        for (index, view) in views.enumerated() {
            do { list.append(try self.condition(view, depth)) } catch { throw error.below("\(name)[\(index)]") }
        }
        return list
    }

    private mutating func condition(_ view: VecraftV1.Condition.View, _ depth: Int) throws(Misfit) -> Filter.Condition {
        let condition: Filter.Condition
        switch view.test {
        case .match(let match): return try Self.match(view.key.string, match)
        case .range(let range): return .range(view.key.string, Self.range(range))
        case .isNull(let isNull): condition = .isNull(isNull.key.string)
        case .hasID(let ids):
            try Self.check(ids.values.count, ".has_id", "ids")
            condition = .hasID(ids.values.map(\.string))
        case .filter(let filter):
            do { condition = .filter(try self.filter(filter, depth: depth + 1)) } catch { throw error.below(".filter") }
        case nil: throw Misfit(path: "", what: "needs one of match, range, is_null, has_id, filter")
        }
        guard view.key.isEmpty else { throw Misfit(path: ".key", what: "goes with match or range only") }
        return condition
    }

    private static func match(_ key: String, _ view: VecraftV1.Match.View) throws(Misfit) -> Filter.Condition {
        switch view.kind {
        case .value(let value): .match(key, try Self.value(value, ".match.value"))
        case .any(let list): .matchAny(key, try Self.values(list, ".match.any"))
        case .except(let list): .matchExcept(key, try Self.values(list, ".match.except"))
        case nil: throw Misfit(path: ".match", what: "needs exactly one of value, any, except")
        }
    }

    private static func values(_ view: VecraftV1.Values.View, _ path: String) throws(Misfit) -> [FilterValue] {
        try Self.check(view.values.count, path, "values")
        var values: [FilterValue] = []
        values.reserveCapacity(view.values.count)
        for (index, element) in view.values.enumerated() {
            do { values.append(try Self.value(element, "[\(index)]")) } catch { throw error.below(path) }
        }
        return values
    }

    private static func value(_ view: VecraftV1.Value.View, _ path: String) throws(Misfit) -> FilterValue {
        switch view.kind {
        case .stringValue(let text): .string(text.string)
        case .integerValue(let number): .integer(number)
        case .floatValue(let number): .float(number)
        case .boolValue(let flag): .bool(flag)
        case nil: throw Misfit(path: path, what: "needs a string, number or boolean; for null use is_null")
        }
    }

    private static func range(_ view: VecraftV1.Range.View) -> NumericRange {
        func bound(_ number: VecraftV1.Number.View?) -> JSONNumber? { number.map { .double($0.value) } }
        return NumericRange(gt: bound(view.gt), gte: bound(view.gte), lt: bound(view.lt), lte: bound(view.lte))
    }

    private static func check(_ count: Int, _ path: String, _ things: String) throws(Misfit) {
        guard count <= Limits.filterValues else {
            throw Misfit(path: path, what: "at most \(Limits.filterValues) \(things), not \(count)")
        }
    }
}

extension VecraftV1.Filter {
    /// - Note: A range's bounds become doubles, as the contract has them.
    package init(_ filter: Filter) {
        self.init(
            must: filter.must.map(VecraftV1.Condition.init), should: filter.should.map(VecraftV1.Condition.init),
            mustNot: filter.mustNot.map(VecraftV1.Condition.init))
    }
}

extension VecraftV1.Condition {
    package init(_ condition: Filter.Condition) {
        func values(_ list: [FilterValue]) -> VecraftV1.Values {
            VecraftV1.Values(values: list.map(VecraftV1.Value.init))
        }
        func bound(_ number: JSONNumber?) -> VecraftV1.Number? {
            number.map { VecraftV1.Number(value: $0.doubleValue) }
        }
        switch condition {
        case .match(let key, let value):
            self.init(key: key, test: .match(VecraftV1.Match(kind: .value(VecraftV1.Value(value)))))
        case .matchAny(let key, let list): self.init(key: key, test: .match(VecraftV1.Match(kind: .any(values(list)))))
        case .matchExcept(let key, let list):
            self.init(key: key, test: .match(VecraftV1.Match(kind: .except(values(list)))))
        case .range(let key, let range):
            let range = VecraftV1.Range(
                gt: bound(range.gt), gte: bound(range.gte), lt: bound(range.lt), lte: bound(range.lte))
            self.init(key: key, test: .range(range))
        case .isNull(let key): self.init(test: .isNull(VecraftV1.IsNull(key: key)))
        case .hasID(let ids): self.init(test: .hasID(VecraftV1.Strings(values: ids)))
        case .filter(let filter): self.init(test: .filter(VecraftV1.Filter(filter)))
        }
    }
}

extension VecraftV1.Value {
    package init(_ value: FilterValue) {
        switch value {
        case .string(let text): self.init(kind: .stringValue(text))
        case .integer(let number): self.init(kind: .integerValue(number))
        case .float(let number): self.init(kind: .floatValue(number))
        case .bool(let flag): self.init(kind: .boolValue(flag))
        }
    }
}
