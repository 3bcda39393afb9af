import CWire
import Primitives

/// Elements of a repeated field while their number is not known yet, growing in an arena.
///
/// What it grew out of stays in the arena: as much again as the elements at most.
struct ArenaArray {
    private(set) var start: UnsafeMutableRawPointer?
    private(set) var count = 0
    private var capacity = 0
    private let stride: Int
    private let arena: OpaquePointer

    init(stride: Int, arena: OpaquePointer) {
        self.stride = stride
        self.arena = arena
    }

    /// Room for one more, zeroed.
    mutating func append() throws(VecraftError) -> UnsafeMutableRawPointer {
        if self.count == self.capacity {
            let grown = max(4, self.capacity * 2)
            guard let memory = wire_arena_alloc(self.arena, grown * self.stride) else { throw JSONDecoding.exhausted() }
            if let start = self.start { memory.copyMemory(from: start, byteCount: self.count * self.stride) }
            self.start = memory
            self.capacity = grown
        }
        let slot = self.start.unsafelyUnwrapped + self.count * self.stride
        slot.initializeMemory(as: UInt8.self, repeating: 0, count: self.stride)
        self.count += 1
        return slot
    }
}

extension JSONDecoding {
    /// Bytes of one value in a struct or an array.
    static func size(_ field: UnsafePointer<wire_field>) -> Int {
        switch FieldSchema.Kind(rawValue: field.pointee.type)! {
        case .int32, .uint32, .fixed32, .float, .bool, .enum: 4
        case .int64, .uint64, .fixed64, .double, .string, .message: 8
        case .bytes: 16
        }
    }

    func store<T: BitwiseCopyable>(_ value: T, _ target: UnsafeMutableRawPointer, _ offset: UInt16) {
        target.storeBytes(of: value, toByteOffset: Int(offset), as: T.self)
    }

    func allocate(_ count: Int) throws(VecraftError) -> UnsafeMutableRawPointer {
        guard let memory = wire_arena_alloc(self.arena, count) else { throw Self.exhausted() }
        return memory
    }

    /// Reads a value of the field's type into `slot`.
    mutating func value(_ field: UnsafePointer<wire_field>, _ slot: UnsafeMutableRawPointer) throws(VecraftError) {
        switch FieldSchema.Kind(rawValue: field.pointee.type)! {
        case .int32: self.store(try self.integer(Int32.self), slot, 0)
        case .int64: self.store(try self.integer(Int64.self), slot, 0)
        case .uint32, .fixed32: self.store(try self.integer(UInt32.self), slot, 0)
        case .uint64, .fixed64: self.store(try self.integer(UInt64.self), slot, 0)
        case .float:
            let value = try self.double()
            guard abs(value) <= Double(Float.greatestFiniteMagnitude) || !value.isFinite else {
                throw Self.invalid("out of a float's range")
            }
            self.store(Float(value), slot, 0)
        case .double: self.store(try self.double(), slot, 0)
        case .bool: self.store(try self.reader.readBool() ? 1 as Int32 : 0, slot, 0)
        case .enum: self.store(try self.enumeration(field.pointee.enumeration), slot, 0)
        case .string: self.store(try self.text(try self.reader.readString()), slot, 0)
        case .bytes: try self.bytes(slot)
        case .message: self.store(try self.message(field.pointee.message), slot, 0)
        }
    }

    /// A NUL-terminated copy.
    func text(_ string: JSONString) throws(VecraftError) -> UnsafeMutableRawPointer {
        let copy = try self.allocate(string.raw.count + 1)
        // Control characters must be escaped, so only an escape can be NUL.
        guard string.isEscaped else {
            if let start = string.raw.baseAddress { copy.copyMemory(from: start, byteCount: string.raw.count) }
            copy.storeBytes(of: 0, toByteOffset: string.raw.count, as: UInt8.self)
            return copy
        }
        let count = string.unescape(into: UnsafeMutableRawBufferPointer(start: copy, count: string.raw.count))
        if UnsafeRawBufferPointer(start: copy, count: count).contains(0) { throw Self.invalid("holds a NUL character") }
        copy.storeBytes(of: 0, toByteOffset: count, as: UInt8.self)
        return copy
    }

    /// A number or a string of digits.
    private mutating func integer<T: FixedWidthInteger>(_: T.Type) throws(VecraftError) -> T {
        let value: T?
        if try self.reader.peek() == .string {
            value = T(try self.reader.readString().string)
        } else {
            var ahead = self.reader
            let number = try self.reader.readNumber()
            switch number.canonical {
            case .integer(let integer): value = T(exactly: integer)
            // Beyond Int64: by its digits, for a double would round them.
            case .double: value = T(String(decoding: try ahead.skipValue(), as: UTF8.self))
            }
        }
        guard let value else { throw Self.invalid("expected an integer in \(T.min)...\(T.max)") }
        return value
    }

    /// A number, or a string of one; "NaN", "Infinity", "-Infinity".
    mutating func double() throws(VecraftError) -> Double {
        guard try self.reader.peek() == .string else { return try self.reader.readDouble() }
        let text = try self.reader.readString().string
        switch text {
        case "NaN": return .nan
        case "Infinity": return .infinity
        case "-Infinity": return -.infinity
        default:
            guard let value = Double(text), value.isFinite else { throw Self.invalid("expected a number") }
            return value
        }
    }

    private mutating func enumeration(_ raw: UnsafePointer<wire_enum>) throws(VecraftError) -> Int32 {
        if try self.reader.peek() == .number { return try self.integer(Int32.self) }
        let schema = EnumSchema(raw: raw)
        let text = try self.reader.readString()
        if let number = text.withUTF8({ schema.number(of: $0) }) { return number }
        let known = schema.values.compactMap { schema.shortName(of: $0.number) }.joined(separator: ", ")
        throw Self.invalid("\"\(text.string.prefix(64))\" is none of \(known)")
    }

    private mutating func bytes(_ slot: UnsafeMutableRawPointer) throws(VecraftError) {
        let text = try self.reader.readString()
        let copy = try self.allocate(text.raw.count * 3 / 4 + 3)
        let output = UnsafeMutableRawBufferPointer(start: copy, count: text.raw.count * 3 / 4 + 3)
        guard let count = text.withUTF8({ Base64.decode($0, into: output) }) else {
            throw Self.invalid("is not base64")
        }
        slot.storeBytes(of: count, as: Int.self)
        slot.storeBytes(of: copy, toByteOffset: 8, as: UnsafeMutableRawPointer.self)
    }
}
