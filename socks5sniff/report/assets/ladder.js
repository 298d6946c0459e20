// One conversation in full: its ladder as SVG, what explains it, and every key of its record.

const Ladder = (() => {
  const { element, shape, filled } = Text;
  const say = (...words) => Languages.say(...words);
  const LINE = 30;
  const HEAD = 46;
  const LATE = 1;
  const CHARACTER = 6.3;

  const shortened = (text, room) => {
    const characters = Math.max(Math.floor(room / CHARACTER), 4);
    const shown = Text.visible(text);
    return shown.length <= characters ? shown : shown.slice(0, characters - 1) + "…";
  };

  /** Places of the lifelines between the frame numbers left and the times right. */
  const places = (count, width) => {
    const [left, right] = [58, width < 560 ? 92 : 170];
    const room = (width - left - right) / count;
    return { left, right: width - right, at: (index) => left + room * (index + 0.5), room };
  };

  const arrow = (event, from, to, y) => {
    const way = Math.sign(to - from) || 1;
    const parts = [shape("line", { class: "arrow " + event.kind, x1: from, y1: y, x2: to, y2: y })];
    const head = (x, side) => shape("path", { class: "head " + event.kind, d: `M${x} ${y}l${-7 * side} -4v8z` });
    if (event.kind !== "note") parts.push(head(to, way));
    if (event.kind === "both") parts.push(head(from, -way));
    if (event.kind === "failed") parts.push(shape("text", { class: "cross", x: (from + to) / 2, y: y + 5, "text-anchor": "middle" }, "✕"));
    return parts;
  };

  const marks = (event, x, y) => {
    if (!event.anomalies.length) return [];
    const worst = ["error", "warning", "note"].find((severity) => event.anomalies.some((each) => each.severity === severity));
    const title = event.anomalies.map((each) => `${each.code}: ${each.message}`).join("\n");
    return [shape("g", { class: "mark " + worst }, shape("title", {}, title), shape("circle", { cx: x, cy: y, r: 8 }), shape("text", { x, y: y + 4, "text-anchor": "middle" }, worst === "note" ? "i" : "!"))];
  };

  const times = (event, before, place, y, narrow) => {
    if (event.time === null) return [];
    const delta = before === null ? null : event.time - before;
    const late = delta !== null && delta > LATE;
    const parts = [shape("text", { class: "time", x: place.right + 4, y: y + 4 }, event.time.toFixed(6))];
    if (delta !== null && !narrow) parts.push(shape("text", { class: "delta" + (late ? " late" : ""), x: place.right + 166, y: y + 4, "text-anchor": "end" }, (delta < 0 ? "−" : "+") + Text.seconds(Math.abs(delta)) + (late ? " !" : "")));
    return parts;
  };

  /** The drawing. */
  const drawing = (ladder, wide, selected) => {
    const least = 150 + 150 * ladder.lifelines.length;
    const width = Math.max(wide, least);
    const height = HEAD + LINE * ladder.events.length + 26;
    const place = places(ladder.lifelines.length, width);
    const narrow = width < 560;
    const svg = shape("svg", { class: "ladder", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": say("ladder") });
    for (const [index, line] of ladder.lifelines.entries()) {
      const x = place.at(index);
      svg.append(
        shape("text", { class: "role", x, y: 14, "text-anchor": "middle" }, say(line.role)),
        shape("text", { class: "who", x, y: 31, "text-anchor": "middle" }, shape("title", {}, line.name), shortened(line.name, place.room - 6)),
        shape("line", { class: "life" + (line.dashed ? " dashed" : ""), x1: x, y1: HEAD - 8, x2: x, y2: height - 8 }),
      );
    }
    let before = null;
    ladder.events.forEach((event, index) => {
      const y = HEAD + LINE * index + 20;
      const [from, to] = [place.at(event.from), place.at(event.to)];
      const group = shape("g", { class: "event" + (event.id === selected ? "" : " nested") }, shape("title", {}, event.text));
      const middle = (from + to) / 2;
      const room = 2 * Math.min(middle - place.left, place.right - middle);
      if (event.shown !== null) group.append(shape("text", { class: "no", x: 52, y: y + 4, "text-anchor": "end" }, String(event.shown)));
      group.append(...arrow(event, from, to, y));
      group.append(shape("text", { class: "what " + event.kind, x: middle, y: y - 5, "text-anchor": "middle" }, shortened(event.text, room)));
      group.append(...marks(event, Math.min(from, to) - 14, y), ...times(event, before, place, y, narrow));
      if (event.time !== null) before = event.time;
      svg.append(group);
    });
    return svg;
  };

  /** The same as rows of text, to read aloud or to copy. */
  const asText = (ladder) =>
    element(
      "table",
      { class: "lines" },
      element("thead", {}, element("tr", {}, ["frame", "time", "from", "to", "what"].map((name) => element("th", { scope: "col" }, say(name))))),
      element(
        "tbody",
        {},
        ladder.events.map((event) =>
          element(
            "tr",
            {},
            element("td", { class: "number" }, event.shown ?? ""),
            element("td", { class: "number" }, event.time === null ? "" : event.time.toFixed(6)),
            element("td", {}, ladder.lifelines[event.from].name),
            element("td", {}, ladder.lifelines[event.to].name),
            element("td", {}, [event.text, ...event.anomalies.map((each) => `${each.code}: ${each.message}`)].filter(Boolean).join("; ")),
          ),
        ),
      ),
    );

  const copied = (text, label) => {
    const code = element("code", {}, text);
    const button = element("button", { type: "button", class: "copy", "aria-label": say("copy") + ": " + label }, say("copy"));
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        filled(button, say("copied"));
        setTimeout(() => filled(button, say("copy")), 1500);
      } catch {
        getSelection().selectAllChildren(code);
      }
    });
    return element("p", { class: "copied" }, element("span", { class: "label" }, label), code, button);
  };

  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\"'\"'") + "'");

  const commands = (store, row, about) => {
    const parts = [copied(`tcp.stream eq ${store.value("tcp_stream", row)}`, "Wireshark")];
    if (!about?.inputs?.length) return parts;
    const prefix = ["socks5sniff", "read", ...about.inputs, ...(about.ports ?? []).flatMap((port) => ["--port", String(port)])].map(quoted).join(" ");
    parts.push(copied(`${prefix} --where 'id == ${store.value("id", row)}' --frames`, say("command line")));
    return parts;
  };

  const framed = (frames) => (frames.length ? element("span", { class: "soft" }, ` (${say("frame")} ${frames.join(", ")})`) : null);

  /** What explains the conversation, and where nothing does its anomalies. */
  const sentences = (store, row) => {
    const findings = store.entries("findings", row);
    const anomalies = store.entries("anomalies", row);
    if (!findings.length && !anomalies.length) return null;
    const told = findings.map((each) =>
      element("li", {}, severity(each), each.sentence + ".", framed(each.frames), each.causes.length ? element("ul", { class: "causes" }, each.causes.map((cause) => element("li", {}, typed(cause)))) : null, each.advice ? element("p", { class: "advice" }, typed(each.advice)) : null),
    );
    const odd = anomalies.map((each) => element("li", {}, severity(each), element("code", {}, each.code), " ", each.message, framed([each.frame])));
    return element("ul", { class: "odd" }, findings.length ? told : odd);
  };

  /** A sentence, with what stands in backticks as code. */
  const typed = (text) => text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));

  const severity = (each) => element("span", { class: "severity " + each.severity }, each.severity);

  /** Every key of the record that is not null. */
  const record = (store, row) => {
    const pairs = [["start", Text.time(store.columns.get("start.seconds")[row] * 1000, store.columns.get("start.nanoseconds")[row], 9) + (Text.isLocal() ? "" : " UTC")]];
    for (const [name, kind] of store.kinds) {
      if (kind === "count" || name.startsWith("start.") || /^(frames|anomalies|findings|udp\.destinations)\./.test(name)) continue;
      let value = store.value(name, row);
      if (name === "community_id") value = Community.of(store, row);
      if (value === null) continue;
      if (kind === "seconds") value = Text.seconds(value);
      else if (kind === "list") value = JSON.parse(value).join(", ");
      else if (kind === "object") value = Object.entries(JSON.parse(value)).filter(([, each]) => each !== null).map(([key, each]) => `${key} ${typeof each === "object" ? ends(each) : each}`).join(", ");
      else if (kind === "int" && /bytes|datagrams|packets|sent|received/.test(name)) value = Text.number(value);
      pairs.push([name, String(value)]);
    }
    for (const each of store.entries("udp.destinations", row)) pairs.push(["udp.destinations", `${Text.endpoint(each.host, each.port)} ${say("sent and received", each.datagrams_sent, each.datagrams_received)}${[each.dns, each.server_name, each.quic].filter(Boolean).map((said) => `, ${said}`).join("")}`]);
    return element("dl", { class: "record" }, pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  };

  const ends = (endpoint) => (endpoint.address === undefined ? JSON.stringify(endpoint) : Text.endpoint(endpoint.address, endpoint.port));

  /** A dialog that shows one row after another. */
  class Panel {
    constructor(store, about, step) {
      this.store = store;
      this.about = about;
      this.step = step;
      this.node = element("dialog", { class: "panel", "aria-labelledby": "panel-title", tabindex: -1, onclick: (event) => event.target === this.node && this.node.close(), onkeydown: (event) => this.key(event) });
      document.body.append(this.node);
    }

    key(event) {
      if (event.key !== "j" && event.key !== "k") return;
      this.step(event.key === "j" ? 1 : -1);
      event.preventDefault();
    }

    open(row) {
      const { store } = this;
      this.row = row;
      this.id = store.value("id", row);
      const parent = store.value("parent", row);
      const outcome = store.value("outcome", row);
      const drawn = element("div", { class: "drawn", tabindex: 0, "aria-label": say("ladder") });
      const ladder = Sequence.of(store, row);
      filled(
        this.node,
        element(
          "header",
          {},
          element("h2", { id: "panel-title" }, `#${store.value("id", row)} `, element("span", { class: "outcome" }, element("span", { class: "dot " + outcome }), Table.result(store, row)), " ", element("span", { class: "soft" }, store.endpoint("destination", row) ?? "")),
          element(
            "div",
            { class: "buttons" },
            parent === null ? null : element("button", { type: "button", onclick: () => this.parent(parent) }, say("inside of", parent)),
            element("button", { type: "button", onclick: () => this.step(-1), title: "k" }, "↑ " + say("previous")),
            element("button", { type: "button", onclick: () => this.step(1), title: "j" }, "↓ " + say("next")),
            element("button", { type: "button", class: "close", "aria-label": say("close"), title: "Esc", onclick: () => this.node.close() }, "✕"),
          ),
        ),
        element("div", { class: "inside" }, drawn, sentences(store, row), commands(store, row, this.about), element("details", {}, element("summary", {}, say("as text")), asText(ladder)), element("details", { open: innerWidth > 900 }, element("summary", {}, say("record")), record(store, row))),
      );
      if (!this.node.open) this.node.showModal();
      drawn.append(drawing(ladder, drawn.clientWidth, store.value("id", row)));
      this.node.focus();
    }

    parent(id) {
      const row = Sequence.rowOf(this.store, id);
      if (row !== null) this.open(row);
    }

    redraw() {
      if (!this.node.open) return;
      const row = Sequence.rowOf(this.store, this.id);
      if (row !== null) this.open(row);
    }
  }

  return { Panel };
})();
