import Foundation
import Testing
import Yams

/// The manifests agree with each other and with the program.
@Suite struct KubernetesTests {
    private static let kinds: Set = [
        "Namespace", "Service", "StatefulSet", "Job", "PodDisruptionBudget", "ConfigMap", "NetworkPolicy",
    ]

    @Test func everyDocumentSaysWhatItIs() throws {
        let manifests = try Manifest.all()
        #expect(Set(manifests.map(\.kind)) == Self.kinds)
        #expect(Set(manifests.map { "\($0.kind) \($0.name)" }).count == manifests.count)
        let namespaces = manifests.filter { $0.kind == "Namespace" }.map(\.name)
        try #require(namespaces.count == 1)
        for manifest in manifests {
            #expect(manifest.node["apiVersion"]?.string?.isEmpty == false, "\(manifest)")
            #expect(manifest.name.wholeMatch(of: #/[a-z0-9]([-a-z0-9]*[a-z0-9])?/#) != nil, "\(manifest)")
            let namespace = manifest.node["metadata"]?["namespace"]?.string
            #expect(namespace == (manifest.kind == "Namespace" ? nil : namespaces[0]), "\(manifest)")
        }
    }

    @Test func theListHasEveryFileAndImage() throws {
        let list = try #require(
            try Deployment.documents(try Deployment.text("deploy/kubernetes/kustomization.yaml")).first)
        #expect(
            list["resources"]?.strings.sorted()
                == (try Deployment.files("deploy/kubernetes").filter { $0 != "kustomization.yaml" }))
        var images: Set<String> = []
        for workload in try Manifest.workloads() {
            for container in workload.containers {
                let parts = (container["image"]?.string ?? "").split(separator: ":")
                #expect(parts.count == 2 && parts[1] != "latest", "\(workload) takes whatever image there is")
                images.insert(parts.first.map(String.init) ?? "")
            }
        }
        #expect(Set(list["images"]?.array().compactMap { $0["name"]?.string } ?? []) == images)
    }

    @Test func selectorsMatchThePodsTheyMean() throws {
        let workloads = try Manifest.workloads()
        for workload in workloads where workload.kind == "StatefulSet" {
            let own = workload.node["spec"]?["selector"]?["matchLabels"]?.texts ?? [:]
            #expect(!own.isEmpty && self.matches(own, workload), "\(workload)")
            let affinity = workload.template?["spec"]?["affinity"]?["podAntiAffinity"]
            let terms = affinity?["requiredDuringSchedulingIgnoredDuringExecution"]?.array() ?? []
            #expect(terms.map { $0["topologyKey"]?.string } == ["kubernetes.io/hostname"], "\(workload)")
            let spread = workload.template?["spec"]?["topologySpreadConstraints"]?.array() ?? []
            for term in terms + spread {
                let labels = term["labelSelector"]?["matchLabels"]?.texts ?? [:]
                #expect(!labels.isEmpty && self.matches(labels, workload), "\(workload)")
            }
        }
        // Who selects pods selects those of one workload: a service that sends to the job as well would lose what it sends.
        for manifest in try Manifest.all("Service", "PodDisruptionBudget", "NetworkPolicy") {
            let selected = try self.selected(manifest)
            #expect(selected.count == 1 && selected.first?.kind == "StatefulSet", "\(manifest): \(selected)")
            for rule in manifest.node["spec"]?["ingress"]?.array() ?? [] {
                for source in rule["from"]?.array() ?? [] {
                    let labels = source["podSelector"]?["matchLabels"]?.texts ?? [:]
                    #expect(!labels.isEmpty && workloads.contains { self.matches(labels, $0) }, "\(manifest)")
                }
            }
        }
    }

    @Test func everySetOfPodsIsServedAndGivenUpOneAtATime() throws {
        let services = try Manifest.all("Service")
        for workload in try Manifest.all("StatefulSet") {
            let name = workload.node["spec"]?["serviceName"]?.string
            let service = try #require(services.first { $0.name == name }, "\(workload)")
            #expect(service.node["spec"]?["clusterIP"]?.string == "None", "\(service) has to give each pod a name")
            #expect(service.node["spec"]?["publishNotReadyAddresses"]?.bool == true, "\(service)")
            #expect(try self.selected(service).map(\.name) == [workload.name])
            #expect(workload.node["spec"]?["podManagementPolicy"]?.string == "Parallel", "\(workload) waits for itself")
            let budgets = try Manifest.all("PodDisruptionBudget").filter {
                try self.selected($0).map(\.name) == [workload.name]
            }
            #expect(budgets.map { $0.node["spec"]?["maxUnavailable"]?.int } == [1], "\(workload)")
            let policies = try Manifest.all("NetworkPolicy").filter {
                try self.selected($0).map(\.name) == [workload.name]
            }
            #expect(policies.count == 1, "\(workload)")
        }
    }

    @Test func portsAreThoseOfThePodsAndOfTheSettings() throws {
        let standard = try Deployment.ports()
        let node = try #require(try Manifest.all("StatefulSet").first { $0.name == "vecraft" })
        #expect(node.containerPorts == standard)
        var published: [String: Int] = [:]
        for service in try Manifest.all("Service") {
            let workload = try #require(try self.selected(service).first)
            let own = workload.containerPorts
            for port in service.node["spec"]?["ports"]?.array() ?? [] {
                let target = port["targetPort"]?.string ?? ""
                #expect(own[target] != nil, "\(service): \(workload) has no port \(target)")
                #expect(port["port"]?.int == own[target], "\(service): \(target)")
                if workload.name == "vecraft" { published[service.name + "/" + target] = port["port"]?.int }
            }
        }
        // Clients have no business at the port of the peers.
        #expect(
            published
                == [
                    "vecraft/grpc": standard["grpc"], "vecraft/http": standard["http"],
                    "vecraft-peers/peers": standard["peers"],
                ].compactMapValues { $0 })
        for policy in try Manifest.all("NetworkPolicy") {
            let workload = try #require(try self.selected(policy).first)
            let rules = policy.node["spec"]?["ingress"]?.array() ?? []
            let opened = rules.flatMap { $0["ports"]?.array().compactMap { $0["port"]?.int } ?? [] }
            #expect(opened.sorted() == workload.containerPorts.values.sorted(), "\(policy)")
        }
        let closed = try #require(try Manifest.all("NetworkPolicy").first { $0.name == "vecraft" })
        for rule in closed.node["spec"]?["ingress"]?.array() ?? []
        where rule["ports"]?.array().contains(where: { $0["port"]?.int == standard["peers"] }) == true {
            #expect(rule["from"] != nil, "anyone reaches the port of the peers")
        }
    }

    @Test func probesAndScrapesAskForPortsThatAreThere() throws {
        for workload in try Manifest.all("StatefulSet") {
            let ports = workload.containerPorts
            for container in workload.containers {
                for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                    let what = try #require(container[probe], "\(workload) has no \(probe)")
                    let port = (what["httpGet"] ?? what["tcpSocket"])?["port"]?.string ?? ""
                    #expect(ports[port] != nil, "\(workload): \(probe) asks at \(port)")
                }
            }
            let notes = workload.template?["metadata"]?["annotations"]?.texts ?? [:]
            #expect(notes["prometheus.io/scrape"] == "true" && notes["prometheus.io/path"] == "/metrics", "\(workload)")
            #expect(ports.values.contains(Int(notes["prometheus.io/port"] ?? "") ?? 0), "\(workload)")
        }
    }

    @Test func podsAreBoundedAndMayDoLittle() throws {
        for workload in try Manifest.workloads() {
            let pod = try #require(workload.template?["spec"])
            let user = pod["securityContext"]
            #expect(user?["runAsNonRoot"]?.bool == true, "\(workload)")
            #expect((user?["runAsUser"]?.int ?? 0) > 0 && (user?["runAsGroup"]?.int ?? 0) > 0, "\(workload)")
            #expect(user?["seccompProfile"]?["type"]?.string == "RuntimeDefault", "\(workload)")
            #expect(pod["automountServiceAccountToken"]?.bool == false, "\(workload)")
            #expect(!workload.containers.isEmpty, "\(workload)")
            for container in workload.containers {
                let may = container["securityContext"]
                #expect(may?["allowPrivilegeEscalation"]?.bool == false, "\(workload)")
                #expect(may?["readOnlyRootFilesystem"]?.bool == true, "\(workload)")
                #expect(may?["capabilities"]?["drop"]?.strings == ["ALL"], "\(workload)")
                let resources = container["resources"]
                #expect(
                    resources?["requests"]?["cpu"] != nil && resources?["requests"]?["memory"] != nil, "\(workload)")
                #expect(resources?["limits"]?["memory"] != nil, "\(workload)")
            }
            if workload.kind == "StatefulSet" {
                // Ten seconds are what a node promises for its orderly stop.
                #expect((pod["terminationGracePeriodSeconds"]?.int ?? 0) > 10, "\(workload)")
                #expect(user?["fsGroup"]?.int == user?["runAsGroup"]?.int, "\(workload) cannot write to its volume")
            }
        }
    }

    @Test func everythingMountedIsThere() throws {
        let configurations = try Manifest.all("ConfigMap").map(\.name)
        for workload in try Manifest.workloads() {
            let volumes = workload.template?["spec"]?["volumes"]?.array() ?? []
            let claims = workload.node["spec"]?["volumeClaimTemplates"]?.array() ?? []
            let there =
                volumes.compactMap { $0["name"]?.string } + claims.compactMap { $0["metadata"]?["name"]?.string }
            let mounts = workload.containers.flatMap { $0["volumeMounts"]?.array() ?? [] }
            #expect(Set(mounts.compactMap { $0["name"]?.string }) == Set(there), "\(workload)")
            for name in volumes.compactMap({ $0["configMap"]?["name"]?.string }) {
                #expect(configurations.contains(name), "\(workload) mounts \(name)")
            }
            guard let data = mounts.first(where: { $0["name"]?.string == "data" })?["mountPath"]?.string else {
                continue
            }
            // What a node of etcd or of ours keeps lies on the volume, and not in the container, which forgets.
            let places = workload.containers.flatMap { ContainerCommand($0).arguments }.filter {
                $0.hasPrefix("--data-dir=")
            }
            .map { String($0.dropFirst("--data-dir=".count)) }
            let kept = workload.name == "vecraft" ? try SettingsUse.dataDirectory() : places.first ?? ""
            #expect(kept.hasPrefix(data + "/"), "\(workload) keeps its data at \(kept)")
        }
    }

    @Test func addressesNameServicesAndMembersThatExist() throws {
        let services = try Manifest.all("Service")
        // "pod-0.service:port" and "service:port" wherever they stand.
        let texts =
            try Manifest.workloads().flatMap { $0.containers }.flatMap { container in
                let command = ContainerCommand(container)
                return command.arguments + command.environment.values
            } + [try SettingsUse.configuration().text]
        var seen = 0
        for text in texts {
            for match in text.matches(of: #/(?:([a-z0-9-]+)\.)?([a-z][a-z0-9-]*):([0-9]+)/#) {
                let (_, pod, name, port) = match.output
                let service = try #require(services.first { $0.name == name }, "\(match.output.0)")
                let ports = service.node["spec"]?["ports"]?.array().compactMap { $0["port"]?.int } ?? []
                #expect(ports.contains(Int(port) ?? 0), "\(match.output.0)")
                if let pod, pod != "a-word" {
                    let workload = try #require(try self.selected(service).first)
                    let members = (0..<(workload.node["spec"]?["replicas"]?.int ?? 0)).map { "\(workload.name)-\($0)" }
                    #expect(members.contains(String(pod)), "\(match.output.0)")
                }
                seen += 1
            }
        }
        #expect(seen >= 10)
    }

    private func matches(_ labels: [String: String], _ workload: Manifest) -> Bool {
        let own = workload.podLabels
        return labels.allSatisfy { own[$0.key] == $0.value }
    }

    /// Workloads whose pods a service, a budget or a policy is about.
    private func selected(_ manifest: Manifest) throws -> [Manifest] {
        let spec = manifest.node["spec"]
        let labels =
            (spec?["selector"]?["matchLabels"] ?? spec?["podSelector"]?["matchLabels"] ?? spec?["selector"])?.texts
            ?? [:]
        guard !labels.isEmpty else { return [] }
        return try Manifest.workloads().filter { self.matches(labels, $0) }
    }
}
