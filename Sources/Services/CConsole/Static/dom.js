// Elements without strings of HTML: what points and payloads hold is text, whatever it looks like.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element. Attributes: `onclick` and the like are listeners, false and null are left out, true is an empty value. */
export function h(tag, attributes, ...children) { return fill(document.createElement(tag), attributes, children); }

/** The same for a picture's elements. */
export function s(tag, attributes, ...children) { return fill(document.createElementNS(SVG, tag), attributes, children); }

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child);
  }
}

/** By id; that it is missing is a mistake of ours. */
export function $(id) { return document.getElementById(id); }

/**
 * Makes `parent`'s children equal to `children`, keeping the elements that are there: focus, an open <details> and the place of a
 * scrolled table survive a poll. For views without listeners of their own on what is replaced.
 */
export function show(parent, ...children) {
  const wanted = [];
  const collect = (list) => {
    for (const child of list) {
      if (child === null || child === undefined || child === false) continue;
      if (Array.isArray(child)) collect(child);
      else wanted.push(child instanceof Node ? child : document.createTextNode(child));
    }
  };
  collect(children);
  morphChildren(parent, wanted);
}

function morphChildren(parent, wanted) {
  const present = [...parent.childNodes];
  for (let i = 0; i < wanted.length; i++) {
    if (i >= present.length) parent.append(wanted[i]);
    else morph(present[i], wanted[i]);
  }
  for (let i = wanted.length; i < present.length; i++) present[i].remove();
}

function morph(old, wanted) {
  if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName) { old.replaceWith(wanted); return; }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) === value) continue;
    // The policy for contents forbids the attribute, not the property.
    if (name === "style") old.style.cssText = value;
    else old.setAttribute(name, value);
  }
  morphChildren(old, [...wanted.childNodes]);
}

/** Writes a text only if it is another one: a screen reader then says it once. */
export function say(element, text) { if (element.textContent !== text) element.textContent = text; }

/**
 * A table that scrolls by itself where it is too wide. Columns: [title, isNumber]. With `cards`, a row becomes a card on a narrow page;
 * the roles keep it a table for a screen reader then, which layout would take away.
 */
export function table(caption, columns, rows, options = {}) {
  const role = (name) => (options.cards ? { role: name } : {});
  const head = h("thead", role("rowgroup"), h("tr", role("row"), columns.map(([title, isNumber]) =>
    h("th", { scope: "col", class: isNumber ? "number" : null, ...role("columnheader") }, title))));
  const body = h("tbody", role("rowgroup"), rows.map((row) => h("tr", { class: row.class, ...role("row") }, row.cells.map((cell, i) => {
    const [title, isNumber] = columns[i];
    const attributes = { class: isNumber ? "number" : null, "data-title": title };
    return i === 0 ? h("th", { scope: "row", ...attributes, ...role("rowheader") }, cell) : h("td", { ...attributes, ...role("cell") }, cell);
  }))));
  const made = h("table", { class: options.cards ? "cards" : null, ...role("table") }, h("caption", { class: options.captionHidden ? "unseen" : null }, caption), head, body);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
}
