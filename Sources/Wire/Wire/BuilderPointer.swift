import CWire

/// Address of a struct that is being filled, and the arena its parts go to. The generated builders write through it.
package struct BuilderPointer {
    @usableFromInline let raw: UnsafeMutableRawPointer
    @usableFromInline let arena: OpaquePointer

    @inlinable package init(_ raw: UnsafeMutableRawPointer, arena: OpaquePointer) {
        self.raw = raw
        self.arena = arena
    }

    @inlinable package func load<T: BitwiseCopyable>(_ offset: Int, as: T.Type = T.self) -> T {
        self.raw.load(fromByteOffset: offset, as: T.self)
    }
    @inlinable package func flag(_ offset: Int) -> Bool { self.load(offset, as: Int32.self) != 0 }
    @inlinable package func store<T: BitwiseCopyable>(_ value: T, _ offset: Int) {
        self.raw.storeBytes(of: value, toByteOffset: offset, as: T.self)
    }
    @inlinable package func storeFlag(_ value: Bool, _ offset: Int) { self.store(value ? 1 as Int32 : 0, offset) }
    /// Sets which member of a oneof there is.
    @inlinable package func choose(_ number: Int32, _ offset: Int) { self.store(number, offset) }

    package func copy(text: UnsafeRawBufferPointer) -> UnsafeRawPointer {
        UnsafeRawPointer(wire_copy_text(self.arena, text.baseAddress?.assumingMemoryBound(to: UInt8.self), text.count)!)
    }
    package func copy(text: String) -> UnsafeRawPointer {
        var text = text
        return text.withUTF8 { self.copy(text: UnsafeRawBufferPointer($0)) }
    }
    package func copy(bytes: UnsafeRawBufferPointer) -> UnsafeMutableRawPointer {
        let target = self.allocate(bytes.count)
        if let source = bytes.baseAddress { target.copyMemory(from: source, byteCount: bytes.count) }
        return target
    }
    package func allocate(_ count: Int) -> UnsafeMutableRawPointer { wire_arena_alloc_unlimited(self.arena, count)! }

    /// Puts an empty message into a field.
    package func make(_ schema: MessageSchema, _ offset: Int) -> BuilderPointer {
        let made = wire_new(schema.raw, self.arena)!
        self.store(made, offset)
        return BuilderPointer(made, arena: self.arena)
    }
    /// Puts `count` empty messages into a repeated field.
    package func make(
        _ schema: MessageSchema, _ count: Int, _ offset: Int, _ countOffset: Int
    ) -> UnsafePointer<UnsafeMutableRawPointer>? {
        let pointers = wire_new_array(schema.raw, self.arena, count)
        self.store(pointers, offset)
        self.store(count, countOffset)
        return UnsafeRawPointer(pointers)?.assumingMemoryBound(to: UnsafeMutableRawPointer.self)
    }
}

/// A string field to fill.
package struct TextSlot {
    @usableFromInline let base: BuilderPointer
    @usableFromInline let offset: Int
    @inlinable package init(_ base: BuilderPointer, _ offset: Int) {
        self.base = base
        self.offset = offset
    }

    /// A NUL within becomes U+FFFD: protobuf-c's strings would end there.
    package func set(_ text: String) { self.base.store(self.base.copy(text: text), self.offset) }
    /// - Parameter utf8: Valid UTF-8.
    package func set(_ utf8: UnsafeRawBufferPointer) { self.base.store(self.base.copy(text: utf8), self.offset) }
}

/// A bytes field to fill.
package struct BytesSlot {
    @usableFromInline let base: BuilderPointer
    @usableFromInline let offset: Int
    @inlinable package init(_ base: BuilderPointer, _ offset: Int) {
        self.base = base
        self.offset = offset
    }

    package func set(_ bytes: [UInt8]) { bytes.withUnsafeBytes { self.set(copying: $0) } }
    package func set(copying bytes: UnsafeRawBufferPointer) {
        self.set(borrowing: UnsafeRawBufferPointer(start: self.base.copy(bytes: bytes), count: bytes.count))
    }
    /// - Parameter bytes: Must stay valid until the message is encoded.
    @inlinable package func set(borrowing bytes: UnsafeRawBufferPointer) {
        self.base.store(bytes.count, self.offset)
        self.base.store(bytes.baseAddress, self.offset + 8)
    }
}

/// A message field to fill.
package struct MessageSlot<Builder: WireBuilder> {
    @usableFromInline let base: BuilderPointer
    @usableFromInline let offset: Int
    @inlinable package init(_ base: BuilderPointer, _ offset: Int) {
        self.base = base
        self.offset = offset
    }

    /// Puts an empty message into the field.
    @inlinable @discardableResult
    package func make() -> Builder { Builder(base: self.base.make(Builder.schema, self.offset)) }
}

/// A repeated message field to fill.
package struct RepeatedSlot<Builder: WireBuilder> {
    @usableFromInline let base: BuilderPointer
    @usableFromInline let offset: Int
    @usableFromInline let count: Int
    @inlinable package init(_ base: BuilderPointer, _ offset: Int, _ count: Int) {
        self.base = base
        self.offset = offset
        self.count = count
    }

    /// Puts `count` empty messages into the field, laid side by side.
    @inlinable @discardableResult
    package func make(_ count: Int) -> RepeatedBuilder<Builder> {
        let start = self.base.make(Builder.schema, count, self.offset, self.count)
        return RepeatedBuilder(start: start, count: count, arena: self.base.arena)
    }
    /// Drops all but the first `count` of what was made.
    @inlinable package func truncate(to count: Int) {
        precondition(count <= self.base.load(self.count, as: Int.self), "more than were made")
        self.base.store(count, self.count)
    }

    /// Takes messages that live elsewhere into the field, without copying them.
    /// - Parameter views: Must stay valid until the message is encoded.
    package func adopt(_ views: [Builder.View]) {
        let pointers = self.base.allocate(max(1, views.count) * MemoryLayout<UnsafeRawPointer>.stride)
        for (i, view) in views.enumerated() {
            pointers.storeBytes(
                of: view.base.raw, toByteOffset: i * MemoryLayout<UnsafeRawPointer>.stride, as: UnsafeRawPointer.self)
        }
        self.base.store(pointers, self.offset)
        self.base.store(views.count, self.count)
    }

    package func set<Message: WireMessage>(_ messages: [Message]) where Message.Builder == Builder {
        let made = self.make(messages.count)
        for i in messages.indices { messages[i].build(made[i]) }
    }
    /// A map's entries, by key, so that equal maps have equal bytes.
    package func set<Value>(_ map: [String: Value], _ fill: (Builder, String, Value) -> Void) {
        let made = self.make(map.count)
        for (i, (key, value)) in map.sorted(by: { $0.key < $1.key }).enumerated() { fill(made[i], key, value) }
    }
}

/// The messages of a repeated field while they are filled.
package struct RepeatedBuilder<Element: WireBuilder>: RandomAccessCollection {
    @usableFromInline let start: UnsafePointer<UnsafeMutableRawPointer>?
    package let count: Int
    @usableFromInline let arena: OpaquePointer

    @inlinable init(start: UnsafePointer<UnsafeMutableRawPointer>?, count: Int, arena: OpaquePointer) {
        self.start = start
        self.count = count
        self.arena = arena
    }
    @inlinable package var startIndex: Int { 0 }
    @inlinable package var endIndex: Int { self.count }
    @inlinable package subscript(_ index: Int) -> Element {
        precondition(index >= 0 && index < self.count, "element \(index) of \(self.count)")
        return Element(base: BuilderPointer(self.start.unsafelyUnwrapped[index], arena: self.arena))
    }
}

/// A repeated string field to fill.
package struct RepeatedTextSlot {
    @usableFromInline let base: BuilderPointer
    @usableFromInline let offset: Int
    @usableFromInline let count: Int
    @inlinable package init(_ base: BuilderPointer, _ offset: Int, _ count: Int) {
        self.base = base
        self.offset = offset
        self.count = count
    }

    package func set(_ texts: [String]) { self.make(texts.count) { self.base.copy(text: texts[$0]) } }
    package func set(_ texts: [UnsafeRawBufferPointer]) { self.make(texts.count) { self.base.copy(text: texts[$0]) } }

    private func make(_ count: Int, _ text: (Int) -> UnsafeRawPointer) {
        let pointers = self.base.allocate(count * 8)
        for i in 0..<count { pointers.storeBytes(of: text(i), toByteOffset: i * 8, as: UnsafeRawPointer.self) }
        self.base.store(pointers, self.offset)
        self.base.store(count, self.count)
    }
}

/// A repeated bytes field to fill.
package struct RepeatedBytesSlot {
    @usableFromInline let base: BuilderPointer
    @usableFromInline let offset: Int
    @usableFromInline let count: Int
    @inlinable package init(_ base: BuilderPointer, _ offset: Int, _ count: Int) {
        self.base = base
        self.offset = offset
        self.count = count
    }

    package func set(_ items: [[UInt8]]) {
        self.make(items.count) { i in
            items[i].withUnsafeBytes { UnsafeRawBufferPointer(start: self.base.copy(bytes: $0), count: $0.count) }
        }
    }
    /// - Parameter item: Gives the bytes of each element; they must stay valid until the message is encoded.
    package func set(borrowing count: Int, _ item: (Int) -> UnsafeRawBufferPointer) { self.make(count, item) }

    private func make(_ count: Int, _ item: (Int) -> UnsafeRawBufferPointer) {
        let elements = self.base.allocate(count * 16)
        for i in 0..<count {
            let bytes = item(i)
            elements.storeBytes(of: bytes.count, toByteOffset: i * 16, as: Int.self)
            elements.storeBytes(of: bytes.baseAddress, toByteOffset: i * 16 + 8, as: UnsafeRawPointer?.self)
        }
        self.base.store(elements, self.offset)
        self.base.store(count, self.count)
    }
}

/// A repeated scalar field to fill.
package struct ScalarsSlot<Scalar: BitwiseCopyable> {
    @usableFromInline let base: BuilderPointer
    @usableFromInline let offset: Int
    @usableFromInline let count: Int
    @inlinable package init(_ base: BuilderPointer, _ offset: Int, _ count: Int) {
        self.base = base
        self.offset = offset
        self.count = count
    }

    @inlinable package func set(_ scalars: [Scalar]) { scalars.withUnsafeBufferPointer { self.set(copying: $0) } }
    @inlinable package func set(copying scalars: UnsafeBufferPointer<Scalar>) {
        let copy = self.base.copy(bytes: UnsafeRawBufferPointer(scalars))
        self.base.store(copy, self.offset)
        self.base.store(scalars.count, self.count)
    }
    /// - Parameter scalars: Must stay valid until the message is encoded.
    @inlinable package func set(borrowing scalars: UnsafeBufferPointer<Scalar>) {
        self.base.store(scalars.baseAddress, self.offset)
        self.base.store(scalars.count, self.count)
    }
}
