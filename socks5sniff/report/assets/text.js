// Text and elements. Octets from the wire become text nodes and nothing else; what does not print is shown as an escape.

const Text = (() => {
  // Control, format (bidi marks, zero width), private, surrogate and unassigned characters, and separators but the space.
  const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;

  const escaped = (character) => {
    const code = character.codePointAt(0);
    if (character === "\n") return "\\n";
    if (character === "\r") return "\\r";
    if (character === "\t") return "\\t";
    if (code < 0x100) return "\\x" + code.toString(16).padStart(2, "0");
    if (code < 0x10000) return "\\u" + code.toString(16).padStart(4, "0");
    return "\\U" + code.toString(16).padStart(8, "0");
  };

  /** `text` with everything that does not print as itself shown as an escape, like Python's `escape_text`. */
  const visible = (text) => String(text).replace(UNPRINTABLE, escaped);

  const append = (parent, children) => {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      parent.append(child instanceof Node ? child : document.createTextNode(visible(child)));
    }
    return parent;
  };

  const attribute = (node, name, value) => {
    if (value === null || value === undefined || value === false) return;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : visible(value));
  };

  /** An element with attributes (`onclick` and its like are listeners) and children: nodes, or texts. */
  const element = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) attribute(node, name, value);
    return append(node, children);
  };

  /** The same of SVG. */
  const shape = (tag, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) attribute(node, name, value);
    return append(node, children);
  };

  /** The node with new children. */
  const filled = (node, ...children) => {
    node.replaceChildren();
    return append(node, children);
  };

  const whole = new Intl.NumberFormat("en-US");
  const number = (value) => (value === null || value === undefined ? "" : whole.format(value));

  /** Octets with a unit: 0 B, 1.5 kB, 20 MB. */
  const octets = (value) => {
    if (value === null || value === undefined) return "";
    const units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let unit = 0;
    while (value >= 1000 && unit < units.length - 1) {
      value /= 1000;
      unit += 1;
    }
    return (unit && value < 100 ? value.toPrecision(3) : Math.round(value)) + " " + units[unit];
  };

  /** Seconds in the unit that fits: 12 ns, 350 µs, 12.3 ms, 4.56 s, 2 h 3 min. */
  const seconds = (value) => {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    if (size === 0) return "0 s";
    if (size < 1e-6) return Math.round(value * 1e9) + " ns";
    if (size < 1e-3) return +(value * 1e6).toPrecision(3) + " µs";
    if (size < 1) return +(value * 1e3).toPrecision(3) + " ms";
    if (size < 120) return +value.toPrecision(3) + " s";
    if (size < 7200) return Math.floor(value / 60) + " min " + Math.round(value % 60) + " s";
    return number(Math.floor(value / 3600)) + " h " + Math.floor((value % 3600) / 60) + " min";
  };

  let local = false;
  /** Whether times are shown in the browser's time zone instead of UTC. */
  const useLocal = (value) => (local = value);
  const isLocal = () => local;

  const two = (value) => String(value).padStart(2, "0");
  /** Date and time of milliseconds since 1970 and the nanoseconds of its second, as far as `digits` says. */
  const time = (milliseconds, nanoseconds, digits = 6, withDate = true) => {
    const date = new Date(milliseconds);
    const part = (name) => (local ? date["get" + name]() : date["getUTC" + name]());
    const day = `${part("FullYear")}-${two(part("Month") + 1)}-${two(part("Date"))} `;
    const clock = `${two(part("Hours"))}:${two(part("Minutes"))}:${two(part("Seconds"))}`;
    const fraction = digits ? "." + String(nanoseconds).padStart(9, "0").slice(0, digits) : "";
    return (withDate ? day : "") + clock + fraction;
  };

  /** Host and port; an IPv6 address stands in brackets. */
  const endpoint = (host, port) => (host === null || host === undefined ? "" : host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);

  return { visible, element, shape, filled, number, octets, seconds, time, useLocal, isLocal, endpoint };
})();
