import Filter
package import Primitives

extension CollectionSchema {
    /// Reads and validates the schema that a request asks for.
    ///
    /// - Throws: `INVALID_ARGUMENT` naming the field below `config` and the limit it breaks.
    package init(
        wire config: VecraftV1.CollectionConfig, id: UInt64, tenant: String, name: String,
        partition: PartitionID = .data(0), created: HLCTimestamp = .zero
    ) throws(VecraftError) {
        try Self.validate(name: name)
        var vectors: [VectorSchema] = []
        if let vector = config.vector { vectors.append(try VectorSchema(wire: vector, name: "", at: "config.vector")) }
        let count = config.vectors.count + vectors.count
        guard count <= Limits.namedVectors else {
            throw .invalid("config.vectors", "at most \(Limits.namedVectors) vectors, the unnamed one among them, not \(count)")
        }
        // In order of name, so that the same mistakes are always answered with the same error.
        for (name, vector) in config.vectors.sorted(by: { $0.key < $1.key }) {
            try VectorSchema.validate(name: name, at: "config.vectors")
            vectors.append(try VectorSchema(wire: vector, name: name, at: "config.vectors.\(name)"))
        }
        guard !vectors.isEmpty else { throw .invalid("config", "give vector, vectors, or both") }
        let shards = max(1, config.shards)
        try Self.validate(shards: shards, at: "config.shards")
        self.init(
            id: id, tenant: tenant, name: name, vectors: vectors,
            payloadIndexes: try Self.indexes(config.payloadIndexes),
            shards: shards, partition: partition, created: created)
    }

    private static func validate(shards: UInt32, at field: String) throws(VecraftError) {
        guard ShardSlots.isCount(shards) else {
            throw .invalid(field, "\(shards); a power of two from 1 to \(ShardSlots.maxShards)")
        }
    }

    /// The tenant of what the nodes keep for themselves. No request can make a collection of this name: none begins with "_".
    package static let ownTenant = "_vecraft"

    /// A collection's name: 1 to 64 of `[A-Za-z0-9_.-]`, starting with a letter or digit.
    package static func validate(name: String, at field: String = "name") throws(VecraftError) {
        let utf8 = name.utf8
        guard (1...Limits.collectionNameBytes).contains(utf8.count), let first = utf8.first, first.isAlphanumeric,
            utf8.allSatisfy({ $0.isAlphanumeric || $0.isNamePunctuation || $0 == UInt8(ascii: ".") })
        else {
            throw .invalid(
                field,
                "1 to \(Limits.collectionNameBytes) of A-Z, a-z, 0-9, '_', '.', '-', starting with a letter or digit")
        }
    }

    /// Checks a schema that came as an entry, as a request's is checked.
    ///
    /// - Parameter partitions: Where its writes may be ordered.
    /// - Throws: `INVALID_ARGUMENT` naming the field below `schema`.
    package func validate(partitions: [PartitionID]) throws(VecraftError) {
        if self.tenant != CollectionSchema.ownTenant { try Self.validate(name: self.tenant, at: "schema.tenant") }
        try Self.validate(name: self.name, at: "schema.name")
        guard (1...Limits.namedVectors).contains(self.vectors.count) else {
            throw .invalid("schema.vectors", "\(self.vectors.count) vectors")
        }
        for (index, vector) in self.vectors.enumerated() {
            let path = "schema.vectors[\(index)]"
            if !vector.name.isEmpty { try VectorSchema.validate(name: vector.name, at: path + ".name") }
            guard index == 0 || self.vectors[index - 1].name < vector.name else {
                throw .invalid(path + ".name", "names must ascend, each once")
            }
            try vector.validate(at: path)
        }
        guard self.payloadIndexes.count <= Limits.payloadIndexes else {
            throw .invalid(
                "schema.payload_indexes", "\(self.payloadIndexes.count) fields; at most \(Limits.payloadIndexes)")
        }
        for field in self.payloadIndexes { try FieldPath.validate(field.path, at: "schema.payload_indexes") }
        guard Set(self.payloadIndexes.map(\.path)).count == self.payloadIndexes.count else {
            throw .invalid("schema.payload_indexes", "a field is indexed twice")
        }
        try Self.validate(shards: self.shards, at: "schema.shards")
        guard partitions.contains(self.partition) else {
            throw .invalid("schema.partition", "\(self.partition) is no partition for data here")
        }
    }

    private static func indexes(_ configs: [VecraftV1.PayloadIndexConfig]) throws(VecraftError) -> [PayloadIndexField] {
        guard configs.count <= Limits.payloadIndexes else {
            throw .invalid("config.payload_indexes", "at most \(Limits.payloadIndexes) fields, not \(configs.count)")
        }
        var fields: [PayloadIndexField] = []
        for (index, config) in configs.enumerated() {
            let path = "config.payload_indexes[\(index)]"
            try FieldPath.validate(config.field, at: path + ".field")
            guard !fields.contains(where: { $0.path == config.field }) else {
                throw .invalid(path + ".field", "\"\(config.field)\" is indexed already; one index a field")
            }
            guard let raw = UInt8(exactly: config.type.rawValue), let type = PayloadFieldType(rawValue: raw) else {
                throw .invalid(path + ".type", "must be keyword, integer, float or bool")
            }
            fields.append(PayloadIndexField(path: config.field, type: type))
        }
        return fields
    }
}

extension VectorSchema {
    static let mRange = 2...64
    static let efConstructionRange = 8...2000

    fileprivate init(wire config: VecraftV1.VectorConfig, name: String, at path: String) throws(VecraftError) {
        let dimension = Int(config.dimension)
        guard (1...Limits.dimension).contains(dimension) else {
            throw .invalid(path + ".dimension", "must be in 1...\(Limits.dimension), not \(dimension)")
        }
        guard let metric = Metric(wire: config.distance) else {
            throw .invalid(path + ".distance", "must be cosine, dot or l2")
        }
        let m = try Self.value(config.hnsw?.m, Self.defaultM, Self.mRange, path + ".hnsw.m")
        let efConstruction = try Self.value(
            config.hnsw?.efConstruction, Self.defaultEfConstruction, Self.efConstructionRange,
            path + ".hnsw.ef_construction")
        let code = config.quantisation == .unspecified ? Quantisation.auto.code : UInt8(exactly: config.quantisation.rawValue)
        guard let quantisation = code.flatMap({ Quantisation(code: $0) }) else {
            throw .invalid(path + ".quantisation", "must be auto, none, int8 or int4")
        }
        self.init(
            name: name, dimension: dimension, metric: metric, m: m, efConstruction: efConstruction,
            quantisation: quantisation)
    }

    private static func value(
        _ asked: UInt32?, _ byDefault: Int, _ range: ClosedRange<Int>, _ path: String
    ) throws(VecraftError) -> Int {
        guard let asked, asked != 0 else { return byDefault }
        guard range.contains(Int(asked)) else {
            throw .invalid(
                path, "must be in \(range.lowerBound)...\(range.upperBound), or 0 for \(byDefault); not \(asked)")
        }
        return Int(asked)
    }

    fileprivate func validate(at path: String) throws(VecraftError) {
        guard (1...Limits.dimension).contains(self.dimension) else {
            throw .invalid(path + ".dimension", "must be in 1...\(Limits.dimension), not \(self.dimension)")
        }
        guard Self.mRange.contains(self.m), Self.efConstructionRange.contains(self.efConstruction) else {
            throw .invalid(path + ".hnsw", "m \(self.m), ef_construction \(self.efConstruction)")
        }
    }

    /// A named vector's name: 1 to 64 of `[A-Za-z0-9_-]`.
    package static func validate(name: String, at field: String) throws(VecraftError) {
        guard (1...Limits.vectorNameBytes).contains(name.utf8.count),
            name.utf8.allSatisfy({ $0.isAlphanumeric || $0.isNamePunctuation })
        else {
            throw .invalid(field, "a vector's name is 1 to \(Limits.vectorNameBytes) of A-Z, a-z, 0-9, '_', '-'")
        }
    }
}

extension UInt8 {
    fileprivate var isAlphanumeric: Bool { self &- 0x30 < 10 || (self | 0x20) &- 0x61 < 26 }
    fileprivate var isNamePunctuation: Bool { self == UInt8(ascii: "_") || self == UInt8(ascii: "-") }
}

extension VecraftV1.CollectionConfig {
    /// The schema with every default spelt out.
    package init(_ schema: CollectionSchema) {
        self.init(shards: schema.shards)
        for vector in schema.vectors {
            let config = VecraftV1.VectorConfig(
                dimension: UInt32(vector.dimension), distance: VecraftV1.Distance(vector.metric),
                hnsw: VecraftV1.HnswConfig(m: UInt32(vector.m), efConstruction: UInt32(vector.efConstruction)),
                quantisation: VecraftV1.Quantisation(rawValue: Int32(vector.quantisation.code)))
            if vector.name.isEmpty { self.vector = config } else { self.vectors[vector.name] = config }
        }
        self.payloadIndexes = schema.payloadIndexes.map {
            VecraftV1.PayloadIndexConfig(field: $0.path, type: VecraftV1.FieldType(rawValue: Int32($0.type.rawValue)))
        }
    }
}
