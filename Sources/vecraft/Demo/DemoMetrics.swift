/// A few lines of a metrics page that say something to a reader who has never seen one.
enum DemoMetrics {
    /// Beginnings of series, in the order shown; the first line of each that is not zero is taken.
    private static let wanted = [
        "vecraft_storage_points", "vecraft_query_searches_total",
        "vecraft_query_distances_total",
        "vecraft_journal_entries_total", "vecraft_journal_fsync_duration_seconds_count",
        "vecraft_storage_replay_lag_entries", "process_resident_memory_bytes",
    ]

    static func choose(_ page: String) -> [String] {
        let lines = page.split(separator: "\n").filter { !$0.hasPrefix("#") }
        return Self.wanted.compactMap { name in
            let series = lines.filter { $0.hasPrefix(name) && [" ", "{"].contains($0.dropFirst(name.count).first) }
            return (series.first { !$0.hasSuffix(" 0") } ?? series.first).map(String.init)
        }
    }
}
