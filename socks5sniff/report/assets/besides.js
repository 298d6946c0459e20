// Tables of plain values beside the conversations: what is open now, attempts, and what went past the proxies.

const Besides = (() => {
  const { element, filled } = Text;
  const say = (...words) => Languages.say(...words);

  const end = (name) => [name, (each) => (each[name] ? Text.endpoint(each[name].address, each[name].port) : "")];
  const process = ["process", ({ process }) => (process ? `${process.name}[${process.pid}]` : "")];
  const start = ["start", (each) => (each.start ? when(Columns.moment(each.start)) : "")];
  const when = ({ seconds, nanoseconds }) => Text.time(seconds * 1000, nanoseconds, 3);

  /** For each table its columns: a name, how a cell is shown, and whether it stands right. */
  const COLUMNS = {
    open: [
      ["id", (each) => String(each.id ?? "")],
      ["destination", (each) => (each.destination ? Text.endpoint(each.destination.host, each.destination.port) : "")],
      end("client"),
      process,
      ["user", (each) => each.username ?? ""],
      end("proxy"),
      ["phase", (each) => each.phase ?? ""],
      ["rate sent", (each) => Text.octets(each.rate.sent), true],
      ["rate received", (each) => Text.octets(each.rate.received), true],
      ["sent", (each) => Text.octets(each.udp?.bytes_sent ?? each.bytes?.sent), true],
      ["received", (each) => Text.octets(each.udp?.bytes_received ?? each.bytes?.received), true],
    ],
    attempts: [start, ["result", (each) => each.outcome], end("client"), end("proxy"), ["frame", (each) => Text.number(each.frame), true]],
    bypasses: [
      start,
      end("client"),
      process,
      end("destination"),
      ["transport", (each) => each.transport],
      ["server_name", (each) => each.server_name ?? ""],
      ["sent", (each) => Text.octets(each.bytes?.sent), true],
      ["received", (each) => Text.octets(each.bytes?.received), true],
      ["packets", (each) => Text.number(each.packets), true],
    ],
  };

  const heading = (name) => (name in Languages.WORDS ? say(name) : say("column " + name));

  /**
   * Fill `host` with a table of rows; who has scrolled stays where they are. What is `always` there has its heading and
   * all its columns; else nothing without rows, and no columns without content.
   */
  const show = (host, name, note, rows, always = false) => {
    const before = host.querySelector(".scroll");
    const { scrollTop, scrollLeft } = before ?? {};
    const focused = before !== null && before === document.activeElement;
    const columns = COLUMNS[name].filter(([, cell]) => always || rows.some((each) => cell(each) !== ""));
    const side = (right) => ({ class: right ? "number" : "" });
    const table = () =>
      element(
        "table",
        {},
        element("thead", {}, element("tr", {}, columns.map(([column, , right]) => element("th", { scope: "col", ...side(right) }, heading(column))))),
        element("tbody", {}, rows.map((each) => element("tr", {}, columns.map(([, cell, right]) => element("td", side(right), cell(each)))))),
      );
    const scroll = rows.length ? element("div", { class: "scroll", tabindex: 0 }, table()) : null;
    filled(host, rows.length || always ? [element("h2", {}, say(name), element("small", {}, note)), scroll] : null);
    if (scroll) Object.assign(scroll, { scrollTop, scrollLeft });
    if (scroll && focused) scroll.focus();
  };

  return { show };
})();
