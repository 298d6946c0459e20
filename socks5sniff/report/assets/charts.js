// What is drawn by uPlot: conversations over time, and histograms of the steps' times.

const Charts = (() => {
  const { element } = Text;
  const SPANS = 120;
  const CLASSES = 40;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const colourOf = (outcome) => colour(Figures.OUTCOMES.includes(outcome) ? outcome : "text");

  const bars = uPlot.paths.bars({ size: [1, Infinity, 1], gap: 0, align: 1 });

  const axis = (more) => ({
    stroke: colour("soft"),
    grid: { stroke: colour("line"), width: 1 },
    ticks: { stroke: colour("line"), width: 1, size: 4 },
    font: "11px system-ui, sans-serif",
    ...more,
  });

  /** Two digits of hours and minutes, or what else tells neighbours apart. */
  const clock = (chart, splits, _axis, _space, step) =>
    splits.map((second) => {
      const micros = Math.round(second * 1e6); // a tick is 0.0199999 or 0.02
      const text = Text.time(Math.floor(micros / 1e6) * 1000, (micros % 1e6) * 1e3, step < 1e-3 ? 6 : step < 1 ? 3 : 0);
      return step >= 86400 ? text.slice(0, 10) : step >= 60 ? text.slice(11, 16) + (second % 86400 === 0 ? "\n" + text.slice(0, 10) : "") : text.slice(11);
    });

  /** Ticks that people count in. */
  const STEPS = [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000, 31536000];

  /** Bars by time, one outcome upon the other. `chosen` gets begin and end in seconds when a span is dragged. */
  const overTime = (host, store, rows, rest, chosen) => {
    const data = Figures.overTime(store, rows, rest, SPANS);
    Text.filled(host);
    if (!data) return null;
    const outcomes = [...data.outcomes].filter(([, counts]) => counts.some((count) => count > 0)).map(([outcome]) => outcome);
    const sums = new Float64Array(data.begins.length);
    const stacked = outcomes.map((outcome) => data.outcomes.get(outcome).map((count, at) => (sums[at] += count)));
    const spansDays = data.begins.at(-1) - data.begins[0] > 40000;
    const [least, greatest] = [data.begins[0], data.begins.at(-1) + data.width];
    const chart = new uPlot(
      {
        width: host.clientWidth,
        height: 190,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
        scales: { x: { time: false, range: [least, greatest] }, y: { range: (_, __, most) => [0, Math.max(most, 1) * 1.05] } },
        axes: [
          axis({ incrs: STEPS, values: clock, space: 96, size: spansDays ? 40 : 26 }),
          axis({ size: 52, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7], values: (_, splits) => splits.map(Text.number) }),
        ],
        series: [{}, ...outcomes.map((outcome) => ({ label: outcome, fill: colourOf(outcome), width: 0, paths: bars, points: { show: false } })).reverse()],
        hooks: {
          setSelect: [
            (made) => {
              if (made.select.width < 3) return;
              const begin = made.posToVal(made.select.left, "x");
              const end = made.posToVal(made.select.left + made.select.width, "x");
              made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              chosen(begin, end);
            },
          ],
        },
      },
      [data.begins, ...stacked.reverse()],
      host,
    );
    return { chart, data, outcomes };
  };

  const SHORTEST = 1e-6;

  /** Ticks of an axis of powers of ten: each power, or every other one; on a short axis 2 and 5 times it, too. */
  const decades = (from, to) => {
    const few = to - from < 1.1;
    const ticks = [];
    for (let power = Math.floor(from); power <= to; power += to - from > 5 ? 2 : 1) ticks.push(...(few ? [power, power + Math.log10(2), power + Math.log10(5)] : [power]));
    return ticks.filter((tick) => tick >= from && tick <= to);
  };

  /** A histogram of one step, in classes of equal ratio. */
  const histogram = (host, figure) => {
    const { values, weights } = figure;
    const [low, high] = [Math.max(values[0], SHORTEST), Math.max(values.at(-1), SHORTEST)];
    const from = Math.floor(Math.log10(low) * 4) / 4;
    const to = Math.max(Math.ceil(Math.log10(high * 1.0001) * 4) / 4, from + 0.5);
    const width = (to - from) / CLASSES;
    const counts = new Float64Array(CLASSES + 1);
    for (let at = 0; at < values.length; at += 1) {
      const place = Math.floor((Math.log10(Math.max(values[at], SHORTEST)) - from) / width);
      counts[Math.min(place, CLASSES - 1)] += weights ? weights[at] : 1;
    }
    const begins = Float64Array.from({ length: CLASSES + 1 }, (_, at) => from + at * width);
    return new uPlot(
      {
        width: host.clientWidth,
        height: 92,
        padding: [4, 18, 0, 18],
        legend: { show: false },
        cursor: { show: false },
        select: { show: false },
        scales: { x: { time: false, range: [from, to] }, y: { range: (_, __, most) => [0, Math.max(most, 1)] } },
        axes: [
          axis({ size: 22, splits: () => decades(from, to), filter: (_, splits) => splits, values: (_, splits) => splits.map((split) => Text.seconds(10 ** split)) }),
          { show: false },
        ],
        series: [{}, { fill: colour("accent"), width: 0, paths: bars, points: { show: false } }],
      },
      [begins, counts],
      host,
    );
  };

  /** The names of the outcomes beside their colours. */
  const legend = (outcomes) => element("ul", { class: "legend" }, outcomes.map((outcome) => element("li", {}, element("span", { class: "dot " + outcome }), outcome)));

  return { overTime, histogram, legend };
})();
