import NIOCore
import NIOHPACK
import Primitives

/// The header blocks of a gRPC reply. Those that never vary are built once and shared.
enum HeaderBlocks {
    static let head: HPACKHeaders = [":status": "200", "content-type": "application/grpc"]
    static let gzipHead: HPACKHeaders = [":status": "200", "content-type": "application/grpc", "grpc-encoding": "gzip"]
    static let ok: HPACKHeaders = ["grpc-status": "0"]
    static let unsupportedMediaType: HPACKHeaders = [":status": "415"]
    static let methodNotAllowed: HPACKHeaders = [":status": "405", "allow": "POST"]
    static let acceptEncoding = "identity,gzip"

    static func head(gzip: Bool, initial: GRPCMetadata) -> HeaderBlock {
        guard gzip || !initial.isEmpty else { return .head }
        var block = gzip ? self.gzipHead : self.head
        initial.append(to: &block)
        return .fields(block)
    }

    static func ok(trailers: GRPCMetadata) -> HeaderBlock {
        guard !trailers.isEmpty else { return .ok }
        var block = self.ok
        trailers.append(to: &block)
        return .fields(block)
    }

    /// - Parameter trailersOnly: Nothing was sent before: the status carries the HTTP headers too.
    static func failure(
        _ error: VecraftError, trailers: GRPCMetadata, trailersOnly: Bool,
        details: (@Sendable (VecraftError) -> [UInt8]?)?
    ) -> HPACKHeaders {
        var block = trailersOnly ? self.head : HPACKHeaders()
        // A failure must not look like success, whatever was thrown.
        let code = error.code == .ok ? VecraftError.Code.unknown : error.code
        block.add(name: "grpc-status", value: String(code.rawValue))
        block.add(name: "grpc-message", value: WireText.percentEncode(self.shortened(error.message)), indexing: .neverIndexed)
        if let retryAfter = error.retryAfter {
            block.add(name: "retry-after", value: String(self.wholeSeconds(retryAfter)))
        }
        if let bytes = details?(error), bytes.count <= self.detailsBytes {
            block.add(name: "grpc-status-details-bin", value: Base64.encode(bytes), indexing: .neverIndexed)
        }
        trailers.append(to: &block)
        return block
    }

    /// Clients refuse header lists over 8 KiB, and then the status is lost: details take at most half of that in base64,
    /// the message three eighths when every byte must be escaped.
    private static let detailsBytes = 3 << 10
    private static let messageBytes = 1 << 10

    private static func shortened(_ message: String) -> String {
        guard message.utf8.count > self.messageBytes else { return message }
        return String(decoding: message.utf8.prefix(self.messageBytes), as: UTF8.self) + "..."
    }

    /// Rounded up: a client told 0 comes back at once.
    private static func wholeSeconds(_ duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        return max(1, attoseconds > 0 ? seconds + 1 : seconds)
    }
}
