/// Limits on input, published and enforced. Each refusal names the field and the limit.
package enum Limits {
    package static let idBytes = 256
    package static let payloadBytes = 64 << 10
    package static let payloadDepth = 32
    package static let dimension = 16_384
    package static let namedVectors = 16
    package static let vectorNameBytes = 64
    package static let pointsPerRequest = 10_000
    package static let idsPerRequest = 10_000
    package static let searchLimit = 16_384
    package static let filterConditions = 256
    package static let filterDepth = 8
    package static let filterValues = 16_384
    package static let fieldPathBytes = 256
    package static let payloadIndexes = 64
    package static let collectionNameBytes = 64
    package static let idempotencyKeyBytes = 128
    package static let requestIDBytes = 128
    package static let scrollPageSize = 1_000
    /// A page ends before the point that would make it larger; its first point always fits. Below the 4 MiB that stock gRPC
    /// clients take unless told otherwise.
    package static let scrollPageBytes = 4_000_000
    /// One message on the wire, and so one journal entry.
    package static let messageBytes = 64 << 20
}
