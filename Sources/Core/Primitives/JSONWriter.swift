/// Writes compact JSON into one growing byte buffer; commas are its own affair.
///
///     writer.beginObject(); writer.key("id"); writer.string(id); writer.endObject()
package struct JSONWriter: Sendable {
    package private(set) var bytes: [UInt8]
    /// A value ended here, so the next one in this container follows a comma.
    private var afterValue = false

    package init(reserving capacity: Int = 256) {
        self.bytes = []
        self.bytes.reserveCapacity(capacity)
    }

    package var text: String { String(decoding: self.bytes, as: UTF8.self) }

    package mutating func removeAll(keepingCapacity: Bool = true) {
        self.bytes.removeAll(keepingCapacity: keepingCapacity)
        self.afterValue = false
    }

    package mutating func beginObject() { self.open(UInt8(ascii: "{")) }
    package mutating func endObject() { self.close(UInt8(ascii: "}")) }
    package mutating func beginArray() { self.open(UInt8(ascii: "[")) }
    package mutating func endArray() { self.close(UInt8(ascii: "]")) }

    package mutating func key(_ key: String) {
        self.string(key)
        self.bytes.append(UInt8(ascii: ":"))
        self.afterValue = false
    }

    package mutating func string(_ text: String) {
        self.separate()
        var text = text
        text.withUTF8 { self.appendQuoted(UnsafeRawBufferPointer($0)) }
    }

    /// - Parameter utf8: Valid UTF-8.
    package mutating func string(utf8: UnsafeRawBufferPointer) {
        self.separate()
        self.appendQuoted(utf8)
    }

    package mutating func integer(_ value: Int64) {
        self.separate()
        self.appendASCII(value.description)
    }
    package mutating func unsigned(_ value: UInt64) {
        self.separate()
        self.appendASCII(value.description)
    }

    /// Shortest text that reads back as the same double; null for what JSON has no number for (NaN, infinity).
    package mutating func double(_ value: Double) {
        self.separate()
        self.appendASCII(value.isFinite ? value.description : "null")
    }
    /// Shortest text that reads back as the same float.
    package mutating func float(_ value: Float) {
        self.separate()
        self.appendASCII(value.isFinite ? value.description : "null")
    }
    package mutating func floats(_ values: UnsafeBufferPointer<Float>) {
        self.beginArray()
        for value in values { self.float(value) }
        self.endArray()
    }
    package mutating func bool(_ value: Bool) {
        self.separate()
        self.appendASCII(value ? "true" : "false")
    }
    package mutating func null() {
        self.separate()
        self.appendASCII("null")
    }

    /// A value that is JSON already (a stored payload).
    package mutating func raw(_ json: UnsafeRawBufferPointer) {
        self.separate()
        self.bytes.append(contentsOf: json)
    }

    package mutating func value(_ value: JSONValue) {
        switch value {
        case .null: self.null()
        case .bool(let value): self.bool(value)
        case .integer(let value): self.integer(value)
        case .double(let value): self.double(value)
        case .string(let value): self.string(value)
        case .array(let elements):
            self.beginArray()
            for element in elements { self.value(element) }
            self.endArray()
        case .object(let members):
            self.beginObject()
            for member in members {
                self.key(member.key)
                self.value(member.value)
            }
            self.endObject()
        }
    }

    // MARK: Bytes

    private mutating func separate() {
        if self.afterValue { self.bytes.append(UInt8(ascii: ",")) }
        self.afterValue = true
    }
    private mutating func open(_ bracket: UInt8) {
        self.separate()
        self.bytes.append(bracket)
        self.afterValue = false
    }
    private mutating func close(_ bracket: UInt8) {
        self.bytes.append(bracket)
        self.afterValue = true
    }
    private mutating func appendASCII(_ text: String) { self.bytes.append(contentsOf: text.utf8) }

    private mutating func appendQuoted(_ utf8: UnsafeRawBufferPointer) {
        self.bytes.append(UInt8(ascii: "\""))
        var start = 0
        while start < utf8.count {
            // Runs that need no escape are copied whole.
            let end = JSONScanner.plainRun(utf8, from: start)
            self.bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: utf8[start..<end]))
            if end < utf8.count { self.appendEscape(utf8[end]) }
            start = end + 1
        }
        self.bytes.append(UInt8(ascii: "\""))
    }

    private mutating func appendEscape(_ byte: UInt8) {
        let short: UInt8? =
            switch byte {
            case 0x22: 0x22
            case 0x5c: 0x5c
            case 0x08: UInt8(ascii: "b")
            case 0x0c: UInt8(ascii: "f")
            case 0x0a: UInt8(ascii: "n")
            case 0x0d: UInt8(ascii: "r")
            case 0x09: UInt8(ascii: "t")
            default: nil
            }
        self.bytes.append(0x5c)
        if let short {
            self.bytes.append(short)
        } else {
            let hex = Array("0123456789abcdef".utf8)
            self.bytes.append(contentsOf: [UInt8(ascii: "u"), 0x30, 0x30, hex[Int(byte >> 4)], hex[Int(byte & 15)]])
        }
    }
}
