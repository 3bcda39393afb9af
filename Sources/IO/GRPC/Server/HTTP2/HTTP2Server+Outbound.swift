import NIOCore
import NIOHTTP2

/// What the server sends. Everything is put into one buffer, which leaves when the turn ends.
extension HTTP2Server {
    /// What every peer takes (RFC 9113, 6.5.2); larger frames save nothing worth having.
    private static let frameBytes = 16_384
    /// Data up to this is copied behind its frame's head; more is handed over as it is.
    private static let copiedBytes = 4_096
    /// From here on the buffer goes to the channel, so that its idea of what is unsent stays true.
    private static let spillBytes = 32 << 10
    /// Bytes between two flushes. More than the 64 KiB at which a channel is full, so that a flush that makes room says so.
    private static let flushBytes = 128 << 10

    // MARK: Frames

    private func writeFrameHead(_ kind: UInt8, flags: UInt8 = 0, on id: HTTP2StreamID, payloadBytes: Int) {
        let stream = UInt64(UInt32(Int32(id)))
        self.out.writeMultipleIntegers(
            UInt64(payloadBytes) << 40 | UInt64(kind) << 32 | UInt64(flags) << 24 | stream >> 8,
            UInt8(truncatingIfNeeded: stream))
        guard !self.isDirty else { return }
        self.isDirty = true
        // While reading, the end of the read flushes.
        if !self.isReading { self.flusher.add(self) }
    }

    final func writeSettings() {
        let settings: [(UInt16, Int)] = [
            (3, self.limits.streams), (6, self.limits.headerListBytes), (4, self.limits.streamWindowBytes),
            (5, self.limits.frameBytes),
        ]
        self.writeFrameHead(HTTP2RawFrame.Kind.settings, on: .rootStream, payloadBytes: settings.count * 6)
        for (name, value) in settings { self.out.writeMultipleIntegers(name, UInt32(value)) }
        // SETTINGS set the windows of streams; the connection's own only grows by WINDOW_UPDATE (RFC 9113, 6.9.2).
        let more = self.limits.connectionWindowBytes - self.receiveWindow
        guard more > 0 else { return }
        self.writeWindowUpdate(more, on: .rootStream)
        self.receiveWindow += more
    }

    final func writeSettingsAck() {
        self.writeFrameHead(HTTP2RawFrame.Kind.settings, flags: HTTP2RawFrame.Flag.ack, on: .rootStream, payloadBytes: 0)
    }

    final func writePing(_ data: UInt64, ack: Bool) {
        guard self.isActive else { return }
        self.writeFrameHead(
            HTTP2RawFrame.Kind.ping, flags: ack ? HTTP2RawFrame.Flag.ack : 0, on: .rootStream, payloadBytes: 8)
        self.out.writeInteger(data)
    }

    final func writeGoAway(last: HTTP2StreamID, code: HTTP2ErrorCode) {
        guard self.isActive else { return }
        self.writeFrameHead(HTTP2RawFrame.Kind.goAway, on: .rootStream, payloadBytes: 8)
        self.out.writeMultipleIntegers(UInt32(Int32(last)), UInt32(code.networkCode))
    }

    final func writeWindowUpdate(_ bytes: Int, on id: HTTP2StreamID) {
        self.writeFrameHead(HTTP2RawFrame.Kind.windowUpdate, on: id, payloadBytes: 4)
        self.out.writeInteger(UInt32(bytes))
    }

    final func writeReset(_ code: HTTP2ErrorCode, on id: HTTP2StreamID) {
        guard self.isActive else { return }
        self.writeFrameHead(HTTP2RawFrame.Kind.reset, on: id, payloadBytes: 4)
        self.out.writeInteger(UInt32(code.networkCode))
    }

    private func writeBlock(_ block: HeaderBlock, endStream: Bool, on id: HTTP2StreamID) {
        let end = endStream ? HTTP2RawFrame.Flag.endStream : 0
        let start = self.out.writerIndex
        self.writeFrameHead(HTTP2RawFrame.Kind.headers, flags: end | HTTP2RawFrame.Flag.endHeaders, on: id, payloadBytes: 0)
        self.encoder.write(block, into: &self.out)
        let bytes = self.out.writerIndex - start - HTTP2RawFrame.headBytes
        if bytes <= HTTP2Server.frameBytes {
            self.out.setInteger(UInt16(bytes), at: start + 1)  // of the length's three bytes, the lower two
            return
        }
        // A block that no frame holds is continued.
        guard var rest = self.out.getSlice(at: start + HTTP2RawFrame.headBytes, length: bytes) else {
            preconditionFailure("\(self.out) has fewer than \(bytes) bytes at \(start)")
        }
        self.out.moveWriterIndex(to: start)
        var kind = HTTP2RawFrame.Kind.headers
        var flags = end
        while rest.readableBytes > 0 {
            let count = min(rest.readableBytes, HTTP2Server.frameBytes)
            if count == rest.readableBytes { flags |= HTTP2RawFrame.Flag.endHeaders }
            guard var piece = rest.readSlice(length: count) else { break }
            self.writeFrameHead(kind, flags: flags, on: id, payloadBytes: count)
            self.out.writeBuffer(&piece)
            kind = HTTP2RawFrame.Kind.continuation
            flags = 0
        }
    }

    // MARK: Streams

    /// Header blocks need no room in a window, but keep their place behind the data before them.
    final func writeHeaders(_ block: HeaderBlock, endStream: Bool, on stream: HTTP2Stream) {
        guard self.isActive, self.streams[stream.id] === stream else { return }
        if !stream.unsent.isEmpty {
            stream.unsent.append(.headers(block, endStream: endStream))
            return
        }
        self.writeBlock(block, endStream: endStream, on: stream.id)
        if endStream { self.endSent(of: stream) }
    }

    /// A whole answer without data, to a request that never became a stream.
    final func answer(_ id: HTTP2StreamID, _ block: HeaderBlock, remoteEnded: Bool) {
        guard self.isActive else { return }
        self.writeBlock(block, endStream: true, on: id)
        if !remoteEnded { self.refuse(.noError, id) }
    }

    final func send(_ data: ByteBuffer, endStream: Bool, on call: WireCall, promise: EventLoopPromise<Void>?) {
        guard self.isActive, self.streams[call.id] === call else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        let count = data.readableBytes
        if call.unsent.isEmpty, count <= HTTP2Server.copiedBytes, count <= call.sendWindow, count <= self.sendWindow, self.hasRoom {
            return self.writeFrame(data, endStream: endStream, on: call, promise: promise)
        }
        call.unsent.append(endStream ? .lastData(data, promise) : .data(data, promise))
        self.wait(call)
        self.sendWaiting()
    }

    /// Ends a stream from our side, in the middle.
    final func reset(_ code: HTTP2ErrorCode, _ stream: HTTP2Stream) {
        self.writeReset(code, on: stream.id)
        self.forgive(stream.id)
        self.remove(stream)
    }

    /// Our half is out.
    private func endSent(of stream: HTTP2Stream) {
        if stream.isRemoteEnded {
            self.remove(stream)
        } else {
            // The client may go on sending what nobody reads: told to stop, now that it has its status (RFC 9113, 8.1).
            self.reset(.noError, stream)
        }
    }

    final func remove(_ stream: HTTP2Stream) {
        guard self.streams.removeValue(forKey: stream.id) != nil else { return }
        self.closed(stream)
        self.dropUnsent(stream)
    }

    /// For a stream that is over.
    final func dropUnsent(_ stream: HTTP2Stream) {
        guard !stream.unsent.isEmpty else { return }
        let unsent = stream.unsent
        stream.unsent = []
        for piece in unsent { piece.promise?.fail(ChannelError.ioOnClosedChannel) }
    }

    // MARK: What waits

    /// Whether the channel takes more data.
    private var hasRoom: Bool {
        self.unflushedBytes < HTTP2Server.flushBytes && self.context?.channel.isWritable ?? false
    }

    /// Puts a stream in line, if it has something to send and may.
    final func wait(_ stream: HTTP2Stream) {
        guard !stream.isWaiting, !stream.unsent.isEmpty, stream.sendWindow > 0 || stream.isNextEmpty else { return }
        stream.isWaiting = true
        self.waiting.append(stream)
    }

    /// Sends what waits as far as there is room, a frame of each stream in turn.
    final func sendWaiting() {
        while self.isActive, self.hasRoom, let stream = self.waiting.first {
            // Data for the connection's window alone: all others would wait for it too.
            guard self.sendWindow > 0 || stream.unsent.isEmpty || stream.isNextEmpty else { return }
            self.waiting.removeFirst()
            stream.isWaiting = false
            self.sendNext(of: stream)
            self.wait(stream)
        }
    }

    /// Sends at most one DATA frame, and the header blocks behind it.
    private func sendNext(of stream: HTTP2Stream) {
        guard let first = stream.unsent.first else { return }
        switch first {
        case .data(let data, let promise): self.sendNext(of: stream, data, endStream: false, promise)
        case .lastData(let data, let promise): self.sendNext(of: stream, data, endStream: true, promise)
        case .headers: break
        }
        while case .headers(let block, let endStream)? = stream.unsent.first {
            stream.unsent.removeFirst()
            self.writeBlock(block, endStream: endStream, on: stream.id)
            if endStream { return self.endSent(of: stream) }
        }
    }

    private func sendNext(of stream: HTTP2Stream, _ data: ByteBuffer, endStream: Bool, _ promise: EventLoopPromise<Void>?) {
        let count = min(data.readableBytes, HTTP2Server.frameBytes, stream.sendWindow, self.sendWindow)
        if count == data.readableBytes || data.readableBytes == 0 {
            stream.unsent.removeFirst()
            return self.writeFrame(data, endStream: endStream, on: stream, promise: promise)
        }
        guard count > 0 else { return }
        var rest = data
        guard let piece = rest.readSlice(length: count) else { preconditionFailure("\(data) has fewer than \(count) bytes") }
        stream.unsent[0] = endStream ? .lastData(rest, promise) : .data(rest, promise)
        self.writeFrame(piece, endStream: false, on: stream, promise: nil)
    }

    private func writeFrame(_ data: ByteBuffer, endStream: Bool, on stream: HTTP2Stream, promise: EventLoopPromise<Void>?) {
        let count = data.readableBytes
        stream.sendWindow -= count
        self.sendWindow -= count
        self.writeFrameHead(
            HTTP2RawFrame.Kind.data, flags: endStream ? HTTP2RawFrame.Flag.endStream : 0, on: stream.id, payloadBytes: count)
        if count <= HTTP2Server.copiedBytes {
            self.out.writeImmutableBuffer(data)
        } else {
            self.spill()
            self.backlogBytes += count
            self.unflushedBytes += count
            self.context?.write(self.wrapOutboundOut(data), promise: nil)
        }
        if let promise { self.outPromises.append(promise) }
        if self.out.readableBytes >= HTTP2Server.spillBytes { self.spill() }
        if endStream { self.endSent(of: stream) }
    }

    // MARK: Flushing

    /// Hands the buffer to the channel.
    private func spill() {
        guard self.out.readableBytes > 0 else { return }
        self.backlogBytes += self.out.readableBytes
        self.unflushedBytes += self.out.readableBytes
        self.context?.write(self.wrapOutboundOut(self.out), promise: nil)
        self.out.clear(minimumCapacity: 512)
    }

    final func flushOut() {
        guard let context = self.context else { return }
        self.isDirty = false
        if self.outPromises.isEmpty {
            self.spill()
        } else {
            let promises = self.outPromises
            self.outPromises = []
            let sent = context.eventLoop.makePromise(of: Void.self)
            sent.futureResult.assumeIsolated().whenComplete { result in
                for promise in promises { promise.completeWith(result) }
            }
            self.backlogBytes += self.out.readableBytes
            // Empty, it still comes behind all that was written before.
            context.write(self.wrapOutboundOut(self.out), promise: sent)
            self.out.clear(minimumCapacity: 512)
        }
        self.unflushedBytes = 0
        context.flush()
        if self.isActive, context.channel.isWritable {
            self.backlogBytes = 0
        } else if self.backlogBytes > HTTP2Limits.backlogBytes {
            self.fail(.flood("answers that nobody reads"))
        }
    }
}

extension HTTP2Stream {
    /// What waits first takes no room.
    fileprivate var isNextEmpty: Bool {
        switch self.unsent.first {
        case .data(let data, _)?, .lastData(let data, _)?: data.readableBytes == 0
        case .headers?, nil: true
        }
    }
}
