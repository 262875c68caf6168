"use strict";
// Filters, sorts and searches the pairs of a report in one file. The address's fragment holds the state: `#tag=loop&sort=index`,
// or `#row-12` for one pair. Texts are only ever read from the document, never written into it.
{
  const form = document.getElementById("pair-filter");
  const list = document.getElementById("pair-list");
  const count = document.getElementById("pair-count");
  const fields = ["tag", "decision", "text", "sort"].map((name) => form.elements.namedItem(name)).filter(Boolean);

  const pairs = [...list.children].map((element, position) => {
    const { tags = "", decision = "", edited, figures = "- 0 0" } = element.dataset;
    const [rouge, copied, words] = figures.split(" ").map(Number);
    return {
      element,
      position,
      tags: tags.split(" ").filter(Boolean),
      decision,
      edited: edited !== undefined,
      rouge: Number.isNaN(rouge) ? undefined : rouge,
      copied,
      words,
      text: undefined,
    };
  });

  /** What is searched: instruction, reference and response, in lower case; read when it is first needed. */
  function textOf(pair) {
    pair.text ??= [...pair.element.querySelectorAll("summary, p")]
      .map((part) => part.textContent)
      .join("\n")
      .toLowerCase();
    return pair.text;
  }

  // Pairs without a reference come last, whichever way.
  function byRouge(direction) {
    return (a, b) => {
      if (a.rouge === undefined || b.rouge === undefined) {
        return Number(a.rouge === undefined) - Number(b.rouge === undefined);
      }
      return direction * (a.rouge - b.rouge);
    };
  }

  const orders = {
    index: () => 0,
    rouge_descending: byRouge(-1),
    rouge_ascending: byRouge(1),
    copied_descending: (a, b) => b.copied - a.copied,
    length_descending: (a, b) => b.words - a.words,
    length_ascending: (a, b) => a.words - b.words,
  };

  function hasTag(pair, tag) {
    if (tag === "none") return pair.tags.length === 0;
    return tag === "any" ? pair.tags.length > 0 : pair.tags.includes(tag);
  }

  function isShown(pair, { tag = "", decision = "", text = "" }) {
    if (tag && !hasTag(pair, tag)) return false;
    if (decision === "edited" && !pair.edited) return false;
    if (decision === "undecided" && pair.decision) return false;
    if ((decision === "keep" || decision === "drop") && pair.decision !== decision) return false;
    return !text || textOf(pair).includes(text.toLowerCase());
  }

  /** What the form holds, by name; empty values and the usual order are left out. */
  function wanted() {
    const values = fields.map((field) => [field.name, field.value]);
    return Object.fromEntries(values.filter(([name, value]) => value && !(name === "sort" && value === "index")));
  }

  let order = "index";
  function show() {
    const filter = wanted();
    let shown = 0;
    for (const pair of pairs) {
      const visible = isShown(pair, filter);
      pair.element.hidden = !visible;
      shown += Number(visible);
    }
    const next = orders[filter.sort] ? filter.sort : "index";
    if (next !== order) {
      order = next;
      const sorted = [...pairs].sort((a, b) => orders[order](a, b) || a.position - b.position);
      list.append(...sorted.map((pair) => pair.element));
    }
    count.textContent = shown === pairs.length ? `${shown} pairs` : `${shown} of ${pairs.length} pairs match`;
  }

  function remember() {
    const query = new URLSearchParams(wanted()).toString();
    history.replaceState(null, "", query ? `#${query}` : "#pairs");
  }

  function change() {
    show();
    remember();
  }

  function fill(values) {
    for (const field of fields) {
      const value = values.get(field.name) ?? (field.name === "sort" ? "index" : "");
      field.value = value;
      // A select takes none of its options for a value that it does not know.
      if (field.value !== value) field.value = field.name === "sort" ? "index" : "";
    }
    show();
  }

  function openRow(id) {
    const row = document.getElementById(id);
    if (!row || row.parentElement !== list) return;
    if (row.hidden) fill(new URLSearchParams());
    const details = row.querySelector("details");
    if (details) details.open = true;
    row.scrollIntoView({ block: "center" });
  }

  function read() {
    const fragment = location.hash.slice(1);
    if (/^row-\d+$/.test(fragment)) openRow(fragment);
    else if (fragment.includes("=")) {
      fill(new URLSearchParams(fragment));
      document.getElementById("pairs").scrollIntoView();
    }
  }

  let waiting;
  form.addEventListener("input", (event) => {
    clearTimeout(waiting);
    // Every letter would search all pairs.
    if (event.target.name === "text") waiting = setTimeout(change, 150);
    else change();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    change();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    fill(new URLSearchParams());
    remember();
  });
  addEventListener("hashchange", read);
  form.hidden = false;
  show();
  read();
}
