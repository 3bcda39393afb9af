import Testing

/// All tests with several nodes, one after another: each keeps a small machine busy alone, and several at once would test its patience.
@Suite("Real clusters", .serialized) enum RealClusters {}
