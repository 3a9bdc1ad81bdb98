// What the transformer's graph is sent: the twin of RowInputs (worldmodel/web/pass_graph.py). Each row names the rows of
// the graph's table of embeddings that make a slot's input. It knows no cache.

/** layout, table: of world.json. */
export class Rows {
  constructor(layout, table) {
    Object.assign(this, { layout, table });
  }

  get columns() {
    return this.table.columns;
  }

  /** The image slots begin..end of a frame: Int32Array (n * columns). previous, action: arrays, or null at first. */
  image(begin, end, tokens, previous, action) {
    const { layout, table } = this;
    const rows = this.#empty(end - begin);
    for (let slot = begin, row = 0; slot < end; slot++, row += table.columns) {
      const source = layout.sources[slot];
      if (source < 0) rows[row] = table.start;
      else this.#token(rows, row, tokens[source]);
      rows[row + 2] = table.place + slot;
      if (previous) this.#token(rows, row + table.own, previous[layout.places[slot]]);
      else rows[row + 3] = table.no_previous;
      action?.forEach((token, i) => (rows[row + table.own + table.before + i] = this.#action(token)));
    }
    return rows;
  }

  /** What follows a finished frame: its tail's tokens, and the action. */
  outro(tokens, action) {
    const { layout, table } = this;
    const rows = this.#empty(layout.length - layout.image);
    for (let slot = layout.image, row = 0; slot < layout.length; slot++, row += table.columns) {
      const index = slot - layout.image, tail = layout.tail.length;
      if (index < tail) this.#token(rows, row, tokens[layout.tail[index]]);
      else rows[row] = this.#action(action[index - tail]);
      rows[row + 2] = table.place + slot;
    }
    return rows;
  }

  #empty(count) {
    return new Int32Array(count * this.columns).fill(this.table.zero);
  }

  #token(rows, at, token) {
    const { detail, main } = this.table;
    rows[at] = detail === 1 ? token : token % main;
    if (detail > 1) rows[at + 1] = main + Math.floor(token / main);
  }

  #action(token) {
    return token - this.table.codes + this.table.action;
  }
}
