// IP addresses in text to octets, and networks.

const Networks = (() => {
  const octets4 = (text) => {
    const found = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
    if (!found) return null;
    const parts = found.slice(1);
    if (parts.some((part) => +part > 255 || (part.length > 1 && part[0] === "0"))) return null;
    return parts.map(Number);
  };

  const groups = (text) => {
    if (text === "") return [];
    const octets = [];
    const parts = text.split(":");
    for (const [index, part] of parts.entries()) {
      const dotted = index === parts.length - 1 && part.includes(".") ? octets4(part) : null;
      if (dotted) octets.push(...dotted);
      else if (/^[0-9a-f]{1,4}$/i.test(part)) octets.push(parseInt(part, 16) >> 8, parseInt(part, 16) & 255);
      else return null;
    }
    return octets;
  };

  const octets6 = (text) => {
    const halves = text.split("%")[0].split("::");
    if (halves.length > 2 || !text.includes(":")) return null;
    const [head, tail] = [groups(halves[0]), halves.length === 2 ? groups(halves[1]) : []];
    if (!head || !tail) return null;
    const missing = 16 - head.length - tail.length;
    if (halves.length === 2 ? missing < 2 : missing !== 0) return null;
    return [...head, ...Array(missing).fill(0), ...tail];
  };

  /** 4 or 16 octets of an address in text, null where it is none. */
  const octets = (text) => octets4(text) ?? octets6(text);

  /** A test of addresses in text for `10.0.0.0/8` or an address alone, null where the text is neither. */
  const network = (text) => {
    const [address, length] = text.split("/", 2);
    const wanted = octets(address);
    if (!wanted || text.split("/").length > 2) return null;
    if (length !== undefined && !(/^\d{1,3}$/.test(length) && +length <= wanted.length * 8)) return null;
    const bits = length === undefined ? wanted.length * 8 : +length;
    return (other) => {
      const found = octets(other);
      if (!found || found.length !== wanted.length) return false;
      for (let bit = 0; bit < bits; bit += 8) {
        const mask = bits - bit >= 8 ? 255 : (255 << (8 - (bits - bit))) & 255;
        if ((found[bit / 8] & mask) !== (wanted[bit / 8] & mask)) return false;
      }
      return true;
    };
  };

  return { octets, network };
})();
