package import ArgumentParser
package import Primitives
package import Wire

/// How fresh an answer must be.
package struct ReadOptionGroup: ParsableArguments {
    package enum Level: String, ExpressibleByArgument, CaseIterable, Sendable {
        case eventual
        case bounded
        case readYourWrites = "read_your_writes"
        case strong
    }

    @Option(help: ArgumentHelp("How fresh the answer must be.", valueName: "level"))
    package var consistency = Level.readYourWrites

    @Option(
        help: ArgumentHelp("For --consistency bounded: the age that is still good. (default: 1000)", valueName: "ms"))
    package var maxStaleness: UInt32?

    @Flag(help: "Rather an answer that lacks shards than none; it says which.")
    package var allowPartial = false

    package init() {}

    package var wire: VecraftV1.ReadOptions {
        let level: VecraftV1.ConsistencyLevel =
            switch self.consistency {
            case .eventual: .eventual
            case .bounded: .bounded
            case .readYourWrites: .readYourWrites
            case .strong: .strong
            }
        return VecraftV1.ReadOptions(consistency: level, maxStalenessMs: self.maxStaleness ?? 0, allowPartial: self.allowPartial)
    }
}

/// Which points are meant.
package struct FilterOptionGroup: ParsableArguments {
    @Option(
        name: .customLong("where"),
        help: ArgumentHelp(
            "Only points with this: field=value, with = != < <= > >=; a|b means either. May be repeated; all must hold.",
            valueName: "term"))
    package var terms: [String] = []

    @Option(
        help: ArgumentHelp(
            "Only points that match this filter, in the JSON of the API; @file reads it.", valueName: "json"))
    package var filter: String?

    package init() {}

    package var isEmpty: Bool { self.terms.isEmpty && self.filter == nil }

    /// Nil if nothing was said: all points.
    package func wire() throws(VecraftError) -> VecraftV1.Filter? {
        var parts: [VecraftV1.Filter] = []
        if !self.terms.isEmpty {
            parts.append(try VecraftV1.Filter(json: try FilterExpression.parse(self.terms).encoded()))
        }
        if let text = self.filter {
            let json = text.hasPrefix("@") ? try TextFile.read(String(text.dropFirst())) : Array(text.utf8)
            do throws(VecraftError) {
                parts.append(try VecraftV1.Filter(json: json))
            } catch {
                throw VecraftError(error.code, "--filter: \(error.message)", field: error.field, reason: error.reason)
            }
        }
        guard parts.count > 1 else { return parts.first }
        // Both must hold.
        return VecraftV1.Filter(must: parts.map { VecraftV1.Condition(test: .filter($0)) })
    }
}
