import CWire
import Primitives

/// Reads one JSON document into protobuf-c structs in an arena, guided by the field tables.
///
/// Recursion is bounded by the reader's depth limit: every level of messages is a level of JSON.
struct JSONDecoding {
    enum Step {
        case field(UnsafePointer<wire_field>)
        case index(Int)
        case key(String)
    }

    var reader: JSONReader
    let arena: OpaquePointer
    /// Where the value being read stands. After an error it is left as it was, to say so.
    var path: [Step] = []
    /// Numbers of the vector being read; kept for its room.
    private var floats: [Float] = []

    init(_ json: UnsafeRawBufferPointer, arena: OpaquePointer) {
        self.reader = JSONReader(json)
        self.arena = arena
    }

    mutating func document(_ schema: UnsafePointer<wire_message>) throws(VecraftError) -> UnsafeMutableRawPointer {
        do {
            let message = try self.message(schema)
            try self.reader.finish()
            return message
        } catch {
            throw self.located(error)
        }
    }

    // MARK: Messages

    mutating func message(_ schema: UnsafePointer<wire_message>) throws(VecraftError) -> UnsafeMutableRawPointer {
        guard let target = wire_new_limited(schema, self.arena) else { throw Self.exhausted() }
        switch Int(schema.pointee.shape) {
        case Int(WIRE_SHAPE_VECTOR.rawValue):
            switch try self.reader.peek() {
            case .array: try self.vector(schema, target)
            case .object: try self.object(schema, target)
            default: throw self.reader.fault("expected an array of numbers, or an object with values or packed")
            }
        case Int(WIRE_SHAPE_RAW_OBJECT.rawValue): try self.rawObject(schema, target)
        case Int(WIRE_SHAPE_SCALAR.rawValue): try self.scalar(schema, target)
        case Int(WIRE_SHAPE_NUMBER.rawValue):
            self.store(try self.double(), target, schema.pointee.fields[0].offset)
        case Int(WIRE_SHAPE_LIST.rawValue): try self.repeated(schema.pointee.fields, target)
        case Int(WIRE_SHAPE_CONDITION.rawValue): try self.condition(schema, target)
        default: try self.object(schema, target)
        }
        return target
    }

    private mutating func object(
        _ schema: UnsafePointer<wire_message>, _ target: UnsafeMutableRawPointer
    ) throws(VecraftError) {
        try self.reader.beginObject()
        var seen: UInt64 = 0
        while let key = try self.reader.nextKey() {
            guard let position = Self.find(key, in: schema) else { throw self.unknown(key) }
            try self.member(schema, position, target, &seen)
        }
    }

    /// An object of its own fields, or of the fields of the filter that it is.
    private mutating func condition(
        _ schema: UnsafePointer<wire_message>, _ target: UnsafeMutableRawPointer
    ) throws(VecraftError) {
        guard let field = Self.field(named: "filter", of: schema), let filterSchema = field.pointee.message else {
            preconditionFailure("a condition without a filter in its schema")
        }
        try self.reader.beginObject()
        var seen: UInt64 = 0, seenInFilter: UInt64 = 0
        var filter: UnsafeMutableRawPointer?
        while let key = try self.reader.nextKey() {
            if let position = Self.find(key, in: schema) {
                try self.member(schema, position, target, &seen)
            } else if let position = Self.find(key, in: filterSchema) {
                if filter == nil {
                    try self.claim(field, target)
                    guard let made = wire_new_limited(filterSchema, self.arena) else { throw Self.exhausted() }
                    self.store(made, target, field.pointee.offset)
                    filter = made
                }
                try self.member(filterSchema, position, filter.unsafelyUnwrapped, &seenInFilter)
            } else {
                throw self.unknown(key)
            }
        }
    }

    /// Reads one field's value, standing behind its name.
    private mutating func member(
        _ schema: UnsafePointer<wire_message>, _ position: Int, _ target: UnsafeMutableRawPointer, _ seen: inout UInt64
    ) throws(VecraftError) {
        let field = schema.pointee.fields + position
        self.path.append(.field(field))
        guard seen & 1 << UInt64(position) == 0 else { throw Self.invalid("stands twice") }
        seen |= 1 << UInt64(position)
        if try !self.reader.readNullIfPresent() {
            switch FieldSchema.Form(rawValue: field.pointee.form) {
            case .repeated: try self.repeated(field, target)
            case .map: try self.map(field, target)
            case .oneof:
                try self.claim(field, target)
                try self.value(field, target + Int(field.pointee.offset))
            default: try self.value(field, target + Int(field.pointee.offset))
            }
        }
        self.path.removeLast()
    }

    /// Makes `field` the member of its oneof.
    private func claim(_ field: UnsafePointer<wire_field>, _ target: UnsafeMutableRawPointer) throws(VecraftError) {
        let offset = Int(field.pointee.quantifier)
        guard target.load(fromByteOffset: offset, as: Int32.self) == 0 else {
            throw Self.invalid("another member of the same choice is set already; give one")
        }
        target.storeBytes(of: Int32(field.pointee.number), toByteOffset: offset, as: Int32.self)
    }

    // MARK: Fields of many values

    private mutating func repeated(
        _ field: UnsafePointer<wire_field>, _ target: UnsafeMutableRawPointer
    ) throws(VecraftError) {
        var elements = ArenaArray(stride: Self.size(field), arena: self.arena)
        try self.reader.beginArray()
        while try self.reader.nextElement() {
            self.path.append(.index(elements.count))
            try self.value(field, try elements.append())
            self.path.removeLast()
        }
        self.store(elements.start, target, field.pointee.offset)
        self.store(elements.count, target, field.pointee.quantifier)
    }

    private mutating func map(
        _ field: UnsafePointer<wire_field>, _ target: UnsafeMutableRawPointer
    ) throws(VecraftError) {
        guard let entry = field.pointee.message else { preconditionFailure("a map without an entry in its schema") }
        let keyField = entry.pointee.fields!
        let valueField = keyField + 1
        var entries = ArenaArray(stride: 8, arena: self.arena)
        try self.reader.beginObject()
        while let key = try self.reader.nextKey() {
            self.path.append(.key(key.string))
            let slot = try entries.append()
            guard let made = wire_new_limited(entry, self.arena) else { throw Self.exhausted() }
            slot.storeBytes(of: made, as: UnsafeMutableRawPointer.self)
            self.store(try self.text(key), made, keyField.pointee.offset)
            try self.value(valueField, made + Int(valueField.pointee.offset))
            self.path.removeLast()
        }
        self.store(entries.start, target, field.pointee.offset)
        self.store(entries.count, target, field.pointee.quantifier)
    }

    // MARK: Shapes of our own

    private mutating func vector(
        _ schema: UnsafePointer<wire_message>, _ target: UnsafeMutableRawPointer
    ) throws(VecraftError) {
        self.floats.removeAll(keepingCapacity: true)
        try self.reader.readFloats(into: &self.floats)
        let size = self.floats.count * MemoryLayout<Float>.stride
        let copy = try self.allocate(size)
        self.floats.withUnsafeBytes { if let start = $0.baseAddress { copy.copyMemory(from: start, byteCount: size) } }
        self.store(copy, target, schema.pointee.fields[0].offset)
        self.store(self.floats.count, target, schema.pointee.fields[0].quantifier)
    }

    private mutating func rawObject(
        _ schema: UnsafePointer<wire_message>, _ target: UnsafeMutableRawPointer
    ) throws(VecraftError) {
        guard try self.reader.peek() == .object else { throw self.reader.fault("expected an object") }
        let text = try self.reader.skipValue()
        // The reader has checked all but the depth. With so few brackets it cannot be too deep.
        var brackets = 0
        for byte in text { brackets &+= byte | 0x20 == UInt8(ascii: "{") ? 1 : 0 }
        if brackets > Limits.payloadDepth { try JSONScanner.validateObject(text, maxDepth: Limits.payloadDepth) }
        let copy = try self.allocate(text.count)
        if let start = text.baseAddress { copy.copyMemory(from: start, byteCount: text.count) }
        let slot = target + Int(schema.pointee.fields[0].offset)
        slot.storeBytes(of: text.count, as: Int.self)
        slot.storeBytes(of: copy, toByteOffset: 8, as: UnsafeMutableRawPointer.self)
    }

    /// A string, a number or a boolean chooses the member of its kind.
    private mutating func scalar(
        _ schema: UnsafePointer<wire_message>, _ target: UnsafeMutableRawPointer
    ) throws(VecraftError) {
        var kind: FieldSchema.Kind
        switch try self.reader.peek() {
        case .string: kind = .string
        case .bool: kind = .bool
        case .number:
            var ahead = self.reader
            if case .integer = try ahead.readNumber() { kind = .int64 } else { kind = .double }
        default: throw self.reader.fault("expected a string, a number or a boolean")
        }
        for position in 0..<Int(schema.pointee.field_count) {
            let field = schema.pointee.fields + position
            if field.pointee.type != kind.rawValue { continue }
            try self.claim(field, target)
            return try self.value(field, target + Int(field.pointee.offset))
        }
    }

    // MARK: Names and errors

    private static func find(_ key: JSONString, in schema: UnsafePointer<wire_message>) -> Int? {
        if key.isEscaped { return key.withUTF8 { Self.find($0, in: schema) } }
        return Self.find(key.raw, in: schema)
    }

    private static func find(_ key: UnsafeRawBufferPointer, in schema: UnsafePointer<wire_message>) -> Int? {
        guard let fields = schema.pointee.fields else { return nil }
        for position in 0..<Int(schema.pointee.field_count) {
            let field = fields[position]
            let name = UnsafeRawBufferPointer(start: field.name, count: Int(field.name_length))
            let jsonName = UnsafeRawBufferPointer(start: field.json_name, count: Int(field.json_length))
            if RawBytes.equal(key, name) || RawBytes.equal(key, jsonName) { return position }
        }
        return nil
    }

    private static func field(
        named name: StaticString, of schema: UnsafePointer<wire_message>
    ) -> UnsafePointer<wire_field>? {
        let text = UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)
        return Self.find(text, in: schema).map { schema.pointee.fields + $0 }
    }

    private mutating func unknown(_ key: JSONString) -> VecraftError {
        self.path.append(.key(key.string))
        return Self.invalid("unknown field")
    }

    static func invalid(_ message: String) -> VecraftError { VecraftError(.invalidArgument, message) }
    static func exhausted() -> VecraftError {
        VecraftError(.resourceExhausted, "the message takes more memory than one request may")
    }

    /// The error with the place it was found at.
    private func located(_ error: VecraftError) -> VecraftError {
        var place = ""
        for step in self.path {
            switch step {
            case .field(let field): place += (place.isEmpty ? "" : ".") + String(cString: field.pointee.name)
            case .index(let index): place += "[\(index)]"
            case .key(let key): place += (place.isEmpty ? "" : ".") + key
            }
        }
        if place.isEmpty { return error }
        var error = error
        error.message = "\(place): \(error.message)"
        error.field = place
        return error
    }
}
