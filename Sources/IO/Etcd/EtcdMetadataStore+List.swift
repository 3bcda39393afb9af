package import Metadata
package import Primitives
import Wire

/// Listings, in pages of one revision.
extension EtcdMetadataStore {
    package func list(prefix: String) async throws(VecraftError) -> MetadataListing {
        // What a page is asked for may have been compacted away meanwhile: from the beginning, at a newer revision.
        for _ in 0..<4 {
            do throws(VecraftError) {
                return try await self.pages(prefix)
            } catch {
                guard error.reason == "COMPACTED" else { throw error }
            }
        }
        throw VecraftError(
            .unavailable, "etcd forgets revisions faster than they can be listed", retryAfter: .seconds(1))
    }

    private func pages(_ prefix: String) async throws(VecraftError) -> MetadataListing {
        let (from, end) = self.keys.range(prefix)
        var request = EtcdV3.RangeRequest(key: from, rangeEnd: end, limit: 256)
        var entries: [MetadataEntry] = []
        var bytes = 0
        while true {
            let page: EtcdV3.RangeResponse
            do throws(VecraftError) {
                page = try await self.client.call(EtcdV3.KV.range, request, .harmless).response
            } catch {
                guard error.reason == "MESSAGE_TOO_LARGE", request.limit > Self.smallPageKeys else { throw error }
                request.limit = Int64(Self.smallPageKeys)
                continue
            }
            var pageBytes = 0
            for pair in page.kvs {
                entries.append(try self.keys.entry(pair))
                pageBytes += pair.key.count + pair.value.count
            }
            bytes += pageBytes
            guard bytes <= MetadataLimits.listingBytes else { throw MetadataLimits.listingTooLarge(prefix) }
            if request.revision == 0 { request.revision = page.header?.revision ?? 0 }
            guard page.more, let last = page.kvs.last else {
                return MetadataListing(revision: Revision(clamping: request.revision), entries: entries)
            }
            // The least key behind the last.
            request.key = last.key + [0]
            let size = max(1, pageBytes / page.kvs.count)
            request.limit = Int64(min(max(Self.pageBytes / size, Self.smallPageKeys), Self.pageKeys))
        }
    }
}
