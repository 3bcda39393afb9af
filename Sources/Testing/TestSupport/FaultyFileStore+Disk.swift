internal import FileStore
internal import Glibc
internal import Primitives
internal import Synchronization

/// One file's bytes: as programs see them, and as a power loss would leave them.
final class MemoryNode: @unchecked Sendable {  // touched under the disk's lock only
    enum Change {
        case bytes([UInt8], at: Int)
        case size(Int)
    }
    var current: [UInt8] = []
    var durable: [UInt8] = []
    /// Since the last sync, in order.
    var pending: [Change] = []

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) {
        guard bytes.count > 0 else { return }
        let copy = Self.copy([bytes])
        Self.put(copy, at: position, into: &self.current)
        self.pending.append(.bytes(copy, at: position))
    }

    func resize(to size: Int) {
        Self.resize(&self.current, to: size)
        self.pending.append(.size(size))
    }

    func sync() {
        for change in self.pending {
            switch change {
            case .bytes(let bytes, let position): Self.put(bytes, at: position, into: &self.durable)
            case .size(let size): Self.resize(&self.durable, to: size)
            }
        }
        self.pending = []
    }

    /// What the power loss leaves: any sectors of any changes.
    func tear(using rng: inout SeededRNG) {
        for change in self.pending {
            switch change {
            case .size(let size):
                if Bool.random(using: &rng) { Self.resize(&self.durable, to: size) }
            case .bytes(let bytes, let position):
                let keepsAll = UInt8.random(in: 0..<4, using: &rng) == 0
                var start = position
                while start < position + bytes.count {
                    let end = min((start / 512 + 1) * 512, position + bytes.count)
                    if keepsAll || Bool.random(using: &rng) {
                        Self.put(Array(bytes[start - position..<end - position]), at: start, into: &self.durable)
                    }
                    start = end
                }
            }
        }
    }

    func settle(_ bytes: [UInt8]) {
        self.current = bytes
        self.durable = bytes
        self.pending = []
    }

    private static func put(_ bytes: [UInt8], at position: Int, into target: inout [UInt8]) {
        if target.count < position + bytes.count { self.resize(&target, to: position + bytes.count) }
        target.withUnsafeMutableBytes { UnsafeMutableRawBufferPointer(rebasing: $0[position...]).copyBytes(from: bytes) }
    }

    // Whole copies, never byte by byte: tests run unoptimised, on disks that are written and torn thousands of times.
    static func copy(_ parts: [UnsafeRawBufferPointer]) -> [UInt8] {
        let total = parts.reduce(0) { $0 + $1.count }
        return [UInt8](unsafeUninitializedCapacity: total) { buffer, count in
            let raw = UnsafeMutableRawBufferPointer(buffer)
            for part in parts where part.count > 0 {
                UnsafeMutableRawBufferPointer(rebasing: raw[count..<count + part.count]).copyMemory(from: part)
                count += part.count
            }
        }
    }

    private static func resize(_ target: inout [UInt8], to size: Int) {
        if size < target.count {
            target.removeLast(target.count - size)
        } else {
            target += [UInt8](repeating: 0, count: size - target.count)
        }
    }
}

/// All that ``FaultyFileStore`` guards with its lock.
struct MemoryDisk {
    var rng: SeededRNG
    var capacity: Int
    var names: [String: MemoryNode] = [:]
    var durableNames: [String: MemoryNode] = [:]
    var folders: Set<String> = ["/", "."]
    /// Folders whose new name is not durable yet; in order.
    var renamed: [(from: String, to: String)] = []
    var locks: Set<String> = []
    var faults: [FaultyFileStore.Fault] = []
    var callsLeft: Int?
    var calls = 0
    var isOff = false
    /// Grows with each restart; files of an earlier life are dead.
    var life = 0

    init(rng: SeededRNG, capacity: Int) {
        self.rng = rng
        self.capacity = capacity
    }

    var used: Int { self.names.values.reduce(0) { $0 + $1.current.count } }

    mutating func addDurable(_ path: String, _ bytes: [UInt8]) {
        let node = MemoryNode()
        node.settle(bytes)
        self.names[path] = node
        self.durableNames[path] = node
    }

    /// A call that changes nothing.
    mutating func check(_ operation: FileFault.Operation, _ path: String) throws(FileFault) {
        if self.isOff { throw FileFault(path: path, operation: operation, errno: EIO) }
        if let fault = self.due(operation, path) { throw FileFault(path: path, operation: operation, errno: fault.errno) }
    }

    /// A call that changes something: it may be the one at which the power goes.
    mutating func change(_ operation: FileFault.Operation, _ path: String) throws(FileFault) {
        try self.count(operation, path)
        try self.check(operation, path)
    }

    mutating func count(_ operation: FileFault.Operation, _ path: String) throws(FileFault) {
        self.calls += 1
        guard let left = self.callsLeft else { return }
        if left == 0 { self.isOff = true } else { self.callsLeft = left - 1 }
    }

    /// The injected fault that this call meets.
    mutating func due(_ operation: FileFault.Operation, _ path: String) -> FaultyFileStore.Fault? {
        for i in self.faults.indices where self.faults[i].operations.contains(operation) {
            if let suffix = self.faults[i].suffix, !path.hasSuffix(suffix) { continue }
            if self.faults[i].after > 0 {
                self.faults[i].after -= 1
            } else if self.faults[i].count > 0 {
                self.faults[i].count -= 1
                return self.faults[i]
            }
        }
        return nil
    }

    mutating func restart(_ crash: FaultyFileStore.Crash) {
        self.life += 1
        self.isOff = false
        self.callsLeft = nil
        self.faults = []
        self.locks = []
        guard crash != .process else { return }
        self.undoRenames(tearing: crash == .powerTearing)
        if crash == .powerTearing { self.tearNames() }
        self.names = self.durableNames
        // One node may have two names for a moment (a rename half done): settled once.
        var settled: Set<ObjectIdentifier> = []
        for name in self.names.keys.sorted() {
            let node = self.names[name]!
            guard settled.insert(ObjectIdentifier(node)).inserted else { continue }
            if crash == .powerTearing { node.tear(using: &self.rng) }
            node.settle(node.durable)
        }
    }

    // MARK: Folders

    /// At once for programs, durable with the names of the folder above. The target must be empty or missing, as the system wants it.
    mutating func renameFolder(_ path: String, to target: String) throws(FileFault) {
        guard self.folders.contains(path) else { throw FileFault(path: path, operation: .rename, errno: ENOENT) }
        if self.names.keys.contains(where: { $0.hasPrefix(target + "/") }) {
            throw FileFault(path: path, operation: .rename, errno: ENOTEMPTY)
        }
        try self.change(.rename, path)
        self.names = Self.moved(self.names, from: path, to: target)
        self.folders = Set(self.folders.map { Self.moved($0, from: path, to: target) ?? $0 })
        self.renamed.append((path, target))
    }

    /// What the folder's names are becomes durable, under whatever name the folder itself lasts.
    mutating func syncNames(in path: String) {
        for (from, to) in self.renamed where Paths.parent(to) == path { self.settleRename(from, to) }
        self.renamed.removeAll { Paths.parent($0.to) == path }
        func durable(_ name: String) -> String {
            self.renamed.reversed().reduce(name) { name, change in
                Self.moved(name, from: change.to, to: change.from) ?? name
            }
        }
        var found: [String: MemoryNode] = [:]
        for (name, node) in self.names where Paths.parent(name) == path { found[durable(name)] = node }
        let folder = Paths.parent(durable(path + "/x"))
        for name in self.durableNames.keys where Paths.parent(name) == folder { self.durableNames[name] = nil }
        self.durableNames.merge(found) { $1 }
    }

    private mutating func settleRename(_ from: String, _ to: String) {
        // The target was empty: what lasted under its name is gone.
        self.durableNames = self.durableNames.filter { !$0.key.hasPrefix(to + "/") }
        self.durableNames = Self.moved(self.durableNames, from: from, to: to)
    }

    private static func moved(_ name: String, from: String, to: String) -> String? {
        if name == from { return to }
        return name.hasPrefix(from + "/") ? to + name.dropFirst(from.count) : nil
    }

    private static func moved(_ names: [String: MemoryNode], from: String, to: String) -> [String: MemoryNode] {
        Dictionary(names.map { (Self.moved($0.key, from: from, to: to) ?? $0.key, $0.value) }) { $1 }
    }

    /// A power loss undoes the renames of folders that did not last; from one on that is undone, all of them.
    private mutating func undoRenames(tearing: Bool) {
        var undone = self.renamed[...]
        while tearing, let (from, to) = undone.first, Bool.random(using: &self.rng) {
            self.settleRename(from, to)
            undone.removeFirst()
        }
        for (from, to) in undone.reversed() {
            self.names = Self.moved(self.names, from: to, to: from)
            self.folders = Set(self.folders.map { Self.moved($0, from: to, to: from) ?? $0 })
        }
        self.renamed = []
    }

    private mutating func tearNames() {
        for name in Set(self.names.keys).union(self.durableNames.keys).sorted()
        where self.names[name] !== self.durableNames[name] && Bool.random(using: &self.rng) {
            self.durableNames[name] = self.names[name]
        }
    }
}

/// An open file of one life of the store.
final class FaultyFile: File {
    let path: String
    private let node: MemoryNode
    private let store: FaultyFileStore
    private let life: Int

    init(path: String, node: MemoryNode, store: FaultyFileStore, life: Int) {
        self.path = path
        self.node = node
        self.store = store
        self.life = life
    }

    private func locked<T>(
        _ operation: FileFault.Operation, _ body: (inout MemoryDisk) throws(FileFault) -> T
    ) throws(FileFault) -> T {
        try self.store.disk.withLock { (disk) throws(FileFault) in
            guard disk.life == self.life else { throw FileFault(path: self.path, operation: operation, errno: EBADF) }
            return try body(&disk)
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(FileFault) -> Int {
        try self.locked(.read) { (disk) throws(FileFault) in
            try disk.check(.read, self.path)
            let count = max(0, min(buffer.count, self.node.current.count - position))
            guard count > 0 else { return 0 }
            self.node.current.withUnsafeBytes {
                buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[position..<position + count]))
            }
            return count
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws(FileFault) {
        self.store.announce(.write, self.path)
        try self.locked(.write) { (disk) throws(FileFault) in
            try disk.count(.write, self.path)
            // The call at which the power goes may still reach the disk: tearing decides.
            if disk.isOff, disk.callsLeft == 0 {
                self.node.write(bytes, at: position)
                disk.callsLeft = nil
            }
            let fault: Int32? = disk.isOff ? EIO : nil
            if let fault { throw FileFault(path: self.path, operation: .write, errno: fault) }
            if let due = disk.due(.write, self.path) {
                if due.leavesPart { self.node.write(UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)]), at: position) }
                throw FileFault(path: self.path, operation: .write, errno: due.errno)
            }
            let growth = max(0, position + bytes.count - self.node.current.count)
            let room = disk.capacity - disk.used
            guard growth <= room else {
                let fits = max(0, bytes.count - (growth - max(0, room)))
                self.node.write(UnsafeRawBufferPointer(rebasing: bytes[..<fits]), at: position)
                throw FileFault(path: self.path, operation: .write, errno: ENOSPC)
            }
            self.node.write(bytes, at: position)
        }
    }

    func write(_ parts: UnsafeBufferPointer<UnsafeRawBufferPointer>, at position: Int) throws(FileFault) {
        try self.write(MemoryNode.copy(Array(parts)), at: position)
    }

    func sync() throws(FileFault) {
        self.store.announce(.sync, self.path)
        try self.locked(.sync) { (disk) throws(FileFault) in
            try disk.change(.sync, self.path)
            self.node.sync()
        }
    }

    func preallocate(_ bytes: Int) throws(FileFault) {
        try self.locked(.preallocate) { (disk) throws(FileFault) in
            try disk.change(.preallocate, self.path)
            let growth = bytes - self.node.current.count
            guard growth > 0 else { return }
            guard growth <= disk.capacity - disk.used else { throw FileFault(path: self.path, operation: .preallocate, errno: ENOSPC) }
            self.node.resize(to: bytes)
        }
    }

    func truncate(to bytes: Int) throws(FileFault) {
        try self.locked(.truncate) { (disk) throws(FileFault) in
            try disk.change(.truncate, self.path)
            self.node.resize(to: bytes)
        }
    }

    func size() throws(FileFault) -> Int {
        try self.locked(.size) { (disk) throws(FileFault) in
            try disk.check(.size, self.path)
            return self.node.current.count
        }
    }

    func map() throws(FileFault) -> FileMapping {
        try self.locked(.map) { (disk) throws(FileFault) in
            try disk.check(.map, self.path)
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: self.node.current.count, alignment: 64)
            copy.copyBytes(from: self.node.current)
            return FileMapping(bytes: UnsafeRawBufferPointer(copy)) { $0.deallocate() }
        }
    }

    func releaseCache() {}
    func close() {}
}
