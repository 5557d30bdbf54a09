// The part of a browser's DOM that the scripts of a report page use. Tests load a page's elements into it, give the pictures
// a size, and send events. What it does not have is an error, as in a browser.
"use strict";
const listeners = new Map(); // by element, then by type
const observers = [];
let focused = null;

const camel = (name) => name.replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());

class Listening {
  addEventListener(type, listener) {
    if (!listeners.has(this)) listeners.set(this, {});
    (listeners.get(this)[type] ??= []).push(listener);
  }
}

class FakeElement extends Listening {
  constructor(tag, attributes = {}) {
    super();
    this.tagName = tag;
    this.attributes = new Map(Object.entries(attributes));
    this.nodes = []; // elements and texts
    this.parent = null;
    this.box = { left: 0, top: 0, width: 0, height: 0 };
    this.style = { setProperty(name, value) { this[name] = value; } };
    this.captured = [];
  }
  get children() { return this.nodes.filter((node) => node instanceof FakeElement); }
  get className() { return this.getAttribute("class") ?? ""; }
  set className(value) { this.setAttribute("class", value); }
  get id() { return this.getAttribute("id"); }
  set id(value) { this.setAttribute("id", value); }
  get namespaceURI() { return "its namespace"; }
  get dataset() {
    const data = [...this.attributes].filter(([name]) => name.startsWith("data-"));
    return Object.fromEntries(data.map(([name, value]) => [camel(name.slice(5)), value]));
  }
  get classList() {
    return {
      toggle: (name, wanted) => {
        const names = new Set(this.className.split(" ").filter(Boolean));
        if (wanted) names.add(name); else names.delete(name);
        this.className = [...names].join(" ");
      },
    };
  }
  get textContent() { return this.nodes.map((node) => (typeof node === "string" ? node : node.textContent)).join(""); }
  set textContent(text) { this.nodes = text === "" ? [] : [String(text)]; }
  get offsetWidth() { return 120; }
  get offsetHeight() { return 60; }
  // Python's parser writes the names of attributes in small letters.
  getAttribute(name) { return this.attributes.get(name.toLowerCase()) ?? null; }
  setAttribute(name, value) { this.attributes.set(name.toLowerCase(), String(value)); }
  getBoundingClientRect() { return this.box; }
  append(child) {
    this.nodes.push(child);
    child.parent = this;
  }
  replaceChildren() { this.nodes = []; }
  contains(other) { return other !== null && (other === this || this.contains(other.parent)); }
  setPointerCapture(id) { this.captured.push(id); }
  matches(selectors) { return selectors.split(",").some((one) => this.fits(one.trim().split(" "))); }
  fits(parts) {
    const [own, ...above] = parts.toReversed();
    const [, tag, rest] = /^([a-z]*)(.*)$/.exec(own);
    if (tag && tag !== this.tagName) return false;
    for (const [whole, css, name] of rest.matchAll(/\.([\w-]+)|\[([\w-]+)\]|./g)) {
      if (!css && !name) throw new Error(`no selector of this DOM: ${whole} in ${own}`);
      if (css ? !this.className.split(" ").includes(css) : this.getAttribute(name) === null) return false;
    }
    if (!above.length) return true;
    for (let one = this.parent; one; one = one.parent) if (one.fits(above.toReversed())) return true;
    return false;
  }
  querySelectorAll(selector) {
    return this.children.flatMap((child) => [...(child.matches(selector) ? [child] : []), ...child.querySelectorAll(selector)]);
  }
  querySelector(selector) { return this.querySelectorAll(selector)[0] ?? null; }
}

class ResizeObserver {
  constructor(callback) { this.callback = callback; }
  observe() { observers.push(this.callback); }
}

const build = (node) => {
  if (typeof node === "string") return node;
  const element = new FakeElement(node.tag, node.attributes);
  node.children.map(build).forEach((child) => {
    if (typeof child === "string") element.nodes.push(child);
    else element.append(child);
  });
  return element;
};

const documentBase = new Listening();
let body = null;
const document = Object.assign(documentBase, {
  createElement: (tag) => new FakeElement(tag),
  createElementNS: (_, tag) => new FakeElement(tag),
  querySelectorAll: (selector) => body.querySelectorAll(selector),
});

const load = (tree) => { body = build(tree); };

// Gives the pictures the width that the page has: the others are not shown.
const resize = (width) => {
  for (const figure of body.querySelectorAll("figure[data-chart]")) {
    figure.box = { left: 40, top: 100, width, height: 500 };
    for (const svg of figure.querySelectorAll("svg[data-plot]")) {
      const shown = (width > 620) === svg.matches(".wide");
      svg.box = { left: 40, top: 150, width: shown ? width : 0, height: shown ? 380 : 0 };
    }
  }
  observers.forEach((callback) => callback());
};

// Sends an event; returns whether its default action was prevented.
const fire = (target, type, properties) => {
  let prevented = false;
  const event = {
    type, target, button: 0, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false,
    pointerType: "mouse", pointerId: 1, clientX: 0, clientY: 0, deltaY: 0, deltaMode: 0, key: "",
    ...properties, preventDefault() { prevented = true; },
  };
  const bubbles = !["pointerleave", "blur"].includes(type);
  for (let one = target; one; one = bubbles ? one.parent : null) {
    for (const listener of listeners.get(one)?.[type] ?? []) listener(event);
  }
  if (bubbles) for (const listener of listeners.get(document)?.[type] ?? []) listener(event);
  return prevented;
};
