/// Address of a decoded struct. The generated views read their fields through it; offsets are checked by the C compiler.
///
/// `@unchecked Sendable`: nobody writes the struct once it is decoded or built, and its arena outlives it by contract.
package struct MessagePointer: @unchecked Sendable {
    @usableFromInline let raw: UnsafeRawPointer

    @inlinable package init(_ raw: UnsafeRawPointer) { self.raw = raw }

    @inlinable package func load<T: BitwiseCopyable>(_ offset: Int, as: T.Type = T.self) -> T {
        self.raw.load(fromByteOffset: offset, as: T.self)
    }
    @inlinable package func flag(_ offset: Int) -> Bool { self.load(offset, as: Int32.self) != 0 }
    @inlinable package func oneofCase(_ offset: Int) -> Int32 { self.load(offset) }
    @inlinable package func text(_ offset: Int) -> TextView {
        TextView(start: self.load(offset, as: UnsafePointer<UInt8>?.self))
    }
    @inlinable package func bytes(_ offset: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: self.load(offset + 8, as: UnsafeRawPointer?.self), count: self.load(offset))
    }
    @inlinable package func message<V: WireView>(_ offset: Int) -> V? {
        guard let address = self.load(offset, as: UnsafeRawPointer?.self) else { return nil }
        return V(base: MessagePointer(address))
    }
    /// Of a oneof's member that is known to be set.
    @inlinable package func present<V: WireView>(_ offset: Int) -> V {
        V(base: MessagePointer(self.load(offset, as: UnsafeRawPointer.self)))
    }
    @inlinable package func repeated<V: WireView>(_ offset: Int, _ count: Int) -> RepeatedView<V> {
        RepeatedView(start: self.load(offset), count: self.load(count))
    }
    @inlinable package func texts(_ offset: Int, _ count: Int) -> RepeatedText {
        RepeatedText(start: self.load(offset), count: self.load(count))
    }
    @inlinable package func blobs(_ offset: Int, _ count: Int) -> RepeatedBytes {
        RepeatedBytes(start: self.load(offset), count: self.load(count))
    }
    @inlinable package func scalars<T: BitwiseCopyable>(_ offset: Int, _ count: Int) -> UnsafeBufferPointer<T> {
        UnsafeBufferPointer(start: self.load(offset, as: UnsafePointer<T>?.self), count: self.load(count))
    }
}

/// A string field in place: valid UTF-8 without NUL.
///
/// `@unchecked Sendable`: as ``MessagePointer``.
package struct TextView: @unchecked Sendable {
    @usableFromInline let start: UnsafePointer<UInt8>?

    @inlinable package init(start: UnsafePointer<UInt8>?) { self.start = start }

    @inlinable package var isEmpty: Bool { self.start == nil || self.start!.pointee == 0 }
    /// Finds the end first: ask once.
    package var bytes: UnsafeRawBufferPointer {
        guard let start = self.start else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(start: start, count: Self.length(start))
    }
    /// A copy; no allocation up to 15 bytes.
    package var string: String { String(decoding: self.bytes, as: UTF8.self) }

    package static func == (text: TextView, other: String) -> Bool { text.bytes.elementsEqual(other.utf8) }
}

/// A repeated message field in place.
///
/// `@unchecked Sendable`: as ``MessagePointer``.
package struct RepeatedView<Element: WireView>: RandomAccessCollection, @unchecked Sendable {
    @usableFromInline let start: UnsafePointer<UnsafeRawPointer>?
    package let count: Int

    @inlinable package init(start: UnsafePointer<UnsafeRawPointer>?, count: Int) {
        self.start = start
        self.count = count
    }
    @inlinable package var startIndex: Int { 0 }
    @inlinable package var endIndex: Int { self.count }
    @inlinable package subscript(_ index: Int) -> Element {
        precondition(index >= 0 && index < self.count, "element \(index) of \(self.count)")
        return Element(base: MessagePointer(self.start.unsafelyUnwrapped[index]))
    }
}

extension RepeatedView where Element: MapEntryView {
    /// The map these entries are; of equal keys the last counts.
    package func dictionary<Value>(_ value: (Element) -> Value) -> [String: Value] {
        var map = [String: Value](minimumCapacity: self.count)
        for entry in self { map[entry.key.string] = value(entry) }
        return map
    }
}

/// A repeated string field in place.
///
/// `@unchecked Sendable`: as ``MessagePointer``.
package struct RepeatedText: RandomAccessCollection, @unchecked Sendable {
    @usableFromInline let start: UnsafePointer<UnsafePointer<UInt8>?>?
    package let count: Int

    @inlinable package init(start: UnsafePointer<UnsafePointer<UInt8>?>?, count: Int) {
        self.start = start
        self.count = count
    }
    @inlinable package var startIndex: Int { 0 }
    @inlinable package var endIndex: Int { self.count }
    @inlinable package subscript(_ index: Int) -> TextView {
        precondition(index >= 0 && index < self.count, "element \(index) of \(self.count)")
        return TextView(start: self.start.unsafelyUnwrapped[index])
    }
}

/// A repeated bytes field in place.
///
/// `@unchecked Sendable`: as ``MessagePointer``.
package struct RepeatedBytes: RandomAccessCollection, @unchecked Sendable {
    @usableFromInline let start: UnsafeRawPointer?
    package let count: Int

    @inlinable package init(start: UnsafeRawPointer?, count: Int) {
        self.start = start
        self.count = count
    }
    @inlinable package var startIndex: Int { 0 }
    @inlinable package var endIndex: Int { self.count }
    @inlinable package subscript(_ index: Int) -> UnsafeRawBufferPointer {
        precondition(index >= 0 && index < self.count, "element \(index) of \(self.count)")
        return MessagePointer(self.start.unsafelyUnwrapped).bytes(index * 16)
    }
}
