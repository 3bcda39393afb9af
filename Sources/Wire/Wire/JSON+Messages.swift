package import Primitives

// JSON of messages: the proto3 mapping with the shapes that the header comment of Proto/vecraft/v1/types.proto states.

extension WireView {
    /// Reads JSON into an arena.
    ///
    /// Both spellings of a field's name are understood; `null` means absent; 64-bit integers may be numbers or strings;
    /// bytes are base64 of either alphabet; enum values go by number, full name or short form.
    ///
    /// - Parameters:
    ///   - json: One message; may be freed when this returns.
    ///   - arena: Must outlive the view.
    /// - Throws: `INVALID_ARGUMENT` naming the field ("points[3].id"): not JSON (reason `INVALID_JSON`), a field that is
    ///   unknown or stands twice, a value of another kind or out of range. `RESOURCE_EXHAUSTED` beyond the arena's limit.
    package static func decode(json: UnsafeRawBufferPointer, in arena: Arena) throws(VecraftError) -> Self {
        var decoding = JSONDecoding(json, arena: arena.handle)
        return Self(base: MessagePointer(try decoding.document(Self.schema.raw)))
    }

    /// - Parameter includingDefaults: Also fields that hold their type's default (0, "", []); absent messages never.
    package func json(includingDefaults: Bool = false) -> [UInt8] {
        var writer = JSONWriter()
        self.write(to: &writer, includingDefaults: includingDefaults)
        return writer.bytes
    }

    /// The same, unless it would be longer than `limit`: nil then, and the rest was not written.
    package func json(includingDefaults: Bool = false, upTo limit: Int) -> [UInt8]? {
        var writer = JSONWriter()
        JSONEncoding(includingDefaults: includingDefaults, limit: limit).message(self.base.raw, Self.schema.raw, &writer)
        return writer.bytes.count <= limit ? writer.bytes : nil
    }

    /// Writes the message as the next value.
    package func write(to writer: inout JSONWriter, includingDefaults: Bool = false) {
        JSONEncoding(includingDefaults: includingDefaults).message(self.base.raw, Self.schema.raw, &writer)
    }
}

extension WireMessage {
    /// - Throws: As ``WireView/decode(json:in:)``.
    package init(json: UnsafeRawBufferPointer) throws(VecraftError) {
        self = try ArenaPool.shared.withArena { arena throws(VecraftError) in
            Self(try View.decode(json: json, in: arena))
        }
    }
    package init(json: [UInt8]) throws(VecraftError) {
        let outcome = json.withUnsafeBytes { raw in
            Result { () throws(VecraftError) in try Self(json: raw) }
        }
        self = try outcome.get()
    }
    package init(json: String) throws(VecraftError) { try self.init(json: Array(json.utf8)) }

    package func json(includingDefaults: Bool = false) -> [UInt8] {
        ArenaPool.shared.withArena { arena in
            View(base: MessagePointer(self.built(in: arena).base.raw)).json(includingDefaults: includingDefaults)
        }
    }
}
