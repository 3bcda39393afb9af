import DashboardSupport
import Primitives

/// What every board must keep to so that it can be imported anywhere and used beside the others.
struct BoardConventions {
    let board: Dashboard
    private(set) var findings: [String] = []

    init(_ board: Dashboard) {
        self.board = board
        self.checkHead()
        self.checkVariables()
        self.checkSources(board.json, at: "")
        for panel in board.panels { self.check(panel) }
        self.checkPlaces()
    }

    private mutating func check(_ isWell: Bool, _ finding: String) {
        if !isWell { self.findings.append(finding) }
    }

    private mutating func checkHead() {
        let json = self.board.json
        self.check(json["id"] == .null, "id is not null")
        // Grafana takes 40 characters.
        self.check(self.board.uid.wholeMatch(of: #/vecraft-[a-z]{2,30}/#) != nil, "uid '\(self.board.uid)'")
        self.check(self.board.file == self.board.uid + ".json", "the file is not named for its uid")
        self.check(json["title"]?.stringValue?.hasPrefix("Vecraft DB / ") ?? false, "title")
        self.check((json["tags"]?.arrayValue ?? []).contains("vecraft"), "the tag vecraft is missing")
        self.check((json["schemaVersion"]?.integerValue ?? 0) >= 36, "schemaVersion")
        self.check(!(json["description"]?.stringValue ?? "").isEmpty, "no description")
        let list = json["links"]?[0]
        self.check(
            list?["tags"]?.arrayValue == ["vecraft"] && list?["includeVars"] == true, "no link to the other boards")
    }

    private mutating func checkVariables() {
        let variables = self.board.variables
        let names = variables.compactMap { $0["name"]?.stringValue }
        self.check(names.prefix(4) == ["datasource", "cluster", "job", "instance"], "variables \(names)")
        self.check(Set(names).count == names.count, "a variable stands twice")
        self.check(
            variables.first?["type"] == "datasource" && variables.first?["query"] == "prometheus",
            "datasource does not choose a Prometheus")
        for (name, variable) in zip(names, variables).dropFirst() {
            self.check(variable["includeAll"] == true && variable["multi"] == true, "\(name) is without All or multi")
            // What lacks the label belongs to all, too; but of jobs only those that are ours: others have up and process_*.
            self.check(
                variable["allValue"] == (name == "job" ? .null : ".*"), "All of \(name) is not what it should be")
            self.check(variable["current"]?["value"] == ["$__all"], "\(name) does not begin with All")
            let query = variable["query"]?["query"]?.stringValue ?? ""
            self.check(
                query.wholeMatch(of: #/label_values\(.+, ([a-z]+)\)/#).map { $0.output.1 == name } ?? false,
                "\(name) asks \(query)")
        }
        let expressions = self.board.panels.flatMap(\.expressions)
        let used = Set(expressions.flatMap { $0.matches(of: #/\$([a-z]+)/#).map { String($0.output.1) } })
        self.check(used == Set(names).subtracting(["datasource"]), "chosen by \(names), asked for \(used.sorted())")
    }

    /// No data source but the one that the viewer chose, wherever one is named.
    private mutating func checkSources(_ value: JSONValue, at path: String) {
        for member in value.objectValue ?? [] {
            if member.key == "uid", path != "" {
                self.check(member.value == "${datasource}", "hard-wired uid at \(path)")
            }
            if member.key == "datasource" {
                self.check(member.value["type"] == "prometheus", "datasource at \(path) is no Prometheus by uid")
            }
            self.checkSources(member.value, at: path + "/" + member.key)
        }
        for (index, element) in (value.arrayValue ?? []).enumerated() {
            self.checkSources(element, at: "\(path)[\(index)]")
        }
    }

    private mutating func check(_ panel: Dashboard.Panel) {
        let json = panel.json
        func on(_ what: String) -> String { "panel \(panel.title): \(what)" }
        self.check(!panel.title.isEmpty, on("no title"))
        self.check((json["description"]?.stringValue ?? "").count >= 5, on("no description"))
        self.check(!(json["fieldConfig"]?["defaults"]?["unit"]?.stringValue ?? "").isEmpty, on("no unit"))
        self.check(json["datasource"]?["uid"] == "${datasource}", on("no data source"))
        let legend = json["options"]?["legend"]
        switch panel.kind {
        case "timeseries", "state-timeline": self.check(legend?["showLegend"] == true, on("no legend"))
        case "heatmap": self.check(legend?["show"] == true, on("no legend"))
        case "stat", "table": break
        default: self.check(false, on("of kind \(panel.kind)"))
        }
        self.check(!panel.targets.isEmpty, on("asks nothing"))
        let letters = panel.targets.compactMap { $0["refId"]?.stringValue }
        self.check(Set(letters).count == panel.targets.count, on("refIds \(letters)"))
        for target in panel.targets {
            self.check(target["datasource"]?["uid"] == "${datasource}", on("a query without data source"))
            let words = target["legendFormat"]?.stringValue ?? ""
            self.check(!words.isEmpty && words != "__auto", on("a query without legend"))
            self.check(target["expr"]?.stringValue ?? "", on)
        }
        let steps = json["fieldConfig"]?["defaults"]?["thresholds"]?["steps"]?.arrayValue ?? []
        let values = steps.dropFirst().compactMap { $0["value"]?.doubleValue }
        self.check(steps.first.map { $0["value"] == .null } ?? true, on("thresholds do not begin with all values"))
        self.check(values == values.sorted() && values.count == max(0, steps.count - 1), on("thresholds \(values)"))
    }

    private mutating func check(_ expression: String, _ on: (String) -> String) {
        for range in expression.matches(of: #/\[([^\]]*)\]/#)
        where !["$__rate_interval", "$__range"].contains(range.output.1) {
            self.check(false, on("[\(range.output.1)] does not fit the zoom"))
        }
        let chosen = #"{cluster=~"$cluster", job=~"$job", instance=~"$instance""#
        for selector in PromQL.selectors(in: expression) where !selector.hasPrefix("ALERTS{") {
            self.check(selector.contains(chosen), on("\(selector) is not of what was chosen"))
        }
    }

    /// On 24 columns, each panel within them and none on another.
    private mutating func checkPlaces() {
        struct Place { let id: Int64, title: String, x: Range<Int64>, y: Range<Int64> }
        let places = (self.board.json["panels"]?.arrayValue ?? []).compactMap { panel -> Place? in
            let grid = panel["gridPos"]
            guard let x = grid?["x"]?.integerValue, let y = grid?["y"]?.integerValue,
                let w = grid?["w"]?.integerValue, let h = grid?["h"]?.integerValue, w > 0, h > 0,
                let id = panel["id"]?.integerValue
            else { return nil }
            return Place(id: id, title: panel["title"]?.stringValue ?? "", x: x..<x + w, y: y..<y + h)
        }
        self.check(places.count == self.board.json["panels"]?.arrayValue?.count, "a panel without id or place")
        self.check(Set(places.map(\.id)).count == places.count, "two panels with one id")
        for (index, place) in places.enumerated() {
            self.check(place.x.lowerBound >= 0 && place.x.upperBound <= 24, "\(place.title) is beside the grid")
            for other in places[(index + 1)...] {
                self.check(
                    !(place.x.overlaps(other.x) && place.y.overlaps(other.y)), "\(place.title) lies on \(other.title)")
            }
        }
    }
}
