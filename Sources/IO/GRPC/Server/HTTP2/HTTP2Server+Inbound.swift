import NIOCore
import NIOHTTP2

/// What a client sends. The section numbers are those of RFC 9113.
extension HTTP2Server {
    final func take(_ frame: HTTP2RawFrame) throws(HTTP2Fault) {
        if self.openBlock != nil, frame.kind != HTTP2RawFrame.Kind.continuation {
            throw .broken("a header block was interrupted")  // 6.10
        }
        switch frame.kind {
        case HTTP2RawFrame.Kind.data where self.hasSettings: try self.takeData(frame)
        case HTTP2RawFrame.Kind.headers where self.hasSettings: try self.takeHeaders(frame)
        case HTTP2RawFrame.Kind.continuation where self.hasSettings: try self.takeContinuation(frame)
        case HTTP2RawFrame.Kind.windowUpdate where self.hasSettings: try self.takeWindowUpdate(frame)
        case HTTP2RawFrame.Kind.reset where self.hasSettings: try self.takeReset(frame)
        case HTTP2RawFrame.Kind.settings: try self.takeSettings(frame)
        default: try self.takeControl(frame)
        }
    }

    // MARK: DATA (6.1)

    private func takeData(_ frame: HTTP2RawFrame) throws(HTTP2Fault) {
        guard frame.stream != .rootStream else { throw .broken("DATA on stream 0") }
        var frame = frame
        let windowBytes = frame.payload.readableBytes
        try self.takeRoom(windowBytes)
        try frame.unpad()
        let isLast = frame.has(HTTP2RawFrame.Flag.endStream)
        if frame.payload.readableBytes > 0 || isLast {
            self.emptyDataFrames = 0
        } else {
            self.emptyDataFrames += 1
            guard self.emptyDataFrames <= HTTP2Limits.emptyDataFrames else { throw .flood("empty DATA frames") }
        }
        guard let stream = self.streams[frame.stream] else { return try self.takeForClosed(frame.stream) }
        guard !stream.isRemoteEnded else { return try self.streamError(.streamClosed, on: stream) }
        stream.receiveWindow -= windowBytes
        guard stream.receiveWindow >= 0 else { return try self.streamError(.flowControlError, on: stream) }
        stream.isRemoteEnded = isLast
        self.received(data: frame.payload, windowBytes: windowBytes, isLast: isLast, on: stream)
    }

    /// The connection's window is given back as data arrives; what a call may hold is bounded by its stream's window and by the
    /// loop's budget.
    private func takeRoom(_ bytes: Int) throws(HTTP2Fault) {
        self.receiveWindow -= bytes
        guard self.receiveWindow >= 0 else {
            throw HTTP2Fault(code: .flowControlError, what: "more data than the connection's window")
        }
        let full = self.limits.connectionWindowBytes
        guard self.receiveWindow < full / 2 else { return }
        self.writeWindowUpdate(full - self.receiveWindow, on: .rootStream)
        self.receiveWindow = full
    }

    /// A frame that only an open stream may get (5.1).
    private func takeForClosed(_ id: HTTP2StreamID) throws(HTTP2Fault) {
        guard self.hasBegun(id) else { throw .broken("a frame of stream \(Int(id)), which never began") }
        if self.forgiven.contains(id) { return }
        try self.countStreamError()
        self.writeReset(.streamClosed, on: id)
    }

    private func hasBegun(_ id: HTTP2StreamID) -> Bool { id.isClientInitiated && id <= self.lastStreamID }

    // MARK: HEADERS and CONTINUATION (6.2, 6.10)

    private func takeHeaders(_ frame: HTTP2RawFrame) throws(HTTP2Fault) {
        guard frame.stream.isClientInitiated else { throw .broken("HEADERS on stream \(Int(frame.stream))") }
        var frame = frame
        try frame.unpad()
        if frame.has(HTTP2RawFrame.Flag.priority) {
            guard frame.payload.readableBytes >= 5 else { throw .badSize("HEADERS without their priority") }
            frame.payload.moveReaderIndex(forwardBy: 5)
        }
        let endStream = frame.has(HTTP2RawFrame.Flag.endStream)
        guard frame.has(HTTP2RawFrame.Flag.endHeaders) else {
            self.openBlock = OpenBlock(stream: frame.stream, endStream: endStream, bytes: frame.payload)
            return
        }
        try self.takeBlock(frame.payload, endStream: endStream, on: frame.stream)
    }

    private func takeContinuation(_ frame: HTTP2RawFrame) throws(HTTP2Fault) {
        guard var block = self.openBlock.take(), block.stream == frame.stream else {
            throw .broken("CONTINUATION of no header block")
        }
        block.frames += 1
        // Coded, a list is hardly longer than the limit on what it decodes to.
        guard block.frames <= HTTP2Limits.continuations,
            block.bytes.readableBytes + frame.payload.readableBytes <= 2 * self.limits.headerListBytes
        else { throw .flood("a header block without end") }
        block.bytes.writeImmutableBuffer(frame.payload)
        if frame.has(HTTP2RawFrame.Flag.endHeaders) {
            try self.takeBlock(block.bytes, endStream: block.endStream, on: block.stream)
        } else {
            self.openBlock = block
        }
    }

    private func takeBlock(_ bytes: ByteBuffer, endStream: Bool, on id: HTTP2StreamID) throws(HTTP2Fault) {
        // Decoded whatever becomes of it: the table that both ends keep must stay the same.
        let block = try self.decoder.decode(bytes)
        self.emptyDataFrames = 0
        if let stream = self.streams[id] {
            guard !stream.isRemoteEnded else { return try self.streamError(.streamClosed, on: stream) }
            // Trailers, and they are the end (8.1).
            guard endStream else { return try self.streamError(.protocolError, on: stream) }
            stream.isRemoteEnded = true
            return self.receivedEnd(of: stream)
        }
        guard !self.hasBegun(id) else { return try self.takeForClosed(id) }
        self.lastStreamID = id
        guard self.streams.count < self.limits.streams else {
            try self.countStreamError()
            return self.refuse(.refusedStream, id)
        }
        try self.received(block, endStream: endStream, on: id)
    }

    // MARK: Streams

    /// Takes a request that the subclass was just told of.
    final func open(_ stream: HTTP2Stream, endStream: Bool) {
        stream.isRemoteEnded = endStream
        stream.sendWindow = self.initialSendWindow
        stream.receiveWindow = self.limits.streamWindowBytes
        self.streams[stream.id] = stream
    }

    /// Resets a request that was not taken.
    final func refuse(_ code: HTTP2ErrorCode, _ id: HTTP2StreamID) {
        self.writeReset(code, on: id)
        self.forgive(id)
    }

    /// Counts what only a broken client does.
    final func countStreamError() throws(HTTP2Fault) {
        if self.streamErrors.isExceeded() { throw .flood("too many malformed requests") }
    }

    private func streamError(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) throws(HTTP2Fault) {
        try self.countStreamError()
        self.reset(code, stream)
    }

    final func forgive(_ id: HTTP2StreamID) {
        guard self.forgiven.insert(id).inserted else { return }
        self.forgivenOrder.append(id)
        // One round trip's worth of them.
        if self.forgivenOrder.count > self.limits.streams { self.forgiven.remove(self.forgivenOrder.removeFirst()) }
    }

    // MARK: RST_STREAM and WINDOW_UPDATE (6.4, 6.9)

    private func takeReset(_ frame: HTTP2RawFrame) throws(HTTP2Fault) {
        guard frame.payload.readableBytes == 4 else { throw .badSize("RST_STREAM") }
        guard self.hasBegun(frame.stream) else { throw .broken("RST_STREAM of a stream that never began") }
        if self.resets.isExceeded() { throw .flood("too many resets") }
        if let stream = self.streams[frame.stream] { self.remove(stream) }
    }

    private func takeWindowUpdate(_ frame: HTTP2RawFrame) throws(HTTP2Fault) {
        guard frame.payload.readableBytes == 4, let word = frame.payload.getInteger(at: frame.payload.readerIndex, as: UInt32.self)
        else { throw .badSize("WINDOW_UPDATE") }
        let more = Int(word & 0x7fff_ffff)
        if frame.stream == .rootStream {
            guard more > 0 else { throw .broken("a WINDOW_UPDATE of nothing") }
            self.sendWindow += more
            guard self.sendWindow <= Int(Int32.max) else { throw HTTP2Fault(code: .flowControlError, what: "the window overflows") }
        } else {
            guard let stream = self.streams[frame.stream] else {
                guard self.hasBegun(frame.stream) else { throw .broken("WINDOW_UPDATE of a stream that never began") }
                return
            }
            guard more > 0 else { return try self.streamError(.protocolError, on: stream) }
            stream.sendWindow += more
            guard stream.sendWindow <= Int(Int32.max) else { return try self.streamError(.flowControlError, on: stream) }
            self.wait(stream)
        }
        self.sendWaiting()
    }

    // MARK: SETTINGS (6.5)

    private func takeSettings(_ frame: HTTP2RawFrame) throws(HTTP2Fault) {
        guard frame.stream == .rootStream else { throw .broken("SETTINGS on a stream") }
        try self.countControlFrame()
        var payload = frame.payload
        if frame.has(HTTP2RawFrame.Flag.ack) {
            guard self.hasSettings else { throw .broken("an answer before the client's SETTINGS") }
            guard payload.readableBytes == 0 else { throw .badSize("an answer to SETTINGS") }
            return
        }
        guard payload.readableBytes % 6 == 0 else { throw .badSize("SETTINGS") }
        while let (name, value) = payload.readMultipleIntegers(as: (UInt16, UInt32).self) {
            try self.takeSetting(name, Int(value))
        }
        self.hasSettings = true
        self.writeSettingsAck()
        self.sendWaiting()
        self.receivedSettings()
    }

    private func takeSetting(_ name: UInt16, _ value: Int) throws(HTTP2Fault) {
        switch name {
        case 1: self.encoder.limitTable(bytes: value)
        case 2: guard value <= 1 else { throw .broken("ENABLE_PUSH") }
        case 4:
            guard value <= Int(Int32.max) else { throw HTTP2Fault(code: .flowControlError, what: "INITIAL_WINDOW_SIZE") }
            let more = value - self.initialSendWindow
            self.initialSendWindow = value
            for stream in self.streams.values {
                stream.sendWindow += more
                guard stream.sendWindow <= Int(Int32.max) else {
                    throw HTTP2Fault(code: .flowControlError, what: "the window overflows")
                }
                self.wait(stream)
            }
        case 5: guard (16_384..<1 << 24).contains(value) else { throw .broken("MAX_FRAME_SIZE") }
        // No push; the frames we send are never larger than every peer takes; header lists are bounded by GRPCMetadata.
        default: break
        }
    }

    // MARK: The rest

    private func countControlFrame() throws(HTTP2Fault) {
        if self.controlFrames.isExceeded() { throw .flood("too many control frames") }
    }

    private func takeControl(_ frame: HTTP2RawFrame) throws(HTTP2Fault) {
        guard self.hasSettings else { throw .broken("the first frame is not SETTINGS") }  // 3.4
        try self.countControlFrame()
        switch frame.kind {
        case HTTP2RawFrame.Kind.ping:
            guard frame.stream == .rootStream else { throw .broken("PING on a stream") }
            guard frame.payload.readableBytes == 8,
                let data = frame.payload.getInteger(at: frame.payload.readerIndex, as: UInt64.self)
            else { throw .badSize("PING") }
            if frame.has(HTTP2RawFrame.Flag.ack) { self.receivedPingAck(data) } else { self.writePing(data, ack: true) }
        case HTTP2RawFrame.Kind.priority:
            guard frame.stream != .rootStream else { throw .broken("PRIORITY on stream 0") }
            guard frame.payload.readableBytes == 5 else { throw .badSize("PRIORITY") }
        case HTTP2RawFrame.Kind.goAway:
            guard frame.stream == .rootStream else { throw .broken("GOAWAY on a stream") }
            guard frame.payload.readableBytes >= 8 else { throw .badSize("GOAWAY") }
        case HTTP2RawFrame.Kind.pushPromise: throw .broken("a client pushes")  // 8.4
        // Unknown kinds are ignored (4.1).
        default: break
        }
    }
}
