import NIOHTTP2
import Primitives

/// What a server's way of ending a call means. Sources: gRPC over HTTP/2 ("Errors"), gRPC's HTTP status mapping.
enum StatusText {
    /// nil for status OK.
    static func error(
        trailers: GRPCMetadata, details: (@Sendable ([UInt8], inout VecraftError) -> Void)?
    ) -> VecraftError? {
        guard let status = trailers["grpc-status"] else {
            return VecraftError(.internalError, "the server ended the call without a status")
        }
        let code = Int(status).flatMap { VecraftError.Code(rawValue: $0) } ?? .unknown
        if code == .ok { return nil }
        var error = VecraftError(code, WireText.percentDecode(trailers["grpc-message"] ?? ""))
        if let seconds = trailers["retry-after"].flatMap({ Int64($0) }), (0...86_400).contains(seconds) {
            error.retryAfter = .seconds(seconds)
        }
        if let details, let bytes = trailers.binary("grpc-status-details-bin") { details(bytes, &error) }
        return error
    }

    static func error(httpStatus: String) -> VecraftError {
        let code: VecraftError.Code =
            switch httpStatus {
            case "400": .internalError
            case "401": .unauthenticated
            case "403": .permissionDenied
            case "404": .unimplemented
            case "429", "502", "503", "504": .unavailable
            default: .unknown
            }
        return VecraftError(code, "the server answered with HTTP status \(httpStatus)")
    }

    static func error(reset reason: HTTP2ErrorCode?) -> VecraftError {
        guard let reason else { return VecraftError(.internalError, "the server ended the call without a status") }
        switch reason {
        case .refusedStream: return VecraftError(.unavailable, "the server refused the call")
        case .cancel: return VecraftError(.cancelled, "the server cancelled the call")
        case .enhanceYourCalm: return VecraftError(.resourceExhausted, "the server asks for calm")
        case .inadequateSecurity: return VecraftError(.permissionDenied, "the server demands better security")
        default: return VecraftError(.internalError, "the server reset the call: \(reason)")
        }
    }
}
