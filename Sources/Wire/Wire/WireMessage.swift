import CWire
package import Primitives

/// A message of Proto/ as a Swift value. Generated.
///
/// Decoding goes through the view and encoding through the builder, so both are protobuf-c's. Hot paths use those
/// two themselves and skip the copies.
package protocol WireMessage: Sendable, Equatable {
    associatedtype View: WireView
    associatedtype Builder: WireBuilder
    /// Copies everything out of the arena.
    init(_ view: View)
    /// Fills an empty message.
    func build(_ out: Builder)
    static var schema: MessageSchema { get }
}

/// A decoded message in place. Generated. Valid until its arena is reset.
package protocol WireView: Sendable {
    var base: MessagePointer { get }
    init(base: MessagePointer)
    static var schema: MessageSchema { get }
}

/// An entry of a map field.
package protocol MapEntryView: WireView {
    var key: TextView { get }
}

/// A message being made in place. Generated. Valid until its arena is reset; encode it before.
package protocol WireBuilder {
    associatedtype View: WireView
    var base: BuilderPointer { get }
    init(base: BuilderPointer)
    static var schema: MessageSchema { get }
}

extension WireView {
    /// Decodes in place.
    ///
    /// - Parameters:
    ///   - bytes: One message; may be freed when this returns.
    ///   - arena: Must outlive the view.
    /// - Throws: `INVALID_ARGUMENT` naming the field: not protobuf, text that is not UTF-8 or holds NUL, messages
    ///   nested deeper than 64. `RESOURCE_EXHAUSTED` beyond the arena's limit.
    @inlinable
    package static func decode(_ bytes: UnsafeRawBufferPointer, in arena: Arena) throws(VecraftError) -> Self {
        Self(base: try Self.schema.decode(bytes, in: arena))
    }

    /// Encodes what was decoded, unknown fields included.
    package func encode() -> [UInt8] { Encoding.bytes(self.base.raw) }
}

extension WireBuilder {
    @inlinable package init(in arena: Arena) { self.init(base: Self.schema.make(in: arena)) }

    /// What has been filled in so far, to read.
    @inlinable package var view: View { View(base: MessagePointer(UnsafeRawPointer(self.base.raw))) }

    @inlinable package var encodedSize: Int { Encoding.size(self.base.raw) }
    /// - Parameters:
    ///   - output: At least `size` bytes.
    ///   - size: What `encodedSize` said, if it was asked for and nothing was changed since.
    /// - Returns: Bytes written.
    @inlinable @discardableResult
    package func encode(into output: UnsafeMutableRawBufferPointer, size: Int? = nil) -> Int {
        Encoding.write(self.base.raw, into: output, size: size)
    }
    package func encode() -> [UInt8] { Encoding.bytes(self.base.raw) }
}

extension WireMessage {
    /// - Throws: As ``WireView/decode(_:in:)``.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws(VecraftError) -> Self {
        try ArenaPool.shared.withArena { arena throws(VecraftError) in Self(try View.decode(bytes, in: arena)) }
    }
    package static func decode(_ bytes: [UInt8]) throws(VecraftError) -> Self {
        let outcome = bytes.withUnsafeBytes { raw in
            Result { () throws(VecraftError) in try Self.decode(raw) }
        }
        return try outcome.get()
    }

    /// The message as structs in an arena, to encode or to write as JSON.
    package func built(in arena: Arena) -> Builder {
        let builder = Builder(in: arena)
        self.build(builder)
        return builder
    }

    package func encode() -> [UInt8] { ArenaPool.shared.withArena { self.built(in: $0).encode() } }
    /// Costs a build; with ``encode(into:)`` after it, two. Use ``built(in:)`` to have but one.
    package var encodedSize: Int { ArenaPool.shared.withArena { self.built(in: $0).encodedSize } }
    @discardableResult
    package func encode(into output: UnsafeMutableRawBufferPointer) -> Int {
        ArenaPool.shared.withArena { self.built(in: $0).encode(into: output) }
    }
}

extension MessageSchema {
    /// ``WireView/decode(_:in:)`` where the type is known at run time only.
    package func decode(_ bytes: UnsafeRawBufferPointer, in arena: Arena) throws(VecraftError) -> MessagePointer {
        var fault = wire_fault()
        let start = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        guard let decoded = wire_decode(self.raw, arena.handle, start, bytes.count, &fault) else {
            throw fault.error(in: self)
        }
        return MessagePointer(decoded)
    }

    /// An empty message.
    package func make(in arena: Arena) -> BuilderPointer {
        BuilderPointer(wire_new(self.raw, arena.handle)!, arena: arena.handle)
    }
}

@usableFromInline
enum Encoding {
    @usableFromInline static func size(_ message: UnsafeRawPointer) -> Int { wire_encoded_size(message) }

    @usableFromInline static func write(
        _ message: UnsafeRawPointer, into output: UnsafeMutableRawBufferPointer, size: Int?
    ) -> Int {
        let size = size ?? wire_encoded_size(message)
        precondition(size <= output.count, "a message of \(size) bytes into \(output.count)")
        guard size > 0, let start = output.baseAddress else { return 0 }
        let written = wire_encode(message, start.assumingMemoryBound(to: UInt8.self))
        precondition(written == size, "a message of \(size) bytes became \(written): it was changed while encoding")
        return written
    }

    static func bytes(_ message: UnsafeRawPointer) -> [UInt8] {
        let size = wire_encoded_size(message)
        return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            count = Self.write(message, into: UnsafeMutableRawBufferPointer(buffer), size: size)
        }
    }
}

extension TextView {
    static func length(_ start: UnsafePointer<UInt8>) -> Int {
        UnsafeRawPointer(start).withMemoryRebound(to: CChar.self, capacity: 1) { wire_text_length($0) }
    }
}

extension wire_fault {
    func error(in message: MessageSchema) -> VecraftError {
        let path = withUnsafeBytes(of: self.path) { raw in
            String(decoding: raw[Int(self.start)..<(raw.count - 1)], as: UTF8.self)
        }
        let field = path.isEmpty ? message.name : path
        let what =
            switch self.code {
            case WIRE_WRONG_TYPE: "has the wire type of another kind of field"
            case WIRE_NOT_UTF8: "is not valid UTF-8"
            case WIRE_HAS_NUL: "holds a NUL character"
            case WIRE_TOO_DEEP: "is nested deeper than \(WIRE_MAX_DEPTH) messages"
            case WIRE_REPEATED_MESSAGE: "stands twice; a message field may stand once"
            case WIRE_EXHAUSTED: "takes more memory than one request may"
            default: "is truncated or not a \(message.name)"
            }
        if self.code == WIRE_EXHAUSTED { return VecraftError(.resourceExhausted, "\(field) \(what)", field: path) }
        var error = VecraftError.invalid(field, what)
        error.field = path.isEmpty ? nil : path
        return error
    }
}
