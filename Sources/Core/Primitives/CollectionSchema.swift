/// How nearness is measured. Smaller distances are nearer.
package enum Metric: UInt8, Sendable, CaseIterable {
    /// `1 - cosine`; vectors are normalised when stored.
    case cosine = 1
    /// `1 - dot`.
    case dot
    /// Squared Euclidean.
    case l2
}

/// One named vector of a collection.
package struct VectorSchema: Hashable, Sendable {
    package var name: String
    package var dimension: Int
    package var metric: Metric
    /// Links per point above level 0; level 0 has twice as many.
    package var m: Int
    package var efConstruction: Int
    package var quantisation: Quantisation

    package static let defaultM = 16
    package static let defaultEfConstruction = 200

    package init(
        name: String = "", dimension: Int, metric: Metric, m: Int = Self.defaultM,
        efConstruction: Int = Self.defaultEfConstruction, quantisation: Quantisation = .auto
    ) {
        self.name = name
        self.dimension = dimension
        self.metric = metric
        self.m = m
        self.efConstruction = efConstruction
        self.quantisation = quantisation
    }
}

package enum PayloadFieldType: UInt8, Sendable, CaseIterable {
    case keyword = 1, integer, float, bool
}

package struct PayloadIndexField: Hashable, Sendable {
    /// Path with dots.
    package var path: String
    package var type: PayloadFieldType
    package init(path: String, type: PayloadFieldType) {
        self.path = path
        self.type = type
    }
}

/// What a collection's points look like, and where its writes are ordered. Entries carry the id, never the name.
package struct CollectionSchema: Hashable, Sendable {
    package var id: UInt64
    package var tenant: String
    package var name: String
    /// Sorted by name; "" is the unnamed vector.
    package var vectors: [VectorSchema]
    package var payloadIndexes: [PayloadIndexField]
    package var shards: UInt32
    package var partition: PartitionID
    package var created: HLCTimestamp

    package init(
        id: UInt64, tenant: String, name: String, vectors: [VectorSchema], payloadIndexes: [PayloadIndexField] = [],
        shards: UInt32 = 1, partition: PartitionID = .data(0), created: HLCTimestamp = .zero
    ) {
        self.id = id
        self.tenant = tenant
        self.name = name
        self.vectors = vectors.sorted { $0.name < $1.name }
        self.payloadIndexes = payloadIndexes
        self.shards = shards
        self.partition = partition
        self.created = created
    }

    /// Position of a named vector in `vectors`.
    package func vectorIndex(_ name: String) -> Int? { self.vectors.firstIndex { $0.name == name } }

    // On disk (DDL entries, manifests, metadata): version 1.

    package func encode(into writer: inout ByteWriter) {
        writer.write(UInt16(1))
        writer.write(self.id)
        writer.writeShort(self.tenant)
        writer.writeShort(self.name)
        writer.write(UInt16(self.vectors.count))
        for vector in self.vectors {
            writer.writeShort(vector.name)
            writer.write(UInt32(vector.dimension))
            writer.write(vector.metric.rawValue)
            writer.write(UInt16(vector.m))
            writer.write(UInt16(vector.efConstruction))
            writer.write(vector.quantisation.code)
        }
        writer.write(UInt16(self.payloadIndexes.count))
        for field in self.payloadIndexes {
            writer.writeShort(field.path)
            writer.write(field.type.rawValue)
        }
        writer.write(self.shards)
        writer.write(self.partition.kind.rawValue)
        writer.write(self.partition.index)
        writer.write(self.created.rawValue)
    }

    package init(decoding reader: inout ByteReader) throws(DecodingFault) {
        let version = try reader.read(UInt16.self)
        guard version == 1 else {
            throw DecodingFault(position: reader.position, what: "collection schema of format \(version); this release reads 1")
        }
        self.id = try reader.read()
        self.tenant = try reader.readShort()
        self.name = try reader.readShort()
        self.vectors = []
        for _ in 0..<(try reader.read(UInt16.self)) {
            let name = try reader.readShort()
            let dimension = Int(try reader.read(UInt32.self))
            guard let metric = Metric(rawValue: try reader.read()) else {
                throw DecodingFault(position: reader.position, what: "unknown metric")
            }
            let m = Int(try reader.read(UInt16.self))
            let efConstruction = Int(try reader.read(UInt16.self))
            guard let quantisation = Quantisation(code: try reader.read()) else {
                throw DecodingFault(position: reader.position, what: "unknown quantisation")
            }
            self.vectors.append(
                VectorSchema(
                    name: name, dimension: dimension, metric: metric, m: m, efConstruction: efConstruction,
                    quantisation: quantisation))
        }
        self.payloadIndexes = []
        for _ in 0..<(try reader.read(UInt16.self)) {
            let path = try reader.readShort()
            guard let type = PayloadFieldType(rawValue: try reader.read()) else {
                throw DecodingFault(position: reader.position, what: "unknown payload field type")
            }
            self.payloadIndexes.append(PayloadIndexField(path: path, type: type))
        }
        self.shards = try reader.read()
        guard let kind = PartitionID.Kind(rawValue: try reader.read()) else {
            throw DecodingFault(position: reader.position, what: "unknown partition kind")
        }
        self.partition = PartitionID(kind, try reader.read())
        self.created = HLCTimestamp(rawValue: try reader.read())
    }
}
