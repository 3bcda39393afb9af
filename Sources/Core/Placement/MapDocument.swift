package import Primitives

/// A key of the metadata store with its value, below the cluster's prefix; nil: the key is deleted.
package struct MapDocument: Equatable, Sendable {
    package let key: String
    package let value: [UInt8]?
    package init(key: String, value: [UInt8]?) {
        self.key = key
        self.value = value
    }
}

/// Where a part of the map is kept. A change writes `epoch`, which is what a transaction compares, and the record it changes.
package enum MapKey: Hashable, Sendable, CustomStringConvertible {
    case epoch
    case node(NodeID)
    case shards(UInt64)
    case partition(PartitionID)

    package var description: String {
        switch self {
        case .epoch: "epoch"
        case .node(let id): "nodes/\(id.rawValue)"
        case .shards(let id): "shards/\(id)"
        case .partition(let id): "partitions/\(id)"
        }
    }

    /// Nil if the text is no key of the map, or not spelt as ``description`` spells it.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        let key: MapKey? =
            switch (parts.first, parts.count) {
            case ("epoch", 1): .epoch
            case ("nodes", 2): UInt64(parts[1]).map { .node(NodeID($0)) }
            case ("shards", 2): UInt64(parts[1]).map { .shards($0) }
            case ("partitions", 2): PartitionID(parts[1]).map { .partition($0) }
            default: nil
            }
        guard let key, key.description.utf8.elementsEqual(text.utf8) else { return nil }
        self = key
    }
}

extension ClusterMap {
    /// Of every document. A newer one is refused by name; so is a field this release does not know: whoever adds a field
    /// raises the number, once all nodes run a release that reads it.
    package static let format: Int64 = 1

    /// The whole map.
    package func documents() -> [MapDocument] { self.documents(changedFrom: ClusterMap()) }

    /// What must be written so that a store which holds `old` holds this map; `epoch` comes first.
    package func documents(changedFrom old: ClusterMap) -> [MapDocument] {
        guard self != old else { return [] }
        var documents = [self.epochDocument]
        func add(_ key: MapKey, _ value: [UInt8]?) {
            documents.append(MapDocument(key: key.description, value: value))
        }
        for id in Set(self.nodes.keys).union(old.nodes.keys).sorted() where self.nodes[id] != old.nodes[id] {
            add(.node(id), self.nodes[id].map { $0.encoded() })
        }
        for id in Set(self.collections.keys).union(old.collections.keys).sorted()
        where self.collections[id] != old.collections[id] {
            add(.shards(id), self.collections[id].map { $0.encoded() })
        }
        for id in Set(self.partitions.keys).union(old.partitions.keys).sorted()
        where self.partitions[id] != old.partitions[id] {
            add(.partition(id), self.partitions[id].map { $0.encoded() })
        }
        return documents
    }

    /// Reads a store's documents.
    ///
    /// - Throws: `.dataLoss` reason `BAD_CLUSTER_MAP`, naming the key; `.unimplemented` reason `NEWER_FORMAT`.
    package init(documents: [MapDocument]) throws(VecraftError) {
        self.init()
        try self.take(documents)
    }

    /// Takes over what a watch says was changed, all of one revision. What cannot be read changes nothing.
    package mutating func take(_ documents: [MapDocument]) throws(VecraftError) {
        var map = self
        for document in documents {
            do throws(VecraftError) {
                try map.take(document)
            } catch {
                if error.code == .unimplemented { throw error }
                throw .badMap("\(document.key): \(error.message)")
            }
        }
        if let broken = map.brokenInvariant() { throw .badMap(broken) }
        self = map
    }

    private mutating func take(_ document: MapDocument) throws(VecraftError) {
        guard let key = MapKey(document.key) else { throw .badMap("not a key of the map") }
        let value = try document.value.map { bytes throws(VecraftError) in try JSONValue(parsing: bytes, maxDepth: 6) }
        switch key {
        case .epoch:
            guard let value else { throw .badMap("deleted") }
            var fields = try Fields(value)
            self.epoch = try fields.unsigned("epoch")
            self.nextIncarnation = try fields.unsigned("next_incarnation")
            try fields.finish()
        case .node(let id): self.nodes[id] = try value.map { value throws(VecraftError) in try NodeRecord(id, value) }
        case .shards(let id):
            self.collections[id] = try value.map { value throws(VecraftError) in try CollectionRecord(id, value) }
        case .partition(let id):
            self.partitions[id] = try value.map { value throws(VecraftError) in try JournalRecord(id, value) }
        }
    }

    /// What a transaction compares: a store that holds it holds this map. Nil of the empty map: there must be no such key.
    package var epochDocument: MapDocument {
        guard self.epoch > 0 else { return MapDocument(key: MapKey.epoch.description, value: nil) }
        var writer = JSONWriter()
        writer.beginDocument()
        writer.field("epoch", self.epoch)
        writer.field("next_incarnation", self.nextIncarnation)
        writer.endObject()
        return MapDocument(key: MapKey.epoch.description, value: writer.bytes)
    }
}

extension VecraftError {
    static func badMap(_ what: String) -> VecraftError { VecraftError(.dataLoss, what, reason: "BAD_CLUSTER_MAP") }
}

extension JSONWriter {
    mutating func beginDocument() {
        self.beginObject()
        self.key("format")
        self.integer(ClusterMap.format)
    }
    mutating func field(_ key: String, _ value: UInt64) {
        self.key(key)
        self.unsigned(value)
    }
    mutating func field(_ key: String, _ value: String) {
        self.key(key)
        self.string(value)
    }
}

/// An object's fields, each asked for once; ``finish()`` refuses what nobody asked for.
struct Fields {
    private var members: [String: JSONValue] = [:]

    /// A whole document: with a format.
    init(_ value: JSONValue) throws(VecraftError) {
        try self.init(part: value)
        let format = try self.take("format").integerValue
        guard let format, format >= 1 else { throw .badMap("format is no number from 1") }
        guard format <= ClusterMap.format else {
            throw VecraftError(
                .unimplemented, "cluster map of format \(format); this release reads \(ClusterMap.format)",
                reason: "NEWER_FORMAT")
        }
    }

    init(part value: JSONValue) throws(VecraftError) {
        guard let members = value.objectValue else { throw .badMap("\(value.kindName) instead of an object") }
        for member in members { self.members[member.key] = member.value }
        guard self.members.count == members.count else { throw .badMap("a field stands twice") }
    }

    func has(_ key: String) -> Bool { self.members[key] != nil }

    mutating func take(_ key: String) throws(VecraftError) -> JSONValue {
        guard let value = self.members.removeValue(forKey: key) else { throw .badMap("field \"\(key)\" is missing") }
        return value
    }
    mutating func unsigned(_ key: String) throws(VecraftError) -> UInt64 {
        guard let value = UInt64(exactly: try self.take(key).integerValue ?? -1) else {
            throw .badMap("field \"\(key)\" is no number from 0 to \(Int64.max)")
        }
        return value
    }
    /// As text, since readers of JSON in other languages lose numbers above 2^53.
    mutating func number(_ key: String) throws(VecraftError) -> UInt64 {
        let text = try self.string(key)
        guard let value = UInt64(text), value.description == text else {
            throw .badMap("field \"\(key)\" is no number")
        }
        return value
    }
    mutating func string(_ key: String) throws(VecraftError) -> String {
        guard let value = try self.take(key).stringValue else { throw .badMap("field \"\(key)\" is no text") }
        return value
    }
    mutating func array(_ key: String) throws(VecraftError) -> [JSONValue] {
        guard let value = try self.take(key).arrayValue else { throw .badMap("field \"\(key)\" is no array") }
        return value
    }
    mutating func named<Name: RawRepresentable<String>>(_ key: String) throws(VecraftError) -> Name {
        let text = try self.string(key)
        guard let value = Name(rawValue: text) else {
            throw .badMap("field \"\(key)\": \"\(text.prefix(40))\" is not known")
        }
        return value
    }
    mutating func partition(_ key: String) throws(VecraftError) -> PartitionID {
        guard let value = PartitionID(try self.string(key)) else { throw .badMap("field \"\(key)\" is no partition") }
        return value
    }
    func finish() throws(VecraftError) {
        guard let key = self.members.keys.min() else { return }
        throw .badMap("unknown field \"\(key.prefix(40))\"")
    }
}
