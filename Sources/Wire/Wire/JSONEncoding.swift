import CWire
import Primitives

/// Writes protobuf-c structs as JSON, guided by the field tables.
///
/// Recursion is as deep as the messages are nested, which decoding bounds.
struct JSONEncoding {
    let includingDefaults: Bool
    /// A list is broken off behind the element that makes the text longer; what is written then is no JSON.
    var limit = Int.max

    func message(_ source: UnsafeRawPointer, _ schema: UnsafePointer<wire_message>, _ writer: inout JSONWriter) {
        switch Int(schema.pointee.shape) {
        case Int(WIRE_SHAPE_VECTOR.rawValue): self.vector(source, schema, &writer)
        case Int(WIRE_SHAPE_RAW_OBJECT.rawValue):
            let text = MessagePointer(source).bytes(Int(schema.pointee.fields[0].offset))
            if text.isEmpty {
                writer.beginObject()
                writer.endObject()
            } else {
                writer.raw(text)
            }
        case Int(WIRE_SHAPE_SCALAR.rawValue): self.scalar(source, schema, &writer)
        case Int(WIRE_SHAPE_NUMBER.rawValue), Int(WIRE_SHAPE_LIST.rawValue):
            self.field(schema.pointee.fields, source, &writer)
        case Int(WIRE_SHAPE_CONDITION.rawValue): self.condition(source, schema, &writer)
        default: self.object(source, schema, &writer)
        }
    }

    private func object(_ source: UnsafeRawPointer, _ schema: UnsafePointer<wire_message>, _ writer: inout JSONWriter) {
        writer.beginObject()
        for position in 0..<Int(schema.pointee.field_count) {
            let field = schema.pointee.fields + position
            guard self.isPresent(field, source) else { continue }
            writer.key(String(cString: field.pointee.name))
            self.field(field, source, &writer)
        }
        writer.endObject()
    }

    // MARK: Shapes of our own

    private func vector(_ source: UnsafeRawPointer, _ schema: UnsafePointer<wire_message>, _ writer: inout JSONWriter) {
        let pointer = MessagePointer(source)
        let values = schema.pointee.fields[0], packed = schema.pointee.fields[1]
        let floats: UnsafeBufferPointer<Float> = pointer.scalars(Int(values.offset), Int(values.quantifier))
        writer.beginArray()
        for value in floats { self.float(value, &writer) }
        if floats.isEmpty {
            let raw = pointer.bytes(Int(packed.offset))
            for i in 0..<(raw.count / 4) {
                let bits = UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: i * 4, as: UInt32.self))
                self.float(Float(bitPattern: bits), &writer)
            }
        }
        writer.endArray()
    }

    private func scalar(_ source: UnsafeRawPointer, _ schema: UnsafePointer<wire_message>, _ writer: inout JSONWriter) {
        for position in 0..<Int(schema.pointee.field_count) {
            let field = schema.pointee.fields + position
            guard self.isPresent(field, source) else { continue }
            // As a number, so that it reads back as one: a string would choose another member.
            if field.pointee.type == FieldSchema.Kind.int64.rawValue {
                return writer.integer(source.load(fromByteOffset: Int(field.pointee.offset), as: Int64.self))
            }
            return self.field(field, source, &writer)
        }
        writer.null()
    }

    /// A filter directly in the condition's place, unless that would not read back.
    private func condition(
        _ source: UnsafeRawPointer, _ schema: UnsafePointer<wire_message>, _ writer: inout JSONWriter
    ) {
        let fields = schema.pointee.fields!
        let last = fields + Int(schema.pointee.field_count) - 1
        if !self.isPresent(fields, source), self.isPresent(last, source), let filterSchema = last.pointee.message,
            let filter = source.load(fromByteOffset: Int(last.pointee.offset), as: UnsafeRawPointer?.self),
            (0..<Int(filterSchema.pointee.field_count)).contains(where: {
                MessagePointer(filter).load(Int(filterSchema.pointee.fields[$0].quantifier), as: Int.self) > 0
            })
        {
            return self.object(filter, filterSchema, &writer)
        }
        self.object(source, schema, &writer)
    }

    // MARK: Fields

    private func isPresent(_ field: UnsafePointer<wire_field>, _ source: UnsafeRawPointer) -> Bool {
        let pointer = MessagePointer(source)
        let offset = Int(field.pointee.offset)
        switch FieldSchema.Form(rawValue: field.pointee.form)! {
        case .oneof: return pointer.oneofCase(Int(field.pointee.quantifier)) == Int32(field.pointee.number)
        case .repeated, .map:
            return self.includingDefaults || pointer.load(Int(field.pointee.quantifier), as: Int.self) > 0
        case .singular: break
        }
        let kind = FieldSchema.Kind(rawValue: field.pointee.type)!
        if kind == .message { return pointer.load(offset, as: UnsafeRawPointer?.self) != nil }
        if self.includingDefaults { return true }
        return switch kind {
        case .string: !pointer.text(offset).isEmpty
        case .bytes: pointer.load(offset, as: Int.self) > 0
        // By value, not by bits: protobuf-c takes -0.0 for the default too.
        case .float: pointer.load(offset, as: Float.self) != 0
        case .double: pointer.load(offset, as: Double.self) != 0
        case .int64, .uint64, .fixed64: pointer.load(offset, as: UInt64.self) != 0
        default: pointer.load(offset, as: UInt32.self) != 0
        }
    }

    private func field(_ field: UnsafePointer<wire_field>, _ source: UnsafeRawPointer, _ writer: inout JSONWriter) {
        let form = FieldSchema.Form(rawValue: field.pointee.form)!
        guard form == .repeated || form == .map else {
            return self.value(field, source + Int(field.pointee.offset), &writer)
        }
        let count = source.load(fromByteOffset: Int(field.pointee.quantifier), as: Int.self)
        let start = source.load(fromByteOffset: Int(field.pointee.offset), as: UnsafeRawPointer?.self)
        if form == .repeated {
            let stride = JSONDecoding.size(field)
            writer.beginArray()
            for i in 0..<count where writer.bytes.count <= self.limit {
                self.value(field, start.unsafelyUnwrapped + i * stride, &writer)
            }
            return writer.endArray()
        }
        let key = field.pointee.message.pointee.fields[0], valueField = field.pointee.message.pointee.fields + 1
        writer.beginObject()
        for i in 0..<count {
            let entry = start.unsafelyUnwrapped.load(fromByteOffset: i * 8, as: UnsafeRawPointer.self)
            writer.key(MessagePointer(entry).text(Int(key.offset)).string)
            self.value(valueField, entry + Int(valueField.pointee.offset), &writer)
        }
        writer.endObject()
    }

    private func value(_ field: UnsafePointer<wire_field>, _ slot: UnsafeRawPointer, _ writer: inout JSONWriter) {
        let pointer = MessagePointer(slot)
        switch FieldSchema.Kind(rawValue: field.pointee.type)! {
        case .int32: writer.integer(Int64(pointer.load(0, as: Int32.self)))
        case .uint32, .fixed32: writer.integer(Int64(pointer.load(0, as: UInt32.self)))
        // As text: a JSON number holds but 53 bits in most languages.
        case .int64: writer.string(pointer.load(0, as: Int64.self).description)
        case .uint64, .fixed64: writer.string(pointer.load(0, as: UInt64.self).description)
        case .float: self.float(pointer.load(0), &writer)
        case .double:
            let value: Double = pointer.load(0)
            if value.isFinite { writer.double(value) } else { writer.string(Self.name(ofNonFinite: value)) }
        case .bool: writer.bool(pointer.flag(0))
        case .enum:
            let number: Int32 = pointer.load(0)
            if let name = EnumSchema(raw: field.pointee.enumeration).name(of: number) {
                writer.string(name)
            } else {
                writer.integer(Int64(number))
            }
        case .string: writer.string(utf8: pointer.text(0).bytes)
        case .bytes: Base64.encode(pointer.bytes(0)).withUnsafeBytes { writer.string(utf8: $0) }
        case .message:
            // Of a map's entry the message may be missing, and is empty then.
            if let message = pointer.load(0, as: UnsafeRawPointer?.self) {
                self.message(message, field.pointee.message, &writer)
            } else {
                self.empty(field.pointee.message, &writer)
            }
        }
    }

    private func empty(_ schema: UnsafePointer<wire_message>, _ writer: inout JSONWriter) {
        ArenaPool.shared.withArena { arena in
            self.message(UnsafeRawPointer(wire_new(schema, arena.handle)!), schema, &writer)
        }
    }

    private func float(_ value: Float, _ writer: inout JSONWriter) {
        if value.isFinite { writer.float(value) } else { writer.string(Self.name(ofNonFinite: Double(value))) }
    }
    private static func name(ofNonFinite value: Double) -> String {
        value.isNaN ? "NaN" : value > 0 ? "Infinity" : "-Infinity"
    }
}
