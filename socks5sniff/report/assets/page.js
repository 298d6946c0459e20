// The page from top to bottom, and what its parts do to each other.

const Page = (() => {
  const { element, filled } = Text;
  const say = (...words) => Languages.say(...words);
  const TOP = 8;
  const MORE = 100;
  const OPEN_SHOWN = 50;
  const TYPING = 60;
  const TABLE_PACE = 500;
  const FIGURES_PACE = 2000;

  class Page {
    constructor(store, facts, host) {
      this.store = store;
      this.about = facts.about;
      this.rest = facts.rest;
      this.live = null;
      this.host = host;
      this.choices = [];
      this.span = null;
      this.text = "";
      this.test = null;
      this.more = new Set();
      this.source = new Source.Source(store);
      this.panel = new Ladder.Panel(store, this.about, (by) => this.step(by));
      this.build();
      this.apply();
      this.openLinked();
      addEventListener("hashchange", () => this.openLinked());
      addEventListener("beforeprint", () => this.table.print());
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
      let width = innerWidth;
      addEventListener("resize", () => {
        if (innerWidth === width) return;
        width = innerWidth;
        clearTimeout(this.resizing);
        this.resizing = setTimeout(() => this.draw(), 150);
      });
    }

    /** The parts, empty. */
    build() {
      const part = (name) => (this[name] = element("div", { class: name }));
      const names = this.about?.inputs?.join(", ");
      this.note = element("p", { class: "note", role: "status" });
      this.fault = element("p", { class: "fault", role: "alert" });
      this.input = element("input", { type: "search", id: "search", value: this.text, placeholder: say("search hint"), spellcheck: "false", autocomplete: "off", oninput: () => this.typed() });
      filled(
        this.host,
        element("header", { class: "top" }, element("div", {}, element("h1", {}, say("title")), names ? element("p", { class: "soft names" }, names) : null), this.controls()),
        element(
          "main",
          {},
          part("stream"),
          this.what(),
          part("cards"),
          part("filters"),
          part("opened"),
          element("section", {}, element("h2", {}, say("over time"), element("small", {}, say("drag to filter"))), part("legend"), part("over")),
          element("section", {}, element("h2", {}, say("time of steps")), part("steps")),
          element("section", {}, element("h2", {}, say("top lists")), part("lists")),
          part("attempts"),
          part("bypasses"),
          element("section", { class: "search" }, element("label", { for: "search" }, say("search")), this.input, this.note, this.fault),
          element("section", { class: "conversations", "aria-label": say("conversations") }, part("grid"), element("p", { class: "soft hint" }, say("keys"))),
        ),
      );
      const order = this.table?.order ?? { name: "id", down: this.live !== null };
      this.table = new Table.Table(this.grid, this.store, (row) => this.show(row));
      this.table.order = order;
      this.drawBesides();
    }

    controls() {
      const select = (label, options, chosen, change) =>
        element("label", {}, element("span", {}, label), element("select", { onchange: (event) => change(event.target.value) }, options.map(([value, text]) => element("option", { value, selected: value === chosen }, text))));
      return element(
        "div",
        { class: "controls" },
        select(say("time zone"), [["utc", "UTC"], ["local", say("local")]], Text.isLocal() ? "local" : "utc", (value) => this.change(() => Text.useLocal(value === "local"))),
        select(say("language"), [["en", "English"], ["zh", "中文"]], Languages.code(), (value) => this.change(() => Languages.choose(value))),
      );
    }

    change(what) {
      what();
      this.build();
      this.apply();
      this.panel.redraw();
    }

    /** What was read. */
    what() {
      const { about } = this;
      if (!about) return null;
      const pairs = [
        ["packets", Text.number(about.packets)],
        ["skipped", about.skipped ? say("skipped packets", about.skipped) : null],
        ["forgotten", about.evicted ? say("forgotten connections", about.evicted) : null],
        ["span", this.spanText()],
        ["command", about.command?.length ? ["socks5sniff", ...about.command].join(" ") : null],
        ["inputs", about.notes?.length ? about.notes.join("; ") : null],
        ["ended with", about.fault],
      ];
      return element("dl", { class: "what", "aria-label": say("what was read") }, pairs.filter(([, value]) => value).map(([name, value]) => element("div", { class: name === "ended with" ? "bad" : "" }, element("dt", {}, say(name)), element("dd", {}, value))));
    }

    spanText() {
      const span = Figures.span(this.store, this.rest);
      if (span === null) return null;
      const [first, last] = span;
      const zone = Text.isLocal() ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
      return `${Text.time(first, 0, 0)} – ${Text.time(last, 0, 0)} ${zone} (${Text.seconds((last - first) / 1000)})`;
    }

    every() {
      return Uint32Array.from({ length: this.store.rows }, (_, row) => row);
    }

    filtered() {
      return this.choices.length > 0 || this.span !== null || this.test !== null;
    }

    /** Rows that pass every filter. */
    passing() {
      if (!this.filtered()) return this.every();
      const { store, span, test } = this;
      const tests = this.choices.map((choice) => Where.compile(choice.expression, this.source));
      if (span) tests.push((row) => store.start(row) >= span[0] * 1000 && store.start(row) < span[1] * 1000);
      if (test) tests.push(test);
      const rows = new Uint32Array(store.rows);
      let count = 0;
      for (let row = 0; row < store.rows; row += 1) if (tests.every((each) => each(row))) rows[count++] = row;
      return rows.slice(0, count);
    }

    /** The filters have changed: the table at once, the figures when there is time. */
    apply() {
      this.search();
      this.rows = this.passing();
      this.table.show(this.rows);
      this.tell();
      this.drawFilters();
      clearTimeout(this.drawing);
      this.drawing = setTimeout(() => this.draw(), 0);
    }

    typed() {
      this.text = this.input.value;
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.apply(), TYPING);
    }

    /** Make a test of the search text: an expression, or text to look for when it is no more than that. */
    search() {
      const text = this.text.trim();
      this.test = null;
      filled(this.fault);
      this.input.removeAttribute("aria-invalid");
      if (!text) return;
      try {
        this.test = Where.compile(text, this.source);
        this.kind = "expression";
      } catch (fault) {
        if (!(fault instanceof Where.Fault)) throw fault;
        this.kind = "text search";
        if (plain(text)) this.test = this.source.anywhere(text);
        else this.complain(text, fault);
      }
    }

    complain(text, fault) {
      this.input.setAttribute("aria-invalid", "true");
      filled(this.fault, say("at character", fault.at + 1, fault.message), " ", element("code", {}, text.slice(0, fault.at), element("mark", {}, text.slice(fault.at, fault.at + 1) || "␣"), text.slice(fault.at + 1)));
    }

    tell() {
      const parts = [say("matching", this.rows.length, this.store.rows)];
      if (this.test) parts.push(say(this.kind));
      if (this.rest) parts.push(say("held", this.store.rows, this.store.rows + this.rest.conversations));
      if (this.store.dropped) parts.push(say("oldest", this.store.dropped));
      filled(this.note, parts.join(" · "));
    }

    drawFilters() {
      const chip = (label, remove) => element("button", { type: "button", class: "chip", title: say("remove filter"), onclick: remove }, label, element("span", { "aria-hidden": "true" }, " ✕"));
      const chips = this.choices.map((choice) => chip(choice.label, () => this.toggle(choice)));
      if (this.span) chips.push(chip(this.span.map((second) => Text.time(second * 1000, Math.floor((second % 1) * 1e9), 3)).join(" – "), () => this.within(null)));
      if (this.test) chips.push(chip(this.text, () => this.clearSearch()));
      if (chips.length) chips.push(element("button", { type: "button", class: "clear", onclick: () => this.clear() }, say("clear all")), element("span", { class: "soft" }, say("matching", this.rows.length, this.store.rows)));
      filled(this.filters, chips);
      this.filters.classList.toggle("any", chips.length > 0);
    }

    clearSearch() {
      this.text = this.input.value = "";
      this.apply();
    }

    clear() {
      this.choices = [];
      this.span = null;
      this.clearSearch();
    }

    within(span) {
      this.span = span;
      this.apply();
    }

    toggle(choice) {
      const before = this.choices.length;
      this.choices = this.choices.filter((each) => each.label !== choice.label);
      if (this.choices.length === before) this.choices.push(choice);
      this.apply();
    }

    draw() {
      this.figures = Figures.of(this.store, this.rows, this.filtered() ? null : this.rest);
      this.drawCards();
      const rest = this.filtered() ? null : this.rest;
      const drawn = Charts.overTime(this.over, this.store, this.rows, rest, (begin, end) => this.within([begin, end]));
      filled(this.legend, drawn ? Charts.legend(drawn.outcomes) : say("none"));
      this.over.setAttribute("role", "img");
      this.over.setAttribute("aria-label", say("over time"));
      this.drawSteps();
      this.drawLists();
      document.documentElement.dataset.ready = "yes";
    }

    drawCards() {
      const { conversations, sent, received, groups, steps } = this.figures;
      const count = (group, name) => groups[group].find((entry) => entry.name === name)?.count ?? 0;
      const share = (part) => (conversations ? ((100 * part) / conversations).toFixed(part && part < conversations ? 1 : 0) + " %" : "");
      const good = count("outcome", "succeeded");
      const card = (value, label, more = "", kind = "") => element("div", { class: "card " + kind }, element("b", {}, value), element("span", {}, label), element("small", {}, more));
      const cards = [
        card(Text.number(conversations), say("conversations")),
        card(Text.number(good), say("succeeded"), share(good), "succeeded"),
        ...groups.outcome.filter(({ name }) => name !== "succeeded").map(({ name, count: times }) => card(Text.number(times), name, share(times), name)),
        card(Text.octets(sent), say("sent")),
        card(Text.octets(received), say("received")),
        card(Text.number(groups.client.length), say("clients")),
        card(Text.number(groups.proxy.length), say("proxies")),
        card(Text.number(groups.destination.length), say("destinations")),
        steps.request ? card(Text.seconds(Figures.quantile(steps.request, 0.95)), say("slowest request")) : null,
      ];
      filled(this.cards, cards);
    }

    drawSteps() {
      const shown = Figures.STEPS.filter((step) => this.figures.steps[step]);
      filled(this.steps, shown.length ? null : say("none"));
      const drawings = [];
      for (const step of shown) {
        const figure = this.figures.steps[step];
        const host = element("div", { class: "histogram", role: "img", "aria-label": say(step) });
        const quantiles = [0.5, 0.95, 0.99].map((share) => [`p${share * 100}`, Text.seconds(Figures.quantile(figure, share))]);
        this.steps.append(element("figure", {}, element("figcaption", {}, say(step), element("small", {}, say("times", figure.count))), host, element("dl", {}, quantiles.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))))));
        drawings.push([host, figure]);
      }
      for (const [host, figure] of drawings) Charts.histogram(host, figure); // now that each has its width
    }

    drawLists() {
      const focused = document.activeElement?.dataset?.entry;
      filled(this.lists, ["destination", "client", "user", "proxy", "outcome", "anomaly"].map((group) => this.list(group, this.figures.groups[group])));
      if (focused) [...this.lists.querySelectorAll("[data-entry]")].find((node) => node.dataset.entry === focused)?.focus();
    }

    list(group, entries) {
      const all = this.more.has(group);
      const shown = entries.slice(0, all ? MORE : TOP);
      const most = Math.max(1, ...shown.map((entry) => entry.count));
      const toggleMore = () => {
        if (!this.more.delete(group)) this.more.add(group);
        this.drawLists();
      };
      return element(
        "div",
        { class: "list" },
        element("h3", {}, say("top " + group), element("small", {}, Text.number(entries.length))),
        shown.length ? element("ol", {}, shown.map((entry) => this.entry(group, entry, most))) : element("p", { class: "soft" }, say("none")),
        entries.length > TOP ? element("button", { type: "button", class: "more", onclick: toggleMore }, all ? say("fewer") : say("more", entries.length - TOP)) : null,
      );
    }

    entry(group, entry, most) {
      const choice = { label: `${group}: ${entry.name}`, expression: entry.name === null ? null : EXPRESSIONS[group](entry.name) };
      const chosen = this.choices.some((each) => each.label === choice.label);
      const bar = element("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = (100 * entry.count) / most + "%";
      return element(
        "li",
        {},
        element(
          "button",
          { type: "button", disabled: entry.name === null, "aria-pressed": chosen ? "true" : "false", "data-entry": choice.label, title: entry.name ?? "", onclick: () => this.toggle(choice) },
          bar,
          group === "outcome" ? element("span", { class: "dot " + entry.name }) : null,
          element("span", { class: "name" }, entry.name ?? say("others")),
          element("span", { class: "count" }, Text.number(entry.count)),
          element("span", { class: "octets" }, entry.octets ? Text.octets(entry.octets) : ""),
        ),
      );
    }

    /** What the capture has besides conversations. */
    drawBesides() {
      for (const name of ["attempts", "bypasses"]) {
        const { [name]: rows = [], [`all ${name}`]: count = rows.length } = this.live?.besides ?? this.about ?? {};
        Besides.show(this[name], name, count > rows.length ? say(this.live ? "newest" : "first", count, rows.length) : Text.number(count), rows);
      }
    }

    show(row) {
      this.panel.open(row);
      history.replaceState(null, "", "#" + this.store.value("id", row));
    }

    /** The row before or after the one that is shown. */
    step(by) {
      const to = Math.min(Math.max(this.table.current + by, 0), this.table.rows.length - 1);
      this.table.move(to);
      if (this.table.rows.length) this.show(this.table.rows[to]);
    }

    /** `#12` at the end of the address opens conversation 12. */
    openLinked() {
      const row = /^#\d+$/.test(location.hash) ? Sequence.rowOf(this.store, +location.hash.slice(1)) : null;
      if (row === null || (this.panel.node.open && this.panel.row === row)) return;
      const at = this.table.rows.indexOf(row);
      if (at >= 0) this.table.move(at);
      this.panel.open(row);
    }

    // Live

    follow() {
      if (location.search) history.replaceState(null, "", location.pathname + location.hash); // the token is in a cookie now
      this.live = new Live.Live(this.store, (kind) => this.came(kind));
      this.table.order = { name: "id", down: true };
      this.drawStream();
    }

    came(kind) {
      if (kind === "records") this.soon("table", TABLE_PACE, () => this.freshRows());
      else if (kind === "current") this.soon("openings", TABLE_PACE, () => this.drawOpen());
      else if (kind === "besides") this.soon("besides", TABLE_PACE, () => this.drawBesides());
      else this.drawStream();
    }

    /** Do it not now but within `pace` ms, once. */
    soon(name, pace, what) {
      this.waiting ??= {};
      this.waiting[name] ??= setTimeout(() => {
        delete this.waiting[name];
        what();
      }, pace);
    }

    freshRows() {
      this.search();
      this.rows = this.passing();
      this.table.show(this.rows, true);
      this.tell();
      this.drawFilters();
      this.soon("figures", FIGURES_PACE, () => this.draw());
    }

    drawStream() {
      const { state, health, missed } = this.live;
      const paused = state === "paused";
      const button = state === "ended" ? null : element("button", { type: "button", onclick: () => (paused ? this.live.resume() : this.live.pause()) }, say(paused ? "resume" : "pause"));
      filled(
        this.stream,
        element("span", { class: "state " + state, role: "status" }, say(state)),
        button,
        health ? element("span", { class: health.dropped ? "bad" : "" }, say("packets and drops", health.packets ?? 0, health.dropped ?? 0)) : null,
        missed ? element("span", { class: "bad" }, say("missed", missed)) : null,
      );
    }

    drawOpen() {
      const { open, opened } = this.live;
      const shown = open.slice(0, OPEN_SHOWN);
      Besides.show(this.opened, "open", opened > shown.length ? say("open shown", opened, shown.length) : Text.number(opened), shown, true);
    }
  }

  /** Text without anything of an expression in it. */
  const plain = (text) => !/[=<>!{}()[\]&|"~]/.test(text.replace(/^\[[0-9a-f:.]+\]/i, "")) && !/\s(contains|matches|in|and|or)\s/.test(text);

  const quoted = (text) => '"' + text.replace(/["\\]/g, "\\$&").replace(/[\0-\x1f]/g, (sign) => "\\x" + sign.charCodeAt(0).toString(16).padStart(2, "0")) + '"';
  const endpoint = (name, host, text) => {
    const at = text.lastIndexOf(":");
    const address = text.slice(0, at);
    return `${name}.${host} == ${quoted(address.startsWith("[") && address.endsWith("]") ? address.slice(1, -1) : address)} and ${name}.port == ${text.slice(at + 1)}`;
  };
  const EXPRESSIONS = {
    outcome: (name) => `outcome == ${quoted(name)}`,
    client: (name) => `client.address == ${quoted(name)}`,
    user: (name) => `username == ${quoted(name)}`,
    anomaly: (name) => `anomalies.code == ${quoted(name)}`,
    proxy: (name) => endpoint("proxy", "address", name),
    destination: (name) => endpoint("destination", "host", name),
  };

  const start = async () => {
    const host = document.getElementById("page");
    const data = document.getElementById("data");
    Languages.choose(Languages.code());
    if (!globalThis.DecompressionStream) {
      filled(host, element("p", { class: "fault" }, say("old")));
      return;
    }
    filled(host, element("p", { class: "loading" }, say("loading")));
    const { store, facts } = await Columns.read(data.textContent);
    data.remove();
    const page = new Page(store, facts, host);
    if (facts.live) page.follow();
    return page;
  };

  return { start };
})();

Page.start();
