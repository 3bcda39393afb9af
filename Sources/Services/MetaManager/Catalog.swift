package import Primitives

/// The collections there are, as one immutable value: a reader takes a copy and is never half-way through a change.
package struct Catalog: Sendable {
    package private(set) var byID: [UInt64: CollectionSchema] = [:]
    private var byName: [Name: UInt64] = [:]
    /// Offset of `sys-0` up to which this catalog is true.
    package private(set) var applied: JournalOffset

    private struct Name: Hashable {
        let tenant: String
        let collection: String
    }

    package init(_ schemas: [CollectionSchema] = [], applied: JournalOffset = 0) {
        self.applied = applied
        for schema in schemas {
            self.byID[schema.id] = schema
            self.byName[Name(tenant: schema.tenant, collection: schema.name)] = schema.id
        }
    }

    package func collection(tenant: String, name: String) -> CollectionSchema? {
        self.byName[Name(tenant: tenant, collection: name)].flatMap { self.byID[$0] }
    }

    package func collections(tenant: String) -> [CollectionSchema] {
        self.byID.values.filter { $0.tenant == tenant }.sorted { $0.name < $1.name }
    }

    package enum Change: Sendable {
        case created(CollectionSchema)
        case dropped(CollectionSchema)
        case updated(CollectionSchema)
        /// The entry found the name taken, or nothing to drop: decided here, in log order, alike on every node.
        case none
        /// The entry cannot be read, or asks for what cannot be: passed over on every node alike.
        case refused(String)
    }

    /// Applies a creation decided by `sys-0`. The name may have been taken by an earlier entry; then nothing changes.
    package mutating func create(_ schema: CollectionSchema, at offset: JournalOffset) -> Change {
        self.step(to: offset)
        let name = Name(tenant: schema.tenant, collection: schema.name)
        guard self.byName[name] == nil else { return .none }
        precondition(self.byID[schema.id] == nil, "two collections with id \(schema.id)")
        self.byID[schema.id] = schema
        self.byName[name] = schema.id
        return .created(schema)
    }

    package mutating func drop(_ id: UInt64, at offset: JournalOffset) -> Change {
        self.step(to: offset)
        guard let schema = self.byID.removeValue(forKey: id) else { return .none }
        self.byName[Name(tenant: schema.tenant, collection: schema.name)] = nil
        return .dropped(schema)
    }

    /// - Parameter change: Makes the new schema of the old one; nil where it does not fit.
    package mutating func update(
        _ id: UInt64, at offset: JournalOffset, _ change: (CollectionSchema) -> CollectionSchema?
    ) -> Change {
        self.step(to: offset)
        guard let schema = self.byID[id] else { return .none }
        guard let changed = change(schema) else { return .refused("collection \(id) has no such vector") }
        self.byID[id] = changed
        return changed == schema ? .none : .updated(changed)
    }

    /// An entry that changes no collection.
    package mutating func skip(to offset: JournalOffset) { self.step(to: offset) }

    private mutating func step(to offset: JournalOffset) {
        precondition(offset == self.applied + 1, "sys-0 entry \(offset) after \(self.applied)")
        self.applied = offset
    }
}
