import FileStore
import Primitives

/// Why a shard did not load.
enum LoadProblem: Error {
    case refused(VecraftError)
    /// A primary file.
    case damaged(name: String, why: String)
}

/// Brings a shard up from its directory: manifest, segments, id map; everything verified.
///
/// A damaged derived file is put aside and made again. A damaged primary one (manifest, rows, heap, vectors, deletes)
/// makes the shard begin again at offset 0: no part of the truth can be made up from the rest.
struct ShardLoader {
    let id: ShardID
    let schema: CollectionSchema
    let shape: SegmentShape
    let settings: ShardSettings
    let files: any FileStore
    let io: SegmentFiles

    var opening = ShardOpening()
    var events: [ShardEvent] = []
    private(set) var manifest: ShardManifest
    private(set) var segments: [Segment] = []
    private(set) var table = SegmentTable()
    private(set) var ids = IDMap()
    private var manifestBytes: [UInt8] = []

    init(
        id: ShardID, schema: CollectionSchema, shape: SegmentShape, settings: ShardSettings, directory: String,
        files: any FileStore
    ) {
        self.id = id
        self.schema = schema
        self.shape = shape
        self.settings = settings
        self.files = files
        self.io = SegmentFiles(files: files, directory: directory, shard: id)
        self.manifest = ShardManifest(schema: schema, shard: id.shard)
    }

    mutating func load() throws(VecraftError) {
        do throws(LoadProblem) {
            try Self.disk { () throws(FileFault) in try self.files.createDirectory(self.io.directory) }
            try self.loadManifest()
            for stored in self.manifest.segments { self.segments.append(try self.load(stored)) }
            for segment in self.segments.filter({ $0.state == .growing }).dropLast() { segment.state = .closed }
            try self.indexPoints()
        } catch {
            switch error {
            case .refused(let error): throw error
            case .damaged(let name, let why): try self.restart(name, why)
            }
        }
        if let salvage = self.manifest.salvage { self.opening.restarted = salvage.reason }
        try self.removeOrphans()
        self.opening.applied = self.manifest.applied
    }

    static func disk<R>(_ body: () throws(FileFault) -> R) throws(LoadProblem) -> R {
        do throws(FileFault) { return try body() } catch { throw .refused(error.vecraftError) }
    }

    func refusal(_ what: String, _ reason: String) -> LoadProblem {
        .refused(
            VecraftError(
                .failedPrecondition, "\(self.io.directory) cannot be opened as shard \(self.id): \(what)",
                reason: reason))
    }

    // MARK: Manifest

    private mutating func loadManifest() throws(LoadProblem) {
        let name = ShardManifest.fileName
        let path = self.io.path(name)
        guard self.files.exists(path) else {
            // A new shard writes its manifest before anything else.
            let names = try Self.disk { () throws(FileFault) in try self.files.list(self.io.directory) }
            guard !names.contains(where: ShardFile.isOurs) else { throw .damaged(name: name, why: "missing") }
            return try Self.disk { () throws(FileFault) in try self.writeManifest() }
        }
        do throws(FileFault) { self.manifestBytes = try self.files.readWhole(path) } catch {
            throw error.isDamage ? .damaged(name: name, why: "\(error)") : .refused(error.vecraftError)
        }
        let found: ShardManifest
        do throws(ShardManifest.Fault) {
            found = try self.manifestBytes.withBytes { (raw) throws(ShardManifest.Fault) in
                try ShardManifest(decoding: raw) { SegmentFiles.checksum($0) }
            }
        } catch {
            switch error {
            case .damaged(let why): throw .damaged(name: name, why: why)
            case .newer(let version):
                throw self.refusal(
                    "manifest format \(version); this release reads \(ShardManifest.version)", "NEWER_FORMAT")
            }
        }
        guard found.isOf(self.schema, shard: self.id.shard) else {
            throw self.refusal(
                "it holds shard \(found.schema.id)/\(found.shard) of \"\(found.schema.name)\", or has other vectors",
                "OTHER_SHARD")
        }
        self.opening.verifiedBytes += UInt64(self.manifestBytes.count)
        self.manifest = found
        self.manifest.schema = self.schema
    }

    private func writeManifest() throws(FileFault) {
        let encoded = self.manifest.encoded { SegmentFiles.checksum($0) }
        try AtomicFile.replace(self.io.path(ShardManifest.fileName), with: encoded, in: self.files)
    }

    // MARK: Points

    /// Fills the id map, and compares what is there with what the manifest remembers.
    private mutating func indexPoints() throws(LoadProblem) {
        var digest: UInt64 = 0
        for segment in self.segments {
            self.table.add(segment)
            let storage = segment.storage
            for row in 0..<segment.rowCount where !segment.deleted[row] {
                let id = storage.id(row)
                let hash = StableHash.of(id)
                let views = self.table.views
                guard self.ids.find(hash, { views.matches($0, id) }) == nil else {
                    throw .damaged(
                        name: ShardManifest.fileName,
                        why: "point \"\(String(decoding: id, as: UTF8.self))\" is live in two rows")
                }
                self.ids.insert(hash, Location(slot: segment.slot, row: UInt32(row)))
                digest ^= storage.rows[row].digest
            }
        }
        guard digest == self.manifest.digest, UInt64(self.ids.count) == self.manifest.points else {
            throw .damaged(
                name: ShardManifest.fileName,
                why: "\(self.ids.count) points and their digest are not the \(self.manifest.points) of the manifest")
        }
    }

    // MARK: Repair

    /// Begins again at offset 0. What was there is kept aside until the first checkpoint.
    private mutating func restart(_ name: String, _ why: String) throws(VecraftError) {
        self.segments = []
        self.table = SegmentTable()
        self.ids = IDMap()
        self.opening.rebuilding = []
        do throws(FileFault) {
            let names = try self.files.list(self.io.directory).filter(ShardFile.isOurs)
            var next = self.manifest.nextFile
            for name in names { next = max(next, (ShardFile.number(of: name) ?? 0) + 1) }
            var fresh = ShardManifest(schema: self.schema, shard: self.id.shard)
            fresh.nextFile = next
            fresh.nextSegment = self.manifest.nextSegment
            fresh.salvage = ShardManifest.Salvage(reason: "\(name): \(why)", filesBelow: next)
            self.manifest = fresh
            let quarantine = Quarantine(io: self.io)
            try self.files.removeTree(self.io.path(Quarantine.salvage))
            try self.files.createDirectory(self.io.path(Quarantine.salvage))
            if !self.manifestBytes.isEmpty {
                try quarantine.keep(ShardManifest.fileName, self.manifestBytes)
            }
            // From here on the shard is empty, whatever happens to the old files.
            try self.writeManifest()
            if name != ShardManifest.fileName { try quarantine.take(name) }
            for name in names where self.files.exists(self.io.path(name)) { try quarantine.salvage(name) }
        } catch {
            throw error.vecraftError
        }
        self.opening.quarantined.append("\(name): \(why)")
        self.events.append(.quarantined(file: name, reason: why))
        self.events.append(.restarted(reason: "\(name): \(why)"))
    }

    /// Removes what a checkpoint or merge that did not finish left behind.
    private mutating func removeOrphans() throws(VecraftError) {
        let listed = Set(self.manifest.segments.flatMap { $0.files.map(\.name) })
        do throws(FileFault) {
            for name in try self.files.list(self.io.directory) {
                if ShardFile.isOurs(name), !listed.contains(name) {
                    if let salvage = self.manifest.salvage, (ShardFile.number(of: name) ?? 0) < salvage.filesBelow {
                        try self.files.createDirectory(self.io.path(Quarantine.salvage))
                        try Quarantine(io: self.io).salvage(name)
                        continue
                    }
                } else if name != ShardManifest.fileName + AtomicFile.suffix {
                    continue
                }
                try self.files.remove(self.io.path(name))
                self.opening.orphansRemoved += 1
            }
        } catch {
            throw error.vecraftError
        }
    }
}

/// Where damaged files go.
struct Quarantine {
    static let folder = "quarantine"
    /// Inside it: the sound files of a shard that had to begin again.
    static let salvage = "quarantine/salvage"
    /// Damaged files kept for whoever wants to know why; older ones make room.
    static let limit = 16

    let io: SegmentFiles

    func take(_ name: String) throws(FileFault) {
        guard self.io.files.exists(self.io.path(name)) else { return }
        let folder = self.io.path(Self.folder)
        try self.io.files.createDirectory(folder)
        let held = try self.io.files.list(folder).filter(ShardFile.isOurs)
        for old in held.dropLast(Self.limit - 1) { try self.io.files.remove(Paths.join(folder, old)) }
        try self.io.files.rename(self.io.path(name), to: Paths.join(folder, name))
    }

    func salvage(_ name: String) throws(FileFault) {
        try self.io.files.rename(self.io.path(name), to: Paths.join(self.io.path(Self.salvage), name))
    }

    func keep(_ name: String, _ bytes: [UInt8]) throws(FileFault) {
        let file = try self.io.files.open(Paths.join(self.io.path(Self.salvage), name), .create)
        defer { file.close() }
        try file.write(bytes, at: 0)
    }
}
