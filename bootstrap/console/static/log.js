// How the box with a log scrolls. It is decided here and not on the server: whoever scrolls up between two answers of
// the server must not be pulled away from what he reads.
window.consoleLog = {
  NEAR: 40, // pixels from its end at which a reader still follows the log
  FRAMES: 120, // at most, for which a place is sought
  STEADY: 10, // frames for which it has to stay: the library lays out lines of unknown height, and corrects itself later

  place(box) {
    if (box.scrollHeight - box.scrollTop - box.clientHeight < this.NEAR) return "end";
    return box.scrollTop < 5 ? "start" : "middle";
  },

  topLine(box) {
    const top = box.getBoundingClientRect().top;
    const found = [...box.querySelectorAll(".line")].find((line) => line.getBoundingClientRect().bottom > top + 2);
    return found ? Number(found.dataset.line) : 0;
  },

  // Number of the first line that the browser has. New lines are laid out before the server says where to scroll to
  // among them; until then nothing that moves is the reader's doing.
  firstLine(id) {
    return getElement(id)?.$props.items[0]?.n;
  },

  // Calls emit({place, line}) when the reader has scrolled to another of the three places.
  watch(id, emit) {
    const box = getHtmlElement(id);
    if (!box) return requestAnimationFrame(() => this.watch(id, emit));
    const hand = () => {
      if (box.ours) [box.ours, box.place] = [0, ""]; // what was to be settled no longer is
      requestAnimationFrame(look); // at an edge nothing scrolls any more, and no event tells of it
    };
    const look = () => {
      const place = this.place(box), up = box.scrollTop < box.before;
      box.before = box.scrollTop;
      if (box.ours || place === box.place || this.firstLine(id) !== box.first) return;
      if (box.place === "end" && !up) return this.stay(box); // the log grew, nobody left its end
      const line = this.topLine(box);
      if (!line) return requestAnimationFrame(look); // no line is laid out yet where the box has come to
      box.place = place;
      emit({ place, line });
    };
    ["wheel", "touchmove", "keydown", "pointerdown"].forEach((kind) => box.addEventListener(kind, hand, { passive: true }));
    box.addEventListener("scroll", look);
    const content = box.querySelector(".q-virtual-scroll__content");
    if (content) new ResizeObserver(() => this.stay(box)).observe(content);
  },

  // Back to the end, if the reader was there.
  stay(box) {
    if (!box.ours && box.place === "end") box.scrollTop = box.scrollHeight;
  },

  // Calls move() each frame until it has returned true for STEADY frames in a row, or the reader scrolls.
  settle(box, move, done) {
    const mark = (box.ours = (box.mark = (box.mark || 0) + 1));
    let good = 0;
    const step = (left) => {
      if (box.ours !== mark) return;
      good = move() ? good + 1 : 0;
      if (good < this.STEADY && left) return requestAnimationFrame(() => step(left - 1));
      if (done) done();
      requestAnimationFrame(() => {
        if (box.ours !== mark) return;
        box.ours = 0;
        box.place = this.place(box);
      });
    };
    requestAnimationFrame(() => step(this.FRAMES));
  },

  // To the last line, number `last`, unless the reader has scrolled away from the end.
  toEnd(id, last, always) {
    const box = getHtmlElement(id);
    if (!box) return;
    box.first = this.firstLine(id);
    if (!always && !box.ours && box.place && box.place !== "end") return;
    this.settle(box, () => {
      const there = this.place(box) === "end" && box.querySelector(`[data-line="${last}"]`);
      box.scrollTop = box.scrollHeight;
      return there;
    });
  },

  // To a line, the one of that index. edge: "top", or "middle". reveal: also bring it into the window.
  toLine(id, index, line, edge, reveal) {
    const box = getHtmlElement(id), list = getElement(id);
    if (!box) return;
    box.first = this.firstLine(id);
    let sent = 0;
    const find = () => box.querySelector(`[data-line="${line}"]`);
    this.settle(
      box,
      () => {
        const found = find();
        if (!found) {
          if (sent++ % 5 === 0) list.scrollTo(index, edge === "top" ? "start-force" : "center-force");
          return false;
        }
        const inner = box.getBoundingClientRect(), outer = found.getBoundingClientRect();
        const wanted = edge === "top" ? inner.top : inner.top + Math.max(0, (inner.height - outer.height) / 2);
        const before = box.scrollTop;
        box.scrollTop += outer.top - wanted;
        return Math.abs(box.scrollTop - before) < 2;
      },
      () => {
        if (!reveal) return;
        box.scrollIntoView({ block: "nearest" });
        find()?.scrollIntoView({ block: "nearest" });
        if (reveal === "focus") box.focus({ preventScroll: true });
      },
    );
  },
};
