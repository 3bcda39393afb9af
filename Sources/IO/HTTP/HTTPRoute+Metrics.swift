import NIOCore
package import Observability

extension HTTPRoute {
    /// `GET /metrics`: the registry's page in the format the scraper asks for.
    package static func metrics(_ registry: MetricsRegistry) -> HTTPRoute {
        HTTPRoute(.get, "/metrics") { call in
            let format = ExpositionFormat(accept: call.header("accept"))
            return HTTPReply(contentType: format.contentType, body: ByteBuffer(bytes: registry.page(format)))
        }
    }
}
