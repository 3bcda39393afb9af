package import ArgumentParser
internal import Primitives
package import Wire

package struct CollectionCreateCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a collection.",
        discussion: """
            Examples:
              vecraft collection create notes --dimension 384
              vecraft collection create shop --vector title:384:cosine --vector image:512:l2 \\
                  --index brand:keyword --index price:float

            Making the same collection again changes nothing and succeeds.
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "Name: letters, digits, '_', '.', '-'; at most 64.")
    package var name: String

    @Option(help: ArgumentHelp("Components of the unnamed vector.", valueName: "n"))
    package var dimension: UInt32?

    @Option(help: "Distance of the unnamed vector: cosine, dot or l2.")
    package var distance = DistanceName.cosine

    @Option(
        help: ArgumentHelp(
            "A named vector, as name:dimension or name:dimension:distance. May be repeated.", valueName: "vector"))
    package var vector: [VectorArgument] = []

    @Option(
        help: ArgumentHelp(
            "A payload field to index, as field:type; types: keyword, integer, float, bool. May be repeated.",
            valueName: "index"))
    package var index: [IndexArgument] = []

    @Option(help: ArgumentHelp("Links per point in the graph. (default: 16)", valueName: "n"))
    package var m: UInt32?

    @Option(help: ArgumentHelp("Candidates while building the graph. (default: 200)", valueName: "n"))
    package var efConstruction: UInt32?

    @Option(help: "Codes that sealed graphs are walked on: auto, none, int8 or int4.")
    package var quantisation = QuantisationName.auto

    @Option(help: ArgumentHelp("Parts that its points are spread over: a power of two up to 64. (default: 1)", valueName: "n"))
    package var shards: UInt32?

    package init() {}

    package func validate() throws {
        guard self.dimension != nil || !self.vector.isEmpty else {
            throw ValidationError("A collection needs --dimension or --vector.")
        }
    }

    package var request: VecraftV1.CreateCollectionRequest {
        let hnsw =
            self.m == nil && self.efConstruction == nil
            ? nil : VecraftV1.HnswConfig(m: self.m ?? 0, efConstruction: self.efConstruction ?? 0)
        var config = VecraftV1.CollectionConfig()
        config.vector = self.dimension.map {
            VecraftV1.VectorConfig(
                dimension: $0, distance: self.distance.wire, hnsw: hnsw, quantisation: self.quantisation.wire)
        }
        for vector in self.vector {
            config.vectors[vector.name] = VecraftV1.VectorConfig(
                dimension: vector.dimension, distance: vector.distance.wire, hnsw: hnsw,
                quantisation: self.quantisation.wire)
        }
        config.payloadIndexes = self.index.map { VecraftV1.PayloadIndexConfig(field: $0.field, type: $0.type) }
        config.shards = self.shards ?? 0
        return VecraftV1.CreateCollectionRequest(name: self.name, config: config, tenant: self.global.tenant)
    }

    package func run(on node: Node) async throws {
        let response: VecraftV1.CreateCollectionResponse = try await node.call(
            VecraftV1.Collections.createCollection, self.request)
        try self.global.format.write(try response.tree()) { terminal in
            CollectionView.details(response.collection ?? VecraftV1.Collection(), terminal)
        }
    }
}

package enum DistanceName: String, ExpressibleByArgument, CaseIterable, Sendable {
    case cosine, dot, l2

    package var wire: VecraftV1.Distance {
        switch self {
        case .cosine: .cosine
        case .dot: .dot
        case .l2: .l2
        }
    }
}

package enum QuantisationName: String, ExpressibleByArgument, CaseIterable, Sendable {
    case auto, none, int8, int4

    package var wire: VecraftV1.Quantisation {
        switch self {
        case .auto: .auto
        case .none: .none
        case .int8: .int8
        case .int4: .int4
        }
    }
}

/// "title:384:cosine"
package struct VectorArgument: ExpressibleByArgument, Equatable, Sendable {
    package var name: String
    package var dimension: UInt32
    package var distance: DistanceName

    package init?(argument: String) {
        let parts = argument.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 || parts.count == 3, !parts[0].isEmpty, let dimension = UInt32(parts[1]),
            let distance = parts.count == 3 ? DistanceName(rawValue: parts[2]) : .cosine
        else { return nil }
        (self.name, self.dimension, self.distance) = (parts[0], dimension, distance)
    }
}

/// "section:keyword"
package struct IndexArgument: ExpressibleByArgument, Equatable, Sendable {
    package var field: String
    package var type: VecraftV1.FieldType

    package init?(argument: String) {
        // The field may hold colons; the type does not.
        guard let colon = argument.lastIndex(of: ":"), colon > argument.startIndex else { return nil }
        switch argument[argument.index(after: colon)...] {
        case "keyword": self.type = .keyword
        case "integer": self.type = .integer
        case "float": self.type = .float
        case "bool": self.type = .bool
        default: return nil
        }
        self.field = String(argument[..<colon])
    }
}
