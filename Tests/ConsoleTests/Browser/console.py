"""What the console shows, as one JSON document on standard output; a test judges it.

    console.py node URL PID        the views of a node alone that has the sample data in "packages"; last the process PID is killed
    console.py cluster URL PID     the map of a cluster before and after the process PID is killed
"""

import json
import os
import pathlib
import shutil
import signal
import sys
import time

from browser import Browser, Trouble

FOLDER = pathlib.Path(__file__).parent
PROGRAMS = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]

TEXTS = "(selector) => [...document.querySelectorAll(selector)].map((each) => each.innerText.trim())"
# A table as rows of what each cell says; a screen reader's words count.
ROWS = "(selector) => [...document.querySelectorAll(selector + ' tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"
PAIRS = "(selector) => Object.fromEntries([...document.querySelectorAll(selector + ' > div')].map((each) => [each.children[0].innerText, each.children[1].innerText]))"

# Contrast of every text that can be seen with what is behind it (WCAG 2.2, 1.4.3).
CONTRAST = """(() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
  const over = (top, under) => ({ r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a), b: top.b * top.a + under.b * (1 - top.a), a: 1 });
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.a > 0) layers.push(colour);
      if (colour.a === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [high, low] = [light(a), light(b)].sort((x, y) => y - x); return (high + 0.05) / (low + 0.05); };
  const hidden = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const style = getComputedStyle(each);
      if (style.display === "none" || style.visibility === "hidden" || style.clipPath !== "none") return true;
    }
    return false;
  };
  const found = [], poor = [];
  const judge = (element, colour, text) => {
    const value = ratio(over(parse(colour), behind(element)), behind(element));
    found.push(value);
    if (value < 4.5) poor.push(`${value.toFixed(2)} ${element.tagName.toLowerCase()}.${element.className?.baseVal ?? element.className}: ${text.slice(0, 40)}`);
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.data.trim(), element = walk.currentNode.parentElement;
    if (!text || hidden(element) || ["SCRIPT", "NOSCRIPT", "OPTION", "TITLE"].includes(element.tagName.toUpperCase())) continue;
    const style = getComputedStyle(element);
    judge(element, element instanceof SVGElement ? style.fill : style.color, text);
  }
  for (const element of document.querySelectorAll("body *")) {
    const before = getComputedStyle(element, "::before");
    if (!["none", "normal"].includes(before.content) && before.display !== "none" && !hidden(element)) judge(element, before.color, before.content);
    if (["INPUT", "SELECT"].includes(element.tagName) && !hidden(element)) judge(element, getComputedStyle(element).color, element.value);
  }
  return { count: found.length, least: Math.min(...found), poor };
})()"""

CONTROLS = "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), summary, [tabindex='0']"


def called(function, *arguments):
    return f"({function})({', '.join(json.dumps(each) for each in arguments)})"


def call(browser, function, *arguments):
    return browser.evaluate(called(function, *arguments))


def go(browser, address):
    browser.evaluate(f"location.hash = {json.dumps(address)}")


def cluster_map(browser):
    """All of one moment: a poll may change the page between two questions."""
    parts = {
        **{name: f"document.getElementById('{name}').innerText" for name in ["headline", "advice", "whose"]},
        "level": "document.getElementById('verdict').className",
        "nodes": called(ROWS, "#cluster-body .scroll[aria-label='Nodes'] table"),
        "partitions": called(ROWS, "#cluster-body .scroll[aria-label^='Journal partitions'] table"),
        "copies": called(ROWS, "#cluster-body table.grid"),
        "findings": called(TEXTS, ".findings li"),
    }
    return browser.evaluate("({" + ", ".join(f"{name}: {part}" for name, part in parts.items()) + "})")


def tab_order(browser):
    """Which of the controls the Tab key reaches, from the top of the page; once more if a poll changed which there are."""
    names = f"[...document.querySelectorAll({json.dumps(CONTROLS)})].filter((each) => each.checkVisibility()).map((each) => each.numbered ?? null)"
    for _ in range(5):
        found = walk_by_tab(browser)
        if browser.evaluate(names) == list(range(found["controls"])):
            break
    return found


def walk_by_tab(browser):
    wanted = browser.evaluate(
        f"[...document.querySelectorAll({json.dumps(CONTROLS)})].filter((each) => each.checkVisibility()).map((each, i) => "
        "{ each.numbered = i; return each.id || each.innerText.trim().slice(0, 40) || each.getAttribute('aria-label') || each.tagName; })")
    browser.evaluate("(document.activeElement?.blur(), getSelection().removeAllRanges(), window.scrollTo(0, 0), document.body.tabIndex = -1, document.body.focus(), document.body.removeAttribute('tabindex'))")
    reached = []
    for _ in range(len(wanted) + 2):
        browser.tab()
        number = browser.evaluate("document.activeElement?.numbered ?? null")
        if number is None or number in reached:
            break
        reached.append(number)
    return {"controls": len(wanted), "missed": [name for i, name in enumerate(wanted) if i not in reached], "in_order": reached == sorted(reached)}


def search(browser):
    """By keys alone: into the field, a part of an id, Enter; then "More like this" of the first."""
    go(browser, "#/search")
    browser.wait("document.querySelector('#search-collection option')", "a collection to choose")
    browser.evaluate("document.getElementById('search-text').focus()")
    browser.type("chess")
    browser.enter()
    browser.wait("document.querySelector('#search-result table')", "points found by a part of their id")
    found = {"status": browser.evaluate("document.getElementById('search-status').innerText"), "rows": call(browser, ROWS, "#search-result table")}
    go(browser, "#/search?c=packages&q=3dchess&like=3dchess&l=strong&n=5")
    browser.wait("document.getElementById('search-status').innerText.includes('nearest')", "hits")
    like = {
        "status": browser.evaluate("document.getElementById('search-status').innerText"), "facts": call(browser, PAIRS, "#search-facts"),
        "rows": call(browser, ROWS, "#search-result table"), "links": browser.evaluate("document.querySelectorAll('#search-result a').length"),
    }
    go(browser, "#/search?c=packages&q=3dchess&like=3dchess&f=" + "section%3Ddoc%20installed_kib%3C1000&l=bounded&ms=500&n=3")
    browser.wait("document.getElementById('search-status').innerText.includes('match the filter')", "hits with a filter")
    filtered = {
        "facts": call(browser, PAIRS, "#search-facts"), "rows": call(browser, ROWS, "#search-result table"),
        "sections": browser.evaluate("[...document.querySelectorAll('#search-result .pairs div')].filter((each) => each.children[0].textContent === 'section').map((each) => each.children[1].textContent)"),
    }
    go(browser, "#/search?c=packages&q=&f=games&l=eventual&n=3")
    browser.wait("document.getElementById('search-status').innerText.startsWith('Refused')", "a filter that is none")
    return {"by_id": found, "like": like, "filtered": filtered, "refused": browser.evaluate("document.getElementById('search-status').innerText")}


def lineage(browser, identifier):
    go(browser, f"#/lineage?k=point&c=packages&id={identifier}")
    browser.wait("document.querySelector('#lineage-result .entry svg')", "a timeline")
    report = {
        "status": browser.evaluate("document.getElementById('lineage-status').innerText"),
        "titles": call(browser, TEXTS, "#lineage-result .entry h3"),
        "facts": browser.evaluate("[...document.querySelectorAll('#lineage-result .entry > .facts')].map((list) => Object.fromEntries([...list.children].map((each) => [each.children[0].innerText, each.children[1].innerText])))"),
        "drawn": browser.evaluate("[...document.querySelectorAll('#lineage-result svg')].map((svg) => ({ words: svg.querySelector('title').textContent, marks: [...svg.querySelectorAll('.step')].map((each) => each.getAttribute('class')), lanes: [...svg.querySelectorAll('.lane')].map((each) => each.textContent) }))"),
        "receipts": call(browser, ROWS, "#lineage-result .scroll[aria-label='Receipts of replicas'] table"),
    }
    # The request's own lineage, by its link.
    browser.evaluate("document.querySelector('#lineage-result .facts a').click()")
    browser.wait("document.getElementById('lineage-status').innerText.includes('request ')", "the lineage of a request")
    report["request"] = browser.evaluate("document.getElementById('lineage-status').innerText")
    return report


def picture(browser):
    go(browser, "#/picture?c=packages")
    browser.wait("document.getElementById('picture-status').innerText.includes('variance')", "a picture")
    ink = """(() => {
      const canvas = document.getElementById("picture-canvas"), data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let painted = 0;
      for (let i = 3; i < data.length; i += 4) if (data[i] > 0) painted += 1;
      return painted;
    })()"""
    report = {
        "status": browser.evaluate("document.getElementById('picture-status').innerText"), "ink": browser.evaluate(ink),
        "label": browser.evaluate("document.getElementById('picture-canvas').getAttribute('aria-label')"),
        "legend": call(browser, TEXTS, "#picture-legend li"), "rows": browser.evaluate("document.querySelectorAll('#picture-table tbody tr').length"),
    }
    browser.evaluate("document.getElementById('picture-canvas').focus()")
    said = []
    for key, code in [("ArrowRight", 39), ("ArrowUp", 38), ("Home", 36), ("End", 35)]:
        browser.press(key, code)
        said.append(browser.evaluate("document.getElementById('picture-point').innerText"))
    report["said"] = said
    browser.enter()
    report["chosen"] = browser.evaluate("document.getElementById('picture-point').innerText")
    report["links"] = call(browser, TEXTS, "#picture-actions a")
    # With a pointer: a point in the middle of the picture's dots.
    box = browser.evaluate("(() => { const canvas = document.getElementById('picture-canvas'); canvas.scrollIntoView({ block: 'center' }); const box = canvas.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; })()")
    browser.click(box[0] + box[2] / 2, box[1] + box[3] / 2)
    report["clicked"] = browser.evaluate("document.getElementById('picture-point').innerText")
    report["hovered"] = browser.evaluate("document.getElementById('picture-mark').innerText")
    return report


VIEWS = {
    "cluster": "#/cluster", "collections": "#/collections", "search": "#/search?c=packages&q=3dchess&like=3dchess&l=strong&n=5",
    "picture": "#/picture?c=packages", "lineage": "#/lineage?k=point&c=packages&id=3dchess", "budgets": "#/budgets",
}
SHOWN = {
    "cluster": "#cluster-body table", "collections": "#collections-body .panel", "search": "#search-result table", "picture": "#picture-legend li",
    # Not what the view before it left there.
    "lineage": "#lineage-result .entry[aria-label^=Version] svg", "budgets": "#budgets-body table",
}


def spoken(browser):
    """What a screen reader is given of the page: roles with their names."""
    wanted = {"banner", "main", "navigation", "region", "heading", "table", "row", "rowheader", "columnheader", "status", "image"}
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    return [f"{node['role']['value']} {node.get('name', {}).get('value', '')}".strip() for node in nodes
            if not node["ignored"] and node["role"]["value"] in wanted]


def every_view(browser):
    """Of every view: contrast in both schemes, no sideways scroll at two widths, and what Tab reaches."""
    report = {}
    for name, address in VIEWS.items():
        go(browser, address)
        browser.wait(f"!document.getElementById('{name}').hidden && document.querySelector('{SHOWN[name]}')", name)
        found = {"current": browser.evaluate("document.querySelector('nav [aria-current]').dataset.view"), "order": tab_order(browser)}
        for scheme in ["light", "dark"]:
            browser.scheme(scheme)
            found[scheme] = browser.evaluate(CONTRAST)
        for width in [400, 1400]:
            browser.size(width, 900)
            found[f"spoken_{width}"] = spoken(browser)
            found[f"beyond_{width}"] = browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        report[name] = found
    return report


def themes(browser):
    """The button goes round, and what it chose outlives a reload."""
    browser.scheme("light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    seen = []
    for _ in range(3):
        browser.evaluate("document.getElementById('theme').click()")
        seen.append([browser.evaluate("document.getElementById('theme').innerText"), browser.evaluate(ground)])
    return seen


def hidden(browser):
    """How often a page asks that nobody sees, in a time in which it would ask again; and that it goes on when it is seen."""
    browser.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))")
    # What was on its way comes back first: a page that goes on asking has no three seconds without a request, ever.
    end = time.monotonic() + 30
    while True:
        before = len(browser.requests())
        time.sleep(3)
        browser.evaluate("0")
        asked = len(browser.requests()) - before
        if asked == 0 or time.monotonic() > end:
            break
    browser.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    end = time.monotonic() + browser.patience
    while len(browser.requests()) == before + asked and time.monotonic() < end:
        browser.evaluate("0")
        time.sleep(0.05)
    return {"while_hidden": asked, "goes_on": len(browser.requests()) > before + asked}


def node(browser, base, process):
    browser.size(1400, 900)
    # What was replayed a moment ago is no lag at the next question.
    seen = first_map(browser, base + "/console", "a node at rest", lambda seen: seen["level"] == "verdict good")
    report = {"address": browser.evaluate("location.href"), "cluster": seen}
    report["language"] = browser.evaluate("document.documentElement.lang")
    report["landmarks"] = browser.evaluate("['header', 'nav', 'main'].map((name) => document.querySelectorAll(name).length)")
    report["unlabelled"] = browser.evaluate("[...document.querySelectorAll('input, select, button')].filter((each) => !each.labels?.length && !each.innerText.trim()).map((each) => each.id)")
    go(browser, "#/collections")
    browser.wait("document.querySelector('#collections-body .panel')", "the collections")
    report["collections"] = {"focus": browser.evaluate("document.activeElement.id"), "facts": call(browser, PAIRS, "#collections-body .facts"), "text": browser.evaluate("document.getElementById('collections-body').innerText")}
    report["search"] = search(browser)
    report["lineage"] = lineage(browser, "3dchess")
    report["picture"] = picture(browser)
    go(browser, "#/budgets")
    browser.wait("document.querySelector('#budgets-body table')", "the budgets")
    report["budgets"] = call(browser, ROWS, "#budgets-body .scroll[aria-label='Latency and failures'] table")
    report["views"] = every_view(browser)
    report["themes"] = themes(browser)
    # A poll changes what is there and keeps the focus.
    go(browser, "#/cluster")
    # The view takes the focus to its title when it is shown.
    browser.wait("!document.getElementById('cluster').hidden && document.activeElement.id === 'cluster-title'", "the cluster's view")
    browser.evaluate("document.querySelector('#cluster-body .scroll').focus()")
    before = browser.evaluate("document.getElementById('asked').innerText")
    browser.wait(f"document.getElementById('asked').innerText !== {json.dumps(before)}", "another poll")
    report["focus_kept"] = browser.evaluate("document.activeElement === document.querySelector('#cluster-body .scroll')")
    report["hidden"] = hidden(browser)
    report["cases"] = browser.evaluate((FOLDER / "cases.js").read_text())
    report["complaints"] = browser.complaints()
    report["foreign"] = [url for url in browser.requests() if not url.startswith(base + "/")]
    report["requests"] = len(browser.requests())
    # Last, for it makes the browser complain: the policy lets no script and no style in that the page did not bring as a file.
    browser.evaluate("(() => { const script = document.createElement('script'); script.textContent = 'window.ran = true'; document.body.append(script); })()")
    browser.evaluate("document.body.setAttribute('style', 'padding-left: 99px')")
    report["inline_ran"] = browser.evaluate("window.ran === true || getComputedStyle(document.body).paddingLeft === '99px'")
    report["far_fetch"] = browser.evaluate("fetch('http://127.0.0.2:9/').then(() => 'went', (error) => error.name)")
    report["policy_spoke"] = any("Content Security Policy" in each for each in browser.complaints())
    os.kill(process, signal.SIGKILL)
    browser.wait("document.getElementById('verdict').className === 'verdict bad'", "the end of the node")
    report["gone"] = cluster_map(browser)
    return report


def await_map(browser, what, holds):
    """The map as soon as it says so; what was read is what was judged."""
    end = time.monotonic() + browser.patience
    while True:
        found = cluster_map(browser)
        if holds(found):
            return found
        if time.monotonic() > end:
            raise Trouble(f"waited for {what}; the map says: {found}")
        time.sleep(0.1)


def first_map(browser, address, what, holds):
    """The map of a page just opened. A page that has been open for longer also judges how quick the machine is, by its error budgets:
    that is opened anew, and first shows the map alone."""
    end = time.monotonic() + browser.patience
    while True:
        browser.open(address)
        # Not the one that is left.
        browser.wait("performance.timeOrigin !== window.seenOrigin && document.querySelector('#cluster-body table')", "the cluster's map")
        browser.evaluate("window.seenOrigin = performance.timeOrigin")
        found = cluster_map(browser)
        if holds(found):
            return found
        if time.monotonic() > end:
            raise Trouble(f"waited for {what}; the map says: {found}")
        time.sleep(0.5)


def cluster(browser, base, process):
    browser.size(1400, 900)
    report = {"before": first_map(
        browser, base + "/console/", "three nodes, all well",
        lambda seen: seen["level"] == "verdict good" and len(seen["nodes"]) == 3 and len(seen["copies"]) == 3)}
    os.kill(process, signal.SIGKILL)
    report["after"] = await_map(
        browser, "the dead node",
        lambda seen: seen["headline"].endswith("does not answer") and any(row[1].startswith("✕") for row in seen["nodes"]))
    report["complaints"] = browser.complaints()
    report["foreign"] = [url for url in browser.requests() if not url.startswith(base + "/")]
    return report


def main():
    kind, base, *rest = sys.argv[1:]
    program = os.environ.get("VECRAFT_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        sys.exit("no Chromium: .ci/packages test installs Debian's (chromium-headless-shell)")
    browser = Browser(program)
    try:
        report = (node if kind == "node" else cluster)(browser, base, int(rest[0]))
    finally:
        browser.close()
    json.dump(report, sys.stdout, ensure_ascii=False, indent=1)


main()
